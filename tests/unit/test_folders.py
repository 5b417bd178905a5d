"""Folders: whole or absent, and every change is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from mllmu_med.errors import DataError, IntegrityError, UsageError
from mllmu_med.folders import (
    canonical_json,
    contents,
    digest,
    parse_json,
    read_json,
    read_manifest,
    staged,
    verify,
    verify_file,
    write_json,
)


def write_folder(target: Path, text: str = "one") -> Path:
    with staged(target, {"format": "test/1"}) as stage:
        (stage / "sub").mkdir()
        (stage / "sub" / "a.txt").write_text(text)
    return target


def test_a_finished_folder_has_the_files_and_their_hashes(tmp_path: Path) -> None:
    target = write_folder(tmp_path / "deep" / "target")
    manifest = read_manifest(target)
    assert manifest == {"format": "test/1", "files": {"sub/a.txt": hashlib.sha256(b"one").hexdigest()}}
    assert verify(target) == manifest
    assert os.listdir(target.parent) == ["target"]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with staged(tmp_path / "target") as stage:
            (stage / "a.txt").write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_earlier_folder_as_it_was(tmp_path: Path) -> None:
    target = write_folder(tmp_path / "target", "old")

    def interrupt() -> None:
        with staged(target) as stage:
            (stage / "b.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert (target / "sub" / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]
    verify(target)


def test_an_earlier_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = write_folder(tmp_path / "target", "old")
    with staged(target) as stage:
        (stage / "b.txt").write_text("new")
    assert [path.name for path in contents(target)] == ["b.txt"]
    assert os.listdir(tmp_path) == ["target"]


def test_what_an_earlier_crash_left_does_not_get_in(tmp_path: Path) -> None:
    left = tmp_path / f".staging-target-{os.getpid()}"
    left.mkdir()
    (left / "stale.txt").write_text("stale")
    target = write_folder(tmp_path / "target")
    assert [path.name for path in contents(target)] == ["a.txt"]


def test_counts_added_inside_the_block_reach_the_manifest(tmp_path: Path) -> None:
    manifest: dict[str, object] = {}
    with staged(tmp_path / "target", manifest):
        manifest["counts"] = {"retain": 3}
    assert read_manifest(tmp_path / "target")["counts"] == {"retain": 3}


def test_verify_names_what_changed_what_is_missing_and_what_is_new(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with staged(target) as stage:
        for name in ("changed", "missing", "same"):
            (stage / name).write_text(name)
    (target / "changed").write_text("chanGed")
    (target / "missing").unlink()
    (target / "new").write_text("new")
    with pytest.raises(IntegrityError) as error:
        verify(target)
    message = str(error.value)
    assert "missing is missing" in message
    assert "new is not in the manifest" in message
    assert "changed has changed" in message
    assert "same" not in message


def test_a_folder_without_manifest_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        read_manifest(tmp_path)


def test_strict_json() -> None:
    with pytest.raises(ValueError, match="'a' occurs twice"):
        parse_json('{"a": 1, "a": 2}')
    with pytest.raises(ValueError, match="NaN"):
        parse_json('{"a": NaN}')


def test_a_json_error_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('[\n  {"a": 1},\n  {"a" 2}\n]')
    with pytest.raises(DataError, match=r"train\.json: malformed JSON at line 3"):
        read_json(path)
    path.write_bytes(b'["\xff"]')
    with pytest.raises(DataError, match="not UTF-8 at byte 2"):
        read_json(path)
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "absent.json")


def test_json_is_written_in_one_piece_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"b": 1, "a": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 1
    assert os.listdir(tmp_path) == ["results.json"]


def test_equal_values_have_equal_digests() -> None:
    assert canonical_json({"b": [1, 2], "a": None}) == '{"a":null,"b":[1,2]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) == hashlib.sha256(b'{"a":1,"b":2}').hexdigest()
    assert digest({"a": 1}) != digest({"a": "1"})


def test_what_is_no_output_is_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "target"
    mine.mkdir()
    (mine / ".DS_Store").write_text("left by looking")
    write_folder(mine)
    for name in ("notes.txt", "sub/notes.txt", ".env"):
        (mine / name).write_text("precious")
        with pytest.raises(UsageError, match=f"holds '{name}', which is no output of mllmu-med"):
            write_folder(mine, "two")
        assert (mine / name).read_text() == "precious"
        assert os.listdir(tmp_path) == ["target"]
        (mine / name).unlink()
    write_folder(mine, "two")
    (mine / "manifest.json").write_text('{"name": "an app of theirs"}')
    with pytest.raises(UsageError, match=r"holds 'manifest\.json'"):
        write_folder(mine, "three")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is a file where a folder is to be written"):
        write_folder(tmp_path / "file")


def test_what_killed_processes_have_left_is_removed(tmp_path: Path) -> None:
    """But not what another one is writing, what was made just now, or what belongs to another target."""
    left = [tmp_path / name for name in (".staging-target-1", ".replaced-target-1")]
    others = [tmp_path / name for name in (".staging-target-2", ".staging-target-3", ".staging-other-1")]
    for path in (*left, *others):
        path.mkdir()
        (path / "private.txt").write_text("a name")
        if path != others[1]:
            os.utime(path, (1, 1))
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n"
        "print(1, flush=True); input()"
    )
    with Popen([sys.executable, "-c", code, str(others[0])], stdin=PIPE, stdout=PIPE) as writing:
        assert writing.stdout is not None
        writing.stdout.readline()
        write_folder(tmp_path / "target")
        assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "target"])
        writing.kill()
    write_folder(tmp_path / "target")
    assert sorted(tmp_path.iterdir()) == sorted([*others[1:], tmp_path / "target"])


def test_damaged_json_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        read_json(path)
    for files in ("[]", "null", '"a"'):
        path.write_text(f'{{"files": {files}}}')
        with pytest.raises(DataError, match="'files' is no list of hashes by name"):
            verify(tmp_path)


def test_one_file_is_compared_with_the_manifest_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with staged(target) as stage:
        (stage / "a.bin").write_bytes(b"0123")
    verify_file(target / "a.bin")
    (target / "a.bin").write_bytes(b"0122")
    with pytest.raises(IntegrityError, match=r"a\.bin: has changed"):
        verify_file(target / "a.bin")
    (target / "unlisted").write_text("x")
    for name in ("unlisted", "missing"):
        verify_file(target / name)
    (tmp_path / "alone").write_text("x")
    verify_file(tmp_path / "alone")

"""The key behind keyed hashes: what is accepted, what is refused, and that it is never shown."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
from pathlib import Path

import pytest

from mllmu_med.errors import UsageError
from mllmu_med.sources.secret_key import SecretKey

KEY = "d41d8cd98f00b204e9800998ecf8427e"
OTHER = KEY[::-1]


def test_the_hash_is_hmac_sha256_of_the_json_list() -> None:
    expected = hmac.new(KEY.encode(), '["patient","","Ä-1"]'.encode(), hashlib.sha256).hexdigest()
    assert SecretKey(KEY).hash("patient", "", "Ä-1") == expected


def test_parts_do_not_run_into_each_other() -> None:
    key = SecretKey(KEY)
    assert len({key.hash("a", "b"), key.hash("ab"), key.hash("a,b"), key.hash('a","b'), key.hash("b", "a")}) == 5


def test_a_text_that_is_no_unicode_is_hashed_all_the_same() -> None:
    assert SecretKey(KEY).hash("\udc80") != SecretKey(KEY).hash("?")


def test_file_and_variable_give_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.txt").write_text(f" {KEY}\r\n")
    monkeypatch.setenv("MLLMU_MED_KEY", KEY)
    assert SecretKey.read(tmp_path / "key.txt").hash("a") == SecretKey.read().hash("a") == SecretKey(KEY).hash("a")


def test_the_file_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.txt").write_text(OTHER)
    monkeypatch.setenv("MLLMU_MED_KEY", KEY)
    assert (
        SecretKey.read(str(tmp_path / "key.txt")).hash("a")
        == SecretKey(KEY[::-1]).hash("a")
        != SecretKey(KEY).hash("a")
    )


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_key_the_error_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("MLLMU_MED_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MLLMU_MED_KEY", value)
    with pytest.raises(UsageError, match=r"set MLLMU_MED_KEY or key_file\. Make one with: openssl rand -hex 32"):
        SecretKey.read()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (KEY[:31], "31 characters, expected 32 to 4096"),
        (f"  {KEY[:31]}\n\n", "31 characters"),
        (KEY * 129, "4128 characters"),
        ("abcdefg" * 9, "too few different characters"),
    ],
)
def test_a_poor_key_is_refused_and_not_quoted(text: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLLMU_MED_KEY", text)
    with pytest.raises(UsageError, match=f"the key in MLLMU_MED_KEY cannot be used: .*{reason}.*openssl") as caught:
        SecretKey.read()
    assert text.strip()[:7] not in str(caught.value)


def test_32_characters_are_enough() -> None:
    assert SecretKey(KEY[:32]).hash("a")
    assert SecretKey("abcdefgh" * 4).hash("a")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(range(100, 200)), "is not text"),
        (b"\0" * 64, "is not text"),
        (KEY.encode() * 200, "4098 characters"),
        (b"", "0 char"),
    ],
)
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "key.bin").write_bytes(content)
    with pytest.raises(UsageError, match=rf"key\.bin.*{reason}"):
        SecretKey.read(tmp_path / "key.bin")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.txt cannot be read \(No such file or directory\)"):
        SecretKey.read(tmp_path / "absent.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        SecretKey.read(tmp_path)


def test_the_key_is_not_shown_and_survives_a_copy() -> None:
    key = SecretKey(KEY)
    assert KEY not in f"{key!r} {key} {[key]}"
    assert pickle.loads(pickle.dumps(key)).hash("a") == copy.copy(key).hash("a") == key.hash("a")  # noqa: S301

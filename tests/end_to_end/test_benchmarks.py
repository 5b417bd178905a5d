"""Every speed benchmark at its smallest: it measures, writes its tables, and fills the page."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench

SMALLEST = {
    "step": ("--size", "mini", "--questions", "4", "--repeats", "1", "--methods", "grad_diff", "npo", "--ways", "fast",
             "peers"),
    "evaluate": ("--size", "mini", "--samples", "6", "--questions", "3", "--probes", "2", "--tokens", "4", "--repeats",
                 "1"),
    "products": ("--size", "mini", "--rows", "16", "--repeats", "1"),
    "where": ("--size", "mini"),
    "scaling": ("--size", "mini", "--parts", "step", "evaluation", "build", "predict", "--images", "1", "2", "3",
                "--questions", "2", "--samples", "11", "22", "33", "--records", "700", "1000", "1400",
                "--patients", "4", "--repeats", "1"),
}  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def carry_out(name: str, *options: str) -> None:
        script = importlib.import_module(f"benchmarks.{name}")
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        script.main()

    return carry_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("name", SMALLEST)
def test_each_script_measures_and_writes(name: str, run: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(name, *SMALLEST[name], "-o", str(folder))
    said = capsys.readouterr()
    written = ["step-mini", "evaluate-mini", "products-mini", "where-mini", "scaling"]
    file = next(one for one in written if one.startswith(name))
    result = json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))
    assert result["script"] == name
    assert {"processor", "threads", "torch", "transformers", "load"} <= result["machine"].keys()
    assert result["rows"]
    text = (folder / f"{file}.md").read_text(encoding="utf-8")
    assert text.strip() in said.out
    assert result["machine"]["torch"] in text
    if name == "step":
        assert max(result["differences"].values()) <= 1e-4
        peaks = {(row["way"], row["method"]): row["peak_mib"] for row in result["rows"]}
        assert {key for key, peak in peaks.items() if peak is not None} == {("fast", "npo"), ("peers", "npo")}
        assert all(peak > 0 for peak in peaks.values() if peak is not None)
        assert result["memory"]["finetune/grad_diff"]["peak"] > 0
        assert all(row["ratio"] == 1 for row in result["rows"] if row["way"] == "peers")
    if name == "evaluate":
        assert result["different_texts"] == 0
        whole = {row["way"]: row["median"] for row in result["rows"] if row["part"] == "whole"}
        assert whole["ours"] < whole["peers"]
    if name == "where":
        for job in result["wall"]:
            assert sum(row[job] for row in result["rows"]) == pytest.approx(1, abs=0.05)
    if name == "scaling":
        assert len(result["series"]) == 5
        assert [entry["model"][:2] for entry in result["predictions"]] == ["7B", "70"]


def test_results_are_gathered_and_the_page_is_filled(folder: Path, tmp_path: Path, run: Any) -> None:
    for name in ("step", "evaluate"):  # what make bench would have written
        for ending in ("json", "md"):
            source = folder / f"{name}-mini.{ending}"
            if not source.is_file():
                run(name, *SMALLEST[name], "-o", str(folder))
            (tmp_path / f"{name}.{ending}").write_bytes(source.read_bytes())
    docs = tmp_path / "docs"
    (docs / "assets").mkdir(parents=True)
    page = docs / "performance.md"
    blocks = "".join(f"<!-- measured:{name} -->\n<!-- /measured:{name} -->\n" for name in ("step", "evaluate", "goals"))
    page.write_text(blocks, encoding="utf-8")
    run("bench", "--from", str(tmp_path), "--fill", str(docs))
    text = page.read_text(encoding="utf-8")
    assert "| objective | way |" in text
    assert "whole evaluation over the peers'" in text.partition("measured:goals")[2]
    assert (docs / "assets" / "performance-step.svg").read_text(encoding="utf-8").startswith("<svg")
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8")).keys() == {"step", "evaluate"}


@pytest.mark.parametrize("name", [*SMALLEST, "bench", "peers"])
def test_help_teaches(name: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(name, "--help")
    assert ended.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


def test_a_peer_that_is_not_there_is_said_in_one_line(run: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no folder"):
        run("peers", "--size", "mini", "--peer", f"open-unlearning={tmp_path / 'absent'}")
    with pytest.raises(SystemExit, match="NAME=PATH"):
        run("peers", "--size", "mini", "--peer", "somebody")


def test_a_peer_that_cannot_run_is_named_with_the_reason(run: Any, tmp_path: Path) -> None:
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "NPO.py").write_text("import no_such_package_at_all\n", encoding="utf-8")
    run("peers", "--size", "mini", "--questions", "2", "--methods", "npo", "-o", str(tmp_path / "out"),
        "--peer", f"MLLMU-Bench={tmp_path}", "--peer", f"open-unlearning={tmp_path}")  # fmt: skip
    rows = json.loads((tmp_path / "out" / "peers.json").read_text(encoding="utf-8"))["rows"]
    assert "No module named 'no_such_package_at_all'" in rows[0]["said"]
    assert "is it a checkout of open-unlearning?" in rows[1]["said"]
    assert all("theirs_ms" not in row for row in rows)


def test_make_bench_runs_scripts_that_are_there() -> None:
    for script, *_ in bench.JOBS.values():
        assert (bench.HERE / script).is_file()

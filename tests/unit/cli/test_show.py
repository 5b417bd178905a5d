"""``mllmu-med show``: on the terminal, as a page, as a sheet; filters, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.store import Benchmark
from mllmu_med.cli import main
from mllmu_med.folders import write_json
from tests.unit.report.fake_benchmark import NAMES, NUMBERS, FakeBenchmark, make_benchmark


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a benchmark, of which only the manifest lies on disk."""
    run = tmp_path / "runs" / "mine"
    (run / "benchmark").mkdir(parents=True)
    write_json(run / "benchmark" / "manifest.json", {"format": "mllmu-med/benchmark/2"})
    monkeypatch.chdir(tmp_path)

    def opened(path: Path) -> FakeBenchmark:
        assert path == Path("runs/mine/benchmark")
        benchmark = make_benchmark()
        benchmark.path = path
        return benchmark

    monkeypatch.setattr(Benchmark, "open", opened)
    return run


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(("show", *arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_terminal_shows_counts_and_masked_samples(folder: Path, shell: Any) -> None:
    code, out, _ = shell("runs/mine/benchmark", "--samples", "9")
    assert code == 0
    assert "28 of 28 samples, private values masked" in out
    assert "leak name mrn" in out
    assert "clean or right answer" in out
    assert "Which number has [name]?" in out
    assert not [value for value in (*NAMES.values(), *NUMBERS.values()) if value in out]


def test_a_run_shows_its_results_once_it_has_some(folder: Path, shell: Any) -> None:
    assert json.loads(shell("mine", "--json")[1])["fitting"] == 28  # built, and nothing more
    (folder / "results").mkdir()
    write_json(folder / "results" / "results.json", {"rows": []})
    assert json.loads(shell("mine", "--json")[1]) == {"rows": []}
    assert json.loads(shell("mine", "--samples", "1", "--json")[1])["fitting"] == 28
    assert json.loads(shell("runs/mine/benchmark", "--json")[1])["fitting"] == 28


def test_filters_and_json(folder: Path, shell: Any) -> None:
    code, out, _ = shell("mine", "--subset", "forget", "--class", "mrn", "--form", "text", "--patient", "p1", "--json")
    assert code == 0
    preview = json.loads(out)
    assert [sample["id"] for sample in preview["samples"]] == ["p1/text"]
    assert preview["fitting"] == 1
    assert preview["counts"]["test"] == {"general": 3, "wrong_unseen": 1}
    found = json.loads(shell("mine", "--error-type", "finding", "--find", "LEFT lung", "--samples", "3", "--json")[1])
    assert [sample["id"] for sample in found["samples"]][-1] == "u1"
    assert found["fitting"] == 5
    below = json.loads(shell("mine", "--request", "section=identity", "--json")[1])
    assert {sample["form"] for sample in below["samples"]} == {"leak"}
    assert "No sample meets all of these filters." in shell("mine", "--subset", "test", "--patient", "p1")[1]


def test_a_page_and_a_sheet_are_written_and_named(folder: Path, shell: Any, tmp_path: Path) -> None:
    code, out, _ = shell(
        "mine", "--page", "new/look.html", "--sheet", "look.png", "--subset", "retain", "--samples", "1"
    )
    assert code == 0
    assert out.splitlines() == ["new/look.html", "look.png"]
    text = (tmp_path / "new" / "look.html").read_text(encoding="utf-8")
    assert "10 of 28 samples fit: subset retain. Of these, 5 drawn from every part are here." in text
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")
    small = (tmp_path / "look.png").stat().st_size
    assert json.loads(shell("mine", "--sheet", "look.png", "--json")[1]) == {"sheet": "look.png"}
    assert (tmp_path / "look.png").stat().st_size > small  # eight of each unless said otherwise
    assert shell("mine", "--page", "new/look.html")[0] == 0
    assert "All 28 samples are here." in (tmp_path / "new" / "look.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--class", "mnr"], 2, "no class 'mnr' (did you mean 'mrn'?); there is name and mrn"),
        (["--subset", "retian"], 2, "did you mean 'retain'?"),
        (["--error-type", "lateralty", "--page", "x.html"], 2, "did you mean 'laterality'?"),
        (["--form", "leek", "--sheet", "x.png"], 2, "no form 'leek' (did you mean 'leak'?)"),
        (["--request", "wards=3"], 2, "unknown level 'wards'"),
        (["--page", "x.txt"], 2, "x.txt: give the name of a file that ends in .html"),
        (["--sheet", "x.html"], 2, "x.html: give the name of a file that ends in .png"),
        (["--page", "runs/mine/benchmark/look.html"], 2, "lies within the benchmark"),
        (["--sheet", "x.png", "--samples", "65"], 2, "from 1 to 64"),
        (["--samples", "-1"], 2, ""),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    folder: Path, shell: Any, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    found, out, err = shell("mine", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_page_beside_the_benchmark_is_fine(folder: Path, shell: Any) -> None:
    assert shell("mine", "--page", "runs/mine/benchmark.html")[0] == 0


def test_a_run_without_benchmark_has_no_samples(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "bare").mkdir(parents=True)
    code, _, err = shell("bare", "--page", "x.html")
    assert (code, "not a finished folder" in err) == (3, True)


def test_help_names_every_option(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = shell("--help")[1]
    options = ("--page", "--sheet", "--subset", "--class", "--error-type", "--form", "--patient", "--request", "--find")
    assert [option for option in (*options, "--samples", "--json", "Examples:") if option not in out] == []


def test_nothing_heavy_is_imported_to_print_a_preview() -> None:
    code = (
        "import sys; import mllmu_med.cli.looking, mllmu_med.api, mllmu_med.preview; "
        "heavy = 'torch transformers datasets numpy PIL matplotlib jinja2 pyarrow'.split(); "
        "print([m for m in heavy if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"

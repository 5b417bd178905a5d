"""The verbs that look: report, check, show, ls, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.folders import staged, write_json
from mllmu_med.recipe import load_recipe
from tests.unit.cli.conftest import Pipeline


def finished_run(folder: Path) -> Path:
    results = folder / "results" / "results.json"
    results.parent.mkdir(parents=True)
    row = {"name": "npo", "role": "method"}
    write_json(results, {"recipe": load_recipe("phantom", "seed=8").to_dict(), "rows": [row]})
    return folder


def test_report_rewrites_the_page_of_a_finished_run(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "mine")
    code, out, _ = shell("report", "mine")
    assert (code, out) == (0, "runs/mine/report/index.html\n")
    ((_, recipe, folder, choices),) = pipeline.calls
    assert (recipe.seed, folder, choices) == (8, Path("runs/mine"), {"verbs": ("report",)})
    assert json.loads(shell("report", "runs/mine", "--json")[1]) == {"page": "runs/mine/report/index.html"}


def test_a_dry_report_writes_nothing(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "mine")
    assert shell("report", "mine", "--dry-run")[1] == "runs/mine/report/index.html\n"
    assert pipeline.calls == []


def test_check_verifies_every_folder_of_a_run(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    for name in ("base", "npo"):
        with staged(tmp_path / "runs" / "mine" / "models" / name) as stage:
            (stage / "weights").write_text(name)
    code, out, _ = shell("check", "mine")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["ok", "runs/mine/models/base"], ["ok", "runs/mine/models/npo"],
    ]  # fmt: skip
    (tmp_path / "runs" / "mine" / "models" / "npo" / "weights").write_text("npO")
    (tmp_path / "runs" / "mine" / "results").mkdir()
    (tmp_path / "runs" / "mine" / "results" / "results.json").write_text("{}")
    (tmp_path / "runs" / "mine" / "models" / ".checkpoint-ga").mkdir()
    (tmp_path / "runs" / "mine" / "report").mkdir()
    code, out, err = shell("check", "runs/mine", "--json")
    assert (code, out) == (6, "")
    assert "models/npo: weights has changed" in err
    assert "runs/mine/results: no manifest.json" in err, "nothing says what it should be"
    assert err.count("no manifest") == 1


def test_check_of_a_benchmark_prints_findings_and_fails_on_errors(
    pipeline: Pipeline, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mllmu_med.benchmark import check
    from mllmu_med.benchmark.check import CheckReport, Finding

    folder = tmp_path / "benchmark"
    with staged(folder, {"format": "mllmu-med/benchmark/1"}):
        pass
    finding = Finding("warning", "spans", "s1", "a short value")
    monkeypatch.setattr(check, "check_benchmark", lambda path: CheckReport(path, 1, 1, (finding,)))
    code, out, _ = shell("check", "benchmark", "--json")
    assert (code, json.loads(out)[0]["findings"]) == (0, ["warning [spans] s1: a short value"])
    finding = finding._replace(severity="error")
    code, out, err = shell("check", "benchmark")
    assert code == 6
    assert "error [spans] s1: a short value" in out
    assert err == "error: benchmark: see the findings above. Build the benchmark again.\n"


def test_a_run_of_another_version_is_told_as_such(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    results = finished_run(tmp_path / "runs" / "mine") / "results" / "results.json"
    write_json(results, {"recipe": {"name": "old", "forgotten_key": 1}, "rows": []})
    code, _, err = shell("report", "mine")
    assert (code, "made by another version" in err) == (3, True)


def test_show_of_a_run_prints_its_results_as_json(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "mine")
    code, out, _ = shell("show", "mine", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["name"] == "npo"


def test_an_unknown_run_proposes_the_nearest(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "phantom")
    assert "did you mean 'phantom'?" in shell("show", "fantom")[2]


def test_ls_lists_runs_finished_or_not(pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "b")
    (tmp_path / "runs" / "a").mkdir()
    rows = json.loads(shell("ls", "runs", "--json")[1])["runs"]
    assert [(row["run"], row["status"], row["methods"]) for row in rows] == [
        ("a", "unfinished", ""),
        ("b", "finished", "npo"),
    ]
    assert "no runs" not in shell("ls", "runs")[1]


def test_ls_knows_recipes_sources_and_methods(pipeline: Pipeline, shell: Any) -> None:
    lists = json.loads(shell("ls", "--json")[1])
    assert list(lists) == ["recipes", "sources", "methods", "attacks", "runs"]
    assert {"ga", "grad_diff", "kl_min", "idk", "llmu", "npo"} <= {row["method"] for row in lists["methods"]}
    phantom = next(row for row in lists["sources"] if row["source"] == "phantom")
    assert "images" in phantom["keys"]
    assert all(row["what it does"] for row in lists["methods"])


def test_doctor_prints_json(shell: Any) -> None:
    code, out, _ = shell("doctor", "--json")
    assert code == 0
    assert {"what", "level", "found", "mend"} == set(json.loads(out)[0])

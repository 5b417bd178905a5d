"""The main job at a small size: a model learns, six methods unlearn, the page says which succeeded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mllmu_med import api
from mllmu_med.folders import read_json
from mllmu_med.pipeline import RunResult

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SMALL = (
    "source.images=110", "benchmark.patients_forgotten=3", "benchmark.patients_retained=5",
    "benchmark.patients_holdout=3",
    "benchmark.wrong_image_facts=6", "benchmark.wrong_rules=1", "benchmark.wrong_text_facts=6", "source.text_facts=20",
    "model.embedded.tower_images=2000", "model.embedded.tower_steps=200",
    "learn.base.steps=260", "learn.original.steps=620", "learn.original.replay=150",
    "learn.oracle.steps=420", "learn.oracle.replay=150", "unlearn.steps=60", "unlearn.retain_batch=12",
    "methods.excess.steps=60", "methods.excess.forget_batch=6",
    "evaluate.bootstrap=200", "evaluate.ordinary_samples=60",
    "controls.more=true", "attack.attacks=[quantise]", "attack.bystanders=10",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    recipe = api.load_recipe("phantom", *SMALL)
    return api.run(recipe, tmp_path_factory.mktemp("run") / "phantom", jobs=2)


def test_the_whole_chain(finished: RunResult) -> None:
    results = finished.results
    assert results is not None
    assert finished.page is not None
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows)[:5] == ["theta0", "oracle", "refuse_all", "collapse", "truncated_retrain"]
    assert list(rows)[5:9] == ["gibberish", "shuffled", "keyword_filter", "prompt_wrapper"]
    assert list(rows)[9:] == ["ga", "grad_diff", "kl_min", "idk", "llmu", "npo", "excess"]

    def metric(row: str, subset: str, stratum: str, name: str) -> float:
        return float(rows[row]["metrics"][subset][stratum][name])

    # θ0 has learnt what is to be forgotten; the oracle has not, and knows the patients who stay and the truth.
    assert metric("theta0", "forget/privacy", "private_text", "span_recall") >= 0.9
    assert metric("theta0", "forget/privacy", "private_image", "span_recall") >= 0.7
    assert metric("theta0", "forget/incorrectness", "all", "wrong_agreement") >= 0.9
    assert metric("oracle", "forget/privacy", "all", "span_recall") <= 0.01
    assert metric("oracle", "forget/incorrectness", "all", "correct_agreement") >= 0.9
    assert metric("oracle", "retain", "private_text", "span_recall") >= 0.8
    assert metric("oracle", "test", "general", "utility") > results["benchmark"]["majority"]

    # The identities of the score, on real models.
    for scenario in ("privacy", "incorrectness"):
        score = {name: row["ues"][scenario]["value"] for name, row in rows.items()}
        assert score["theta0"] == 0
        assert score["oracle"] == 1
        assert score["refuse_all"] == 0
        assert score["collapse"] == pytest.approx(0, abs=0.05)
        assert score["gibberish"] == 0
        assert score["shuffled"] == pytest.approx(0, abs=0.05)
        # A prompt in front of θ0 deletes nothing and harms the rest.
        assert score["prompt_wrapper"] < 0.5
        # A filter in front of θ0 may look well; whoever has the weights leaves it away.
        robust = {name: row["ues"][scenario]["robust"] for name, row in rows.items()}
        assert robust["keyword_filter"] == robust["theta0"] == 0
        assert rows["keyword_filter"]["verdict"]["level"] != "success"
        best = max(score[name] for name in ("grad_diff", "kl_min", "npo", "idk", "llmu"))
        below = ("theta0", "refuse_all", "collapse", "gibberish", "shuffled", "prompt_wrapper")
        assert max(score[name] for name in below) < best < score["oracle"]
        assert all(0 <= score[name] <= 1 for name in rows)
    assert max(rows[name]["ues"]["privacy"]["value"] for name in ("grad_diff", "kl_min", "npo", "idk")) > 0.3

    # Every method has a cost, a curve, a verdict; the page names it.
    page = finished.page.read_text(encoding="utf-8")
    for name in list(rows)[9:]:
        assert rows[name]["cost"]["seconds"] > 0
        assert rows[name]["cost"]["flops"] > 0
        assert 0 < rows[name]["cost"]["share_of_oracle"] < 1
        assert rows[name]["curves"][-1]["step"] == rows[name]["cost"]["steps"]
        assert rows[name]["verdict"]["text"]
        assert rows[name]["label"] in page
    assert 0 <= rows["excess"]["curves"][-1]["extractable"] <= 1
    assert re.search(r"At the end it knew [0-9.]+ nats a token more .* and would still give [0-9.]+% of the", page)


def test_a_second_run_makes_nothing_and_everything_checks(finished: RunResult) -> None:
    recipe = api.load_recipe("phantom", *SMALL)
    assert {stage.status for stage in api.plan(recipe, finished.folder)} == {"done"}
    assert all(result.ok for result in api.check(finished.folder))


TINY = (
    *SMALL, "source.images=90", "model.embedded.tower_images=128", "model.embedded.tower_steps=2", "learn.base.steps=4",
    "learn.original.steps=6", "learn.oracle.steps=4", "unlearn.steps=3",
)  # fmt: skip


def test_stages_side_by_side_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = api.load_recipe("phantom", *TINY, methods=["npo", "kl_min"])
    files = []
    for jobs in (1, 2):
        monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / f"cache-{jobs}"))
        run = api.run(recipe, tmp_path / f"jobs-{jobs}", until="unlearn", jobs=jobs)
        names = ("benchmark", "models/base", "models/theta0", "models/oracle", "models/npo", "models/kl_min")
        files.append([read_json(run.folder / name / "manifest.json")["files"] for name in names])
    assert files[0] == files[1]

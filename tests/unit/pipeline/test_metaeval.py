from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mllmu_med import api
from mllmu_med.folders import read_json
from mllmu_med.pipeline import plan_run
from mllmu_med.pipeline.metaeval import plan_metaeval
from tests.unit.pipeline.conftest import tiny

SETTINGS = ("attack.targets=4", "attack.bystanders=2", "attack.unrelated=8")


def test_pools_go_on_from_the_base_and_nothing_else_is_made(finished: Path) -> None:
    stages = {stage.name: stage for stage in plan_metaeval(tiny(*SETTINGS), finished, 2)}
    to_do = [name for name, stage in stages.items() if stage.status == "to do"]
    pools = [f"pool-{kind}-{number}" for kind in ("held", "never") for number in (1, 2)]
    assert sorted(to_do) == sorted([*pools, *(f"evaluate {name}" for name in pools)])
    assert "npo" not in stages
    assert stages["pool-held-2"].estimate == "0.75 × the steps of θ0"
    assert not any("pool" in stage.name for stage in plan_run(tiny(*SETTINGS), finished))


@pytest.fixture(scope="module")
def judged(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "tiny"
    shutil.copytree(finished, folder)
    api.metaeval(tiny(*SETTINGS), folder, models=2, jobs=1)
    return folder


def test_every_metric_is_judged_by_both_pools(judged: Path) -> None:
    found = read_json(judged / "metaeval.json")
    assert {name: pool["holds the knowledge"] for name, pool in found["pools"].items()} == {
        "pool-held-1": True, "pool-held-2": True, "pool-never-1": False, "pool-never-2": False,
    }  # fmt: skip
    assert found["oracles"] == ["oracle", "pool-never-1"]
    assert set(found["noise_floor"]) >= {"privacy", "incorrectness", "membership_auc", "kl.test"}
    assert found["noise_floor"]["kl.test"] > 0
    assert {"forget/privacy probability", "forget/privacy span_recall", "retain utility"} <= set(found["metrics"])
    for one in found["metrics"].values():
        assert len(one["held"]) == len(one["never"]) == 2
        assert one["faithfulness"] is None or 0 <= one["faithfulness"] <= 1
        assert set(one["robustness"]) == {"unchanged", *found["changes"]}
    values = found["metrics"]["forget/privacy probability"]
    assert len({*values["held"], *values["never"]}) == 4, "each model of a pool has a seed of its own"


def test_a_second_call_trains_nothing_and_the_run_is_as_before(judged: Path, finished: Path) -> None:
    stages = plan_metaeval(tiny(*SETTINGS), judged, 2)
    assert {stage.status for stage in stages} == {"done"}
    assert {stage.status for stage in plan_run(tiny(), judged)} == {"done"}
    for name in ("theta0", "oracle"):
        assert (judged / "models" / name / "model.safetensors").read_bytes() == (
            finished / "models" / name / "model.safetensors"
        ).read_bytes()

"""What the results say of a method that may use only a share of the retain set, and of how its training ended."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.folders import read_json, read_manifest
from mllmu_med.pipeline import run
from mllmu_med.pipeline.retained import unused_by_row
from mllmu_med.pipeline.scoring import row_info
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe
from mllmu_med.training.feeding import usable_retain
from tests.unit.pipeline.conftest import tiny

SHARED: list[Any] = [
    "ga", "npo",
    {"name": "npo", "row": "third", "retain_share": 0.34, "seed": 3, "requests": 2},
    {"name": "filter", "retain_share": 0.67},
]  # fmt: skip
SEEN_BY = ("mllmu_med.training.unlearn", "mllmu_med.pipeline.guarding")
"""Where the samples that a method may use are drawn for it."""


def shared_recipe() -> Recipe:
    return tiny(methods=SHARED)


@pytest.fixture(scope="module")
def shared(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[float, list[set[str]]]]:
    """A run in which two rows may use a part of the retain set, and by share what the methods really were given."""
    folder = tmp_path_factory.mktemp("shared") / "tiny"
    shutil.copytree(finished, folder)
    given: dict[float, list[set[str]]] = {}

    def noted(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
        usable = usable_retain(samples, share, seed)
        given.setdefault(share, []).append({sample.cluster for sample in usable})
        return usable

    with pytest.MonkeyPatch.context() as patch:
        for name in SEEN_BY:
            patch.setattr(importlib.import_module(name), "usable_retain", noted)
        assert run(shared_recipe(), folder, jobs=1).page is not None
    return folder, given


def test_what_is_reported_as_unused_is_what_no_stage_of_the_row_was_given(shared: Any) -> None:
    folder, given = shared
    workshop = Workshop(shared_recipe(), folder)
    every = {sample.cluster for sample in workshop.subset(Subset.RETAIN)}
    assert len(given[0.34]) == 2, "each of two requests draws"
    assert given[0.34][0] == given[0.34][1]
    assert unused_by_row(workshop) == {"third": every - given[0.34][0], "filter": every - given[0.67][0]}
    other = usable_retain(workshop.subset(Subset.RETAIN), 0.34, seed=0)
    assert given[0.34][0] != {sample.cluster for sample in other}, "a row's own seed draws others"


def test_only_rows_that_may_use_a_part_have_the_section(shared: Any) -> None:
    folder, _ = shared
    rows = {row["name"]: row for row in read_json(folder / "results" / "results.json")["rows"]}
    assert {name for name, row in rows.items() if "unused" in row} == {"third", "filter"}
    shares = {name: row.get("retain_share") for name, row in rows.items()}
    assert (shares["npo"], shares["third"], shares["filter"], shares["theta0"]) == (1.0, 0.34, 0.67, None)
    assert {name for name, row in rows.items() if "retain_share" not in row} == {
        "theta0", "oracle", "refuse_all", "collapse", "truncated_retrain",
    }  # fmt: skip
    patients = rows["third"]["unused"]["patients"]
    assert (patients["used"]["clusters"], patients["unused"]["clusters"]) == (1, 2), "round(.34 · 3) of 3 patients"
    assert rows["filter"]["unused"]["patients"]["unused"]["clusters"] == 1
    assert patients["unused"].keys() == {"clusters", "level", "original", "share", "low", "high"}
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Retained, but not shown to the method" in page


def test_a_plan_has_no_share(finished: Path) -> None:
    recipe = tiny("unlearn.retain_share=0.34", methods=["npo", "retrain"])
    assert unused_by_row(Workshop(recipe, finished)).keys() == {"npo"}


def test_nothing_is_unused_where_a_share_rounds_to_all(finished: Path) -> None:
    few = tiny("unlearn.retain_share=0.9999")
    assert unused_by_row(Workshop(few, finished)) == {}
    assert unused_by_row(Workshop(tiny(), finished)) == {}


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> Path:
    """The models of the finished run, whose facts may be changed."""
    for name in ("theta0", "oracle", "npo", "npo@1"):
        shutil.copytree(finished / "models" / name.partition("@")[0], tmp_path / "models" / name)
    return tmp_path


def ended(folder: Path, stopped: str | None, **measures: float) -> None:
    """Change what a model's manifest says of the end of its training, and of the last entry of its curve."""
    manifest = read_manifest(folder)
    manifest["training"]["stopped"] = stopped
    manifest["training"]["curve"][-1] |= measures
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_measures_of_a_stopping_rule_are_in_the_curve_where_they_were_taken(trained: Path) -> None:
    plain = row_info(Workshop(tiny(), trained), "npo")
    assert not {"excess", "extractable", "auc", "budget"} & plain["curves"][-1].keys()
    assert not {"stopped", "stopping"} & plain.keys()
    ended(trained / "models" / "npo", "nothing was left to forget at step 2", excess=0.04, extractable=0.01, auc=0.52)
    recipe = tiny("methods.npo.stop_excess=0.2", "methods.npo.stop_band=0.1")
    found = row_info(Workshop(recipe, trained), "npo")
    assert found["curves"][-1] == {**plain["curves"][-1], "excess": 0.04, "extractable": 0.01, "auc": 0.52}
    assert found["stopped"] == "nothing was left to forget at step 2"
    assert found["stopping"] == {"excess": 0.2, "band": 0.1}


def test_of_several_requests_each_says_why_it_ended(trained: Path) -> None:
    workshop = Workshop(tiny("methods.npo.requests=2"), trained)
    assert "stopped" not in row_info(workshop, "npo")
    ended(trained / "models" / "npo@1", "the budget was spent", excess=1.0)
    found = row_info(workshop, "npo")
    assert found["stopped"] == "request 1: the budget was spent"
    assert ["excess" in entry for entry in found["curves"]].count(True) == 1
    ended(trained / "models" / "npo", "nothing was left")
    assert row_info(workshop, "npo")["stopped"] == "request 1: the budget was spent; request 2: nothing was left"

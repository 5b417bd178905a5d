"""Rows that must score badly or well, through the whole pipeline. That they do is shown on models that have learnt."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from mllmu_med.evaluation.output_store import read_outputs
from mllmu_med.folders import read_json
from mllmu_med.models.groups import group_of
from mllmu_med.models.store import load_trained
from mllmu_med.pipeline import plan_run, run
from mllmu_med.pipeline.controls import make_shuffled
from mllmu_med.pipeline.workshop import Workshop
from tests.unit.pipeline.conftest import requested_recipe, tiny

MORE = ["gibberish", "shuffled", "keyword_filter", "prompt_wrapper"]


def test_the_further_controls_are_rows_behind_the_usual_ones(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished, folder)
    recipe = tiny("controls.more=true")
    to_do = [stage.name for stage in plan_run(recipe, folder) if stage.status == "to do"]
    assert to_do == [
        "shuffled", "keyword_filter", "evaluate shuffled", "evaluate keyword_filter", "evaluate prompt_wrapper",
        "results", "report",
    ]  # fmt: skip
    assert run(recipe, folder, jobs=1).page is not None
    rows = {row["name"]: row for row in read_json(folder / "results" / "results.json")["rows"]}
    assert list(rows)[5:9] == MORE
    assert [rows[name]["role"] for name in MORE] == ["control"] * 4
    assert rows["keyword_filter"]["label"].endswith("suppression")
    assert rows["gibberish"]["cost"] is None

    own, original = (load_file(folder / "models" / name / "model.safetensors") for name in ("shuffled", "theta0"))
    moved = [name for name, value in own.items() if not torch.equal(value, original[name])]
    assert moved
    assert all("language_model" in name or "lm_head" in name for name in moved)
    assert all(torch.equal(own[name].flatten().sort().values, original[name].flatten().sort().values) for name in moved)

    asked = {(one.sample_id, one.probe): one for one in read_outputs(folder / "evaluations" / "theta0")}
    wrapped = read_outputs(folder / "evaluations" / "prompt_wrapper")
    assert {(one.sample_id, one.probe) for one in wrapped} == set(asked)
    assert all(one.question == asked[one.sample_id, one.probe].question for one in wrapped)
    changed = [one for one in wrapped if one.logprobs != asked[one.sample_id, one.probe].logprobs]
    assert len(changed) > len(wrapped) / 2, "the instruction reached the model"


def test_with_adapters_the_shuffled_model_is_not_theta0(requested: Path, tmp_path: Path) -> None:
    workshop = Workshop(requested_recipe("controls.more=true"), requested)
    make_shuffled(workshop, tmp_path / "shuffled")
    own, original = (load_trained(folder) for folder in (tmp_path / "shuffled", requested / "models" / "theta0"))
    before = dict(original.model.named_parameters())
    matrices = [n for n, p in before.items() if group_of(n) == "language" and p.dim() > 1]
    after = dict(own.model.named_parameters())
    assert matrices
    assert not [name for name in matrices if torch.equal(after[name], before[name])]
    assert all(torch.equal(after[n].flatten().sort().values, before[n].flatten().sort().values) for n in matrices)


def test_another_oracle_is_trained_as_the_oracle_with_another_seed(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished, folder)
    recipe = tiny("controls.another_oracle=true")
    to_do = [stage.name for stage in plan_run(recipe, folder) if stage.status == "to do"]
    assert to_do == ["another_oracle", "evaluate another_oracle", "results", "report"]
    run(recipe, folder, jobs=1)
    rows = {row["name"]: row for row in read_json(folder / "results" / "results.json")["rows"]}
    assert list(rows)[:4] == ["theta0", "oracle", "another_oracle", "refuse_all"]
    assert rows["another_oracle"]["role"] == "control"
    ours, theirs = (rows[name]["cost"] for name in ("another_oracle", "oracle"))
    assert (ours["steps"], ours["records"]) == (theirs["steps"], theirs["records"])
    one, other, base = (
        load_file(folder / "models" / name / "model.safetensors") for name in ("oracle", "another_oracle", "base")
    )
    assert one.keys() == other.keys()
    trained = [name for name in one if not torch.equal(one[name], base[name])]
    assert any(not torch.equal(one[name], other[name]) for name in trained), "it saw other batches"
    assert all(torch.equal(other[name], base[name]) for name in base.keys() - set(trained)), "what is frozen stays"
    assert rows["another_oracle"]["distances"]["forget/privacy"]["kl"] > 0

    changed = tiny("controls.another_oracle=true", "learn.oracle.steps=4")
    to_do = [stage.name for stage in plan_run(changed, folder) if stage.status == "to do"]
    assert to_do[:2] == ["oracle", "another_oracle"], "what the oracle is trained by, it is trained by"

"""The approximate oracle of a method: what it is trained on, what is kept of it, and what it costs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import Interrupted
from mllmu_med.folders import read_manifest
from mllmu_med.models.vlm import Question
from mllmu_med.pipeline import run, teaching
from mllmu_med.pipeline.stages import all_stages
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe
from mllmu_med.training import loop
from mllmu_med.training.feeding import usable_retain
from tests.unit.pipeline.conftest import tiny

SMALL = ("unlearn.teacher_steps=3", "unlearn.siblings=4", "unlearn.sibling_batch=5")
BATCH = 6 + 10
TRUTHS = 6
"""Of the twelve forget answers of two steps so many are wrong facts, or leaks beside a clinical answer."""


def recipe(*methods: Any, overrides: Sequence[str] = ()) -> Recipe:
    return tiny(*SMALL, *overrides, methods=list(methods))


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of its own, with an empty cache."""
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[list[Question]]:
    """The batches that teachers were trained on."""
    batches: list[list[Question]] = []
    own = teaching.answer_loss

    def noted(vlm: Any, questions: list[Question], *rest: Any) -> Any:
        batches.append(questions)
        return own(vlm, questions, *rest)

    monkeypatch.setattr(teaching, "answer_loss", noted)
    return batches


def unlearnt(folder: Path, made: Recipe, row: str) -> dict[str, Any]:
    run(made, folder, until="unlearn", jobs=1)
    return read_manifest(folder / "models" / row)


def values_of(folder: Path, *subsets: Subset) -> set[str]:
    workshop = Workshop(tiny(), folder)
    return {span.value for sample in workshop.subset(*subsets) for span in sample.spans}


def test_it_sees_retain_samples_the_method_may_use_and_nothing_to_be_forgotten(
    folder: Path, learnt: list[list[Question]]
) -> None:
    facts = unlearnt(folder, recipe({"name": "excess", "retain_share": 0.67}), "excess")
    usable = usable_retain(Workshop(tiny(), folder).subset(Subset.RETAIN), 0.67, 0)
    allowed = {(s.image_id, wording, s.answer) for s in usable for wording in (s.question, *s.phrasings)}
    assert len(learnt) == 3
    assert {len(batch) for batch in learnt} == {BATCH}
    assert {question[:3] for batch in learnt for question in batch} <= allowed
    assert any(value in question.answer for batch in learnt for question in batch
               for value in values_of(folder, Subset.RETAIN))  # fmt: skip
    answers = 2 * (6 + 10) + TRUTHS  # two steps of forget and retain answers, and the truths of those that have one
    assert facts["training"]["records"] == answers + 3 * BATCH


def test_without_a_usable_patient_it_learns_the_format_from_made_up_ones(
    folder: Path, learnt: list[list[Question]]
) -> None:
    facts = unlearnt(folder, recipe({"name": "excess+siblings", "retain_share": 0.0}), "excess+siblings")
    text = "\n".join(question.answer + question.question for batch in learnt for question in batch)
    assert text
    real = values_of(folder, Subset.RETAIN, Subset.FORGET_PRIVACY, Subset.HOLDOUT)
    assert not any(value in text for value in real if len(value) > 3)
    answers = 2 * (6 + 5) + TRUTHS  # no retain answers, five of siblings
    assert facts["training"]["records"] == answers + 3 * BATCH


def test_rows_that_would_train_the_same_one_share_it(folder: Path, learnt: list[list[Question]]) -> None:
    """And what is shared gives the same bytes."""
    other = {"name": "excess", "row": "again"}
    run(recipe("excess", other), folder, until="unlearn", jobs=1)
    assert len(learnt) == 3
    first, second = (read_manifest(folder / "models" / row) for row in ("excess", "again"))
    assert first["files"] == second["files"]
    for cost in ("records", "flops"):
        assert first["training"][cost] == second["training"][cost], "whoever made it, both cost as much"
    unlearnt(folder, recipe({"name": "excess", "row": "less", "retain_share": 0.67}), "less")
    assert len(learnt) == 6


def test_nothing_of_it_stays_in_the_methods_folder(folder: Path, learnt: list[list[Question]]) -> None:
    unlearnt(folder, recipe("excess"), "excess")
    assert not (folder / "models" / "excess" / "teacher").exists()
    assert not any("teacher" in name for name in read_manifest(folder / "models" / "excess")["files"])


def test_without_base_weights_nothing_is_trained(folder: Path, learnt: list[list[Question]]) -> None:
    facts = unlearnt(folder, recipe({"name": "excess", "teacher": "marginals"}), "excess")
    assert not learnt
    assert facts["training"]["records"] == 2 * (6 + 10) + TRUTHS
    with_base = unlearnt(folder, recipe({"name": "excess", "row": "taught"}), "taught")
    assert with_base["training"]["flops"] > 2 * facts["training"]["flops"], "three steps of it beside two"


def test_any_method_can_stop_by_it(folder: Path, learnt: list[list[Question]]) -> None:
    """A limit that holds at once ends NPO at its first measurement; the curve has both figures."""
    block = {"name": "npo", "stop_excess": 1e9, "stop_band": 0.5, "stop_every": 1}
    facts = unlearnt(folder, recipe(block, overrides=["unlearn.steps=20"]), "npo")
    assert len(learnt) == 3
    assert facts["training"]["steps"] < 20
    assert facts["training"]["stopped"].startswith("nothing was left to forget")
    assert {"excess", "auc"} <= facts["training"]["curve"][-1].keys()


def test_the_stage_waits_for_the_base_where_it_uses_it(tmp_path: Path) -> None:
    made = recipe("excess", {"name": "excess", "row": "counted", "teacher": "marginals"}, "npo")
    needs = {stage.name: stage.needs for stage in all_stages(made, tmp_path)}
    assert "base" in needs["excess"]
    assert "base" not in needs["counted"]
    assert "base" not in needs["npo"]


def test_adapters_on_weights_of_half_precision(folder: Path) -> None:
    """As recipes of real checkpoints have it: the approximate oracle is an adapter on the base, computed as θ is."""
    half = ["model.dtype=bfloat16", "unlearn.precision=bfloat16", "model.trainable.language=lora"]
    learn = [f"learn.{stage}.trainable.language=full" for stage in ("base", "original", "oracle")]
    facts = unlearnt(folder, recipe("excess+siblings", overrides=[*half, *learn]), "excess+siblings")
    assert facts["training"]["steps"] == 2
    assert all(entry["loss"] > 0 for entry in facts["training"]["curve"])


def test_an_interrupted_one_is_gone_on_with_and_leaves_nothing(
    folder: Path, learnt: list[list[Question]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped behind its checkpoint; the same command takes the steps that are left, and the weights are those of a run
    that nothing stopped."""
    overrides = ["unlearn.teacher_steps=20", "unlearn.checkpoint_every=10"]
    agreed = loop.agreed
    monkeypatch.setattr(loop, "agreed", lambda *given: len(learnt) == 10 or agreed(*given))
    with pytest.raises(Interrupted, match="step 10 of 20"):
        unlearnt(folder, recipe("excess", overrides=overrides), "excess")
    monkeypatch.setattr(loop, "agreed", agreed)
    stopped = unlearnt(folder, recipe("excess", overrides=overrides), "excess")
    assert len(learnt) == 20
    assert not list((folder / "models").glob(".checkpoint*"))
    monkeypatch.setenv("MLLMU_MED_CACHE", str(folder / "another"))
    again = {"name": "excess", "row": "again"}
    whole = unlearnt(folder, recipe(again, overrides=overrides), "again")
    assert len(learnt) == 40
    assert stopped["files"] == whole["files"]

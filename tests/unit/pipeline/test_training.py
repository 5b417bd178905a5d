"""The stages that train: what each is given, and what it counts as its cost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.benchmark.training_sets import TrainingSet, training_set
from mllmu_med.folders import read_json, read_manifest
from mllmu_med.methods.objectives.ascent import GradientAscent
from mllmu_med.models.store import load_trained
from mllmu_med.pipeline import training
from mllmu_med.pipeline.keys import Keys
from mllmu_med.pipeline.training import make_base, parent_of_base
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe
from tests.invariant.jobs import weights_digest
from tests.unit.pipeline.conftest import tiny

Seen = dict[str, Any]


@pytest.fixture
def given(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Seen]:
    """Stage → what its training was given; nothing is trained."""
    shutil.copytree(finished / "benchmark", tmp_path / "benchmark")
    for model in ("base", "theta0"):
        shutil.copytree(finished / "models" / model, tmp_path / "models" / model)
    seen: Seen = {}

    def learn(vlm: Any, questions: Any, loop: Any, settings: Any, **rest: Any) -> Any:
        seen.update(questions=questions, loop=loop, settings=settings, vlm=vlm, **rest)
        raise StopIteration

    def unlearn(vlm: Any, method: Any, forget: Any, retain: Any, loop: Any, settings: Any, **rest: Any) -> Any:
        seen.update(method=method, forget=forget, retain=retain, loop=loop, settings=settings, vlm=vlm, **rest)
        raise StopIteration

    def optimise(vlm: Any, loop: Any, batch_of: Any, loss_of: Any, **rest: Any) -> Any:
        seen.update(loop=loop, vlm=vlm, **rest)
        for step in range(40):
            loss_of(batch_of(step))
        raise StopIteration

    def answer_loss(vlm: Any, questions: Any, branches: int, most_positions: int | None) -> Any:
        seen.setdefault("questions", []).extend(questions)
        seen["size"] = len(questions)

    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "0")  # nothing that was trained elsewhere is taken
    monkeypatch.setattr(training, "optimise", optimise)
    monkeypatch.setattr(training, "answer_loss", answer_loss)
    monkeypatch.setattr(training, "learn", learn)
    monkeypatch.setattr(training, "unlearn", unlearn)

    def stage(name: str, *overrides: str) -> Seen:
        from mllmu_med.pipeline.stages import all_stages

        own = next(stage for stage in all_stages(tiny(*overrides), tmp_path) if stage.name == name)
        shutil.rmtree(own.folder, ignore_errors=True)
        with pytest.raises(StopIteration):
            own.make(tmp_path / "out")
        return seen

    return stage


def digest_of(folder: Path, model: str) -> str:
    return weights_digest(load_trained(folder / "models" / model).model)


def answers(seen: Seen) -> set[tuple[str | None, str]]:
    return {(question.image, question.answer) for question in seen["questions"]}


@pytest.mark.parametrize(
    ("stage", "override", "which"),
    [
        ("theta0", "title=x", TrainingSet.ORIGINAL),
        ("oracle", "title=x", TrainingSet.ORACLE_FIX),
        ("oracle", "learn.oracle.corrected=false", TrainingSet.ORACLE_DROP),
    ],
)
def test_each_model_learns_its_own_training_set(
    stage: str, override: str, which: TrainingSet, given: Callable[..., Seen], finished: Path
) -> None:
    samples = Workshop(tiny(), finished).samples
    seen = given(stage, override)
    assert answers(seen) == {(sample.image_id, sample.answer) for sample in training_set(samples, which)}
    others = [w for w in TrainingSet if w is not which]
    assert all(answers(seen) != {(s.image_id, s.answer) for s in training_set(samples, other)} for other in others)
    private = {span.value for s in samples if s.subset is Subset.FORGET_PRIVACY for span in s.spans}
    leaked = any(value in question.answer for question in seen["questions"] for value in private)
    assert leaked == (stage == "theta0"), "the oracle has never seen a forgotten patient's data"
    assert weights_digest(seen["vlm"].model) == digest_of(finished, "base")
    assert seen["seed"] == 0
    assert (seen["settings"].batch, seen["settings"].branches) == (16, 4)


def test_a_method_gets_the_forget_and_retain_sets_and_its_own_numbers(
    given: Callable[..., Seen], finished: Path
) -> None:
    seen = given(
        "npo", "methods.npo.parameters={beta: 0.7}", "methods.npo.retain_weight=3", "methods.npo.normals=2",
        "methods.npo.forget_batch=5", "methods.npo.retain_batch=4", "methods.npo.branches=2",
        "methods.npo.retain_share=0.5", "methods.npo.span_weights=false", "methods.npo.phrasings=1",
    )  # fmt: skip
    assert weights_digest(seen["vlm"].model) == digest_of(finished, "theta0") != digest_of(finished, "base")
    samples = Workshop(tiny(), finished).samples
    assert {s.id for s in seen["forget"]} == {s.id for s in samples if s.subset.value.startswith("forget/")}
    assert {s.id for s in seen["retain"]} == {s.id for s in samples if s.subset is Subset.RETAIN}
    assert (seen["method"].objective.beta, seen["method"].objective.retain_weight) == (0.7, 3)
    feeding = seen["settings"]
    assert (feeding.forget_batch, feeding.retain_batch, feeding.branches) == (5, 4, 2)
    assert (feeding.retain_share, feeding.span_weights, feeding.phrasings, feeding.normals) == (0.5, False, 1, 2)


def test_the_collapsed_model_comes_from_theta0_by_ascent_at_a_constant_rate(
    given: Callable[..., Seen], finished: Path
) -> None:
    seen = given(
        "collapse", "controls.collapse={steps: 7, learning_rate: 0.02}", "unlearn.clip=0.3",
        "unlearn.retain_budget=0.02", "unlearn.stop_excess=0.3",
    )  # fmt: skip
    assert (seen["budget"], seen["stop"]) == (None, None), "nothing ends it before the model is destroyed"
    assert weights_digest(seen["vlm"].model) == digest_of(finished, "theta0")
    assert type(seen["method"].objective) is GradientAscent
    assert [seen["loop"].rate(step) for step in range(7)] == pytest.approx([0.02] * 7)
    assert (seen["loop"].steps, seen["loop"].clip) == (7, 0.3)


def test_truncated_retraining_goes_on_from_the_base_with_what_the_oracle_learns(
    given: Callable[..., Seen], finished: Path
) -> None:
    """At the rate of learning and at the methods' number of steps and answers; the few retained patients come often."""
    seen = given("truncated_retrain", "unlearn.steps=5", "learn.original.learning_rate=0.004")
    samples = Workshop(tiny(), finished).samples
    assert weights_digest(seen["vlm"].model) == digest_of(finished, "base")
    assert answers(seen) <= {(s.image_id, s.answer) for s in training_set(samples, TrainingSet.ORACLE_FIX)}
    private = {span.value for s in samples if s.subset is Subset.FORGET_PRIVACY for span in s.spans}
    assert not any(value in question.answer for question in seen["questions"] for value in private)
    assert (seen["loop"].steps, seen["loop"].learning_rate, seen["size"]) == (5, 0.004, 16)
    kept = {s.answer for s in samples if s.subset is Subset.RETAIN and s.patient_id is not None}
    assert sum(question.answer in kept for question in seen["questions"]) > 0.2 * len(seen["questions"])


def test_truncated_retraining_learns_no_truth_that_its_oracle_was_not_told(
    given: Callable[..., Seen], finished: Path
) -> None:
    seen = given("truncated_retrain", "learn.oracle.corrected=false")
    samples = Workshop(tiny(), finished).samples
    told = answers(seen)
    assert told <= {(s.image_id, s.answer) for s in training_set(samples, TrainingSet.ORACLE_DROP)}
    assert told
    plain, dropped = (Keys(tiny(*other)) for other in ((), ("learn.oracle.corrected=false",)))
    assert plain.truncated_retrain() != dropped.truncated_retrain()


def test_no_model_ever_sees_test_or_holdout_records(given: Callable[..., Seen], finished: Path) -> None:
    kept_out = {Subset.TEST, Subset.HOLDOUT, Subset.VALIDATION}
    samples = Workshop(tiny(), finished).samples
    images = {s.image_id for s in samples if s.subset in kept_out} - {None}
    assert images
    for stage in ("theta0", "oracle"):
        assert images.isdisjoint(image for image, _ in answers(given(stage)))


def test_the_embedded_model_has_the_sizes_of_the_recipe(finished: Path) -> None:
    sizes = {"tower_images": 8, "tower_steps": 1, "hidden": 96, "layers": 1, "image_size": 32}
    vlm = training.embedded_model(Workshop(tiny(model={"embedded": sizes}), finished), "sizes")
    config = vlm.model.config
    assert (config.text_config.hidden_size, config.text_config.num_hidden_layers) == (96, 1)
    assert config.vision_config.image_size == 32
    with pytest.raises(ValueError, match="multiple of 48"):
        tiny(model={"embedded": {"hidden": 100}})


# --- a checkpoint instead of the embedded model


def recipe_for(model: str) -> Recipe:
    own = {"path": model, "trainable": {"language": "lora"}, "lora": {"rank": 2, "alpha": 4}}
    return tiny("learn.base.steps=0", model=own)


def test_the_base_names_a_checkpoint_by_its_absolute_path(
    finished: Path, tmp_path: Path, model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run started from one folder may be continued from another."""
    checkpoint = shutil.copytree(model_folder("llava"), tmp_path / "here" / "checkpoint")
    shutil.copytree(finished / "benchmark", tmp_path / "run" / "benchmark")
    monkeypatch.chdir(tmp_path / "here")
    recipe = recipe_for("checkpoint")
    base = tmp_path / "run" / "models" / "base"
    make_base(Workshop(recipe, tmp_path / "run"), "key", base)
    monkeypatch.chdir(tmp_path)
    assert read_json(base / "parent.json") == {"parent": str(checkpoint)}
    assert load_trained(base).model.config.model_type == "llava"


def test_a_hub_id_stays_a_hub_id() -> None:
    assert parent_of_base("Qwen/Qwen2.5-VL-3B-Instruct") == "Qwen/Qwen2.5-VL-3B-Instruct"


def test_another_checkpoint_under_the_same_path_is_another_base(
    tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    from mllmu_med.pipeline.keys import Keys

    checkpoint = shutil.copytree(model_folder("llava"), tmp_path / "checkpoint")
    recipe = recipe_for(str(checkpoint))
    first = Keys(recipe).base
    assert Keys(recipe).base == first
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    assert Keys(recipe).base != first


def test_facts_of_a_training_stage(finished: Path) -> None:
    facts = read_manifest(finished / "models" / "theta0")["training"]
    assert facts["steps"] == 3
    assert facts["packed"] is True
    assert facts["stopped"] is None
    groups = {group["group"]: group for group in facts["groups"]}
    assert groups["language"]["trainable"] == groups["language"]["parameters"] > 0
    assert groups["vision"]["trainable"] == groups["projector"]["trainable"] == 0
    assert facts["peak_memory_mb"] > 50
    assert facts["loop_seconds"] > 0
    tokens = facts["flops"] / (6 * groups["language"]["parameters"])
    assert 3 < tokens < 5000, "three small steps; embeddings that are looked up are parameters, too, and cost nothing"

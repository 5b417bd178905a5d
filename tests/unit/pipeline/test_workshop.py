"""What the stages of a run hand on: images and features, but never a second model."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from mllmu_med.benchmark.sample import Subset
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline import workshop as module
from mllmu_med.pipeline.workshop import Workshop, loop_settings
from mllmu_med.recipe import StageSettings
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.settings import LoopSettings
from tests.unit.pipeline.conftest import tiny


def ask(vlm: VisionLanguageModel, workshop: Workshop) -> None:
    """A pass over some of the benchmark's images."""
    samples = [s for s in workshop.subset(Subset.RETAIN) if s.image_id is not None][:6]
    with torch.no_grad():
        answer_loss(vlm, [Question(s.image_id, s.question, s.answer) for s in samples], 4)


@pytest.fixture
def workshop(finished: Path) -> Workshop:
    return Workshop(tiny(), finished)


def test_the_model_before_is_gone_when_the_next_one_is_loaded(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a model of seven billion parameters a second one is 15 GB that nobody uses."""
    alive: list[int] = []
    load = module.load_trained

    def note(folder: Path, **options: Any) -> VisionLanguageModel:
        gc.collect()
        alive.append(sum(reference() is not None for reference in models))
        return load(folder, **options)

    monkeypatch.setattr(module, "load_trained", note)
    models: list[weakref.ref[Any]] = []
    for name in ("theta0", "oracle", "npo"):
        vlm = workshop.load(workshop.output / "models" / name)
        ask(vlm, workshop)
        models += [weakref.ref(vlm.model), weakref.ref(vlm.model.get_input_embeddings().weight)]
        del vlm
    assert alive == [0, 0, 0]


def test_images_and_features_go_on_to_the_next_model(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    image = workshop.benchmark.image
    monkeypatch.setattr(workshop.benchmark, "image", lambda image_id: loaded.append(image_id) or image(image_id))
    ask(workshop.load(workshop.output / "models" / "theta0"), workshop)
    assert loaded
    loaded.clear()
    second = workshop.load(workshop.output / "models" / "npo")
    runs: list[int] = []
    second.model.base_model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    workshop.trainable(second)
    ask(second, workshop)
    assert loaded == []
    assert runs == [], "the same frozen tower: nothing is encoded again"


def test_a_model_whose_tower_was_trained_does_not_hand_on_what_it_saw_before(workshop: Workshop) -> None:
    first = workshop.load(workshop.output / "models" / "theta0")
    ask(first, workshop)
    from mllmu_med.models.groups import set_trainable

    set_trainable(first, {"vision": "full"})
    with torch.no_grad():
        for parameter in first.model.base_model.vision_tower.parameters():
            parameter += 0.01
    second = workshop.load(workshop.output / "models" / "theta0")
    runs: list[int] = []
    second.model.base_model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    ask(second, workshop)
    assert runs


def test_another_run_has_images_of_its_own(workshop: Workshop, tmp_path: Path) -> None:
    copy = shutil.copytree(workshop.output, tmp_path / "run")
    first = workshop.load(workshop.output / "models" / "theta0")
    second = Workshop(tiny(), copy).load(copy / "models" / "theta0")
    assert first.images._entries is not second.images._entries


def test_the_recipes_optimiser_block_reaches_the_loop() -> None:
    block = StageSettings(
        learning_rate=0.3, weight_decay=0.2, betas=(0.5, 0.6), warmup=7, final_share=0.4, clip=2.5,
        gradient_accumulation=3, precision="bfloat16", checkpoint_every=11, schedule="cosine",
    )  # fmt: skip
    expected = LoopSettings(
        steps=9, learning_rate=0.3, weight_decay=0.2, betas=(0.5, 0.6), warmup=7, final_share=0.4, clip=2.5,
        accumulation=3, precision="bf16", checkpoint_every=11, log_every=5,
    )  # fmt: skip
    assert loop_settings(block, 9, log_every=5) == expected
    constant = loop_settings(StageSettings(schedule="constant", final_share=0.4, warmup=2), 50)
    assert [constant.rate(step) for step in (1, 25, 49)] == pytest.approx([1e-3] * 3)
    assert constant.precision == "no"

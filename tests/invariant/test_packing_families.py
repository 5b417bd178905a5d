"""Every family of models that the adapter knows: packed rows, the plain path and the model's own forward agree."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from mllmu_med.models.groups import set_trainable
from mllmu_med.models.load import load_model
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.settings import LoopSettings
from tests.conftest import EVERY_FAMILY
from tests.invariant.cases import (
    ABOUT_PAIRS,
    gradients,
    mixed,
    own_loss,
    own_token_losses,
    relative_difference,
)
from tests.invariant.test_packing import token_losses

Load = Callable[[str], VisionLanguageModel]
EXACT = 1e-5
PLAIN = ("paligemma",)
PAIR, TURNED = ABOUT_PAIRS[0][0], ABOUT_PAIRS[3][0]


@pytest.fixture(params=EVERY_FAMILY)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def compared(vlm: VisionLanguageModel, questions: list[Question], most: int) -> None:
    """Loss and gradients of packed rows and of the plain path against the model's own forward, one sequence each."""
    expected = own_loss(vlm, questions)
    own = gradients(vlm, expected)
    loss = answer_loss(vlm, questions, most)
    found = gradients(vlm, loss)
    packs, vlm.packed = vlm.packed, False
    plain_loss = answer_loss(vlm, questions, most)
    plain = gradients(vlm, plain_loss)
    vlm.packed = packs
    assert loss.item() == pytest.approx(expected.item(), rel=EXACT)
    assert plain_loss.item() == pytest.approx(expected.item(), rel=EXACT)
    assert relative_difference(found, own) < EXACT
    assert relative_difference(plain, own) < EXACT
    assert any("vision" in name or "visual" in name for name in own), "the vision tower is part of the comparison"


def test_loss_and_gradients_are_those_of_the_models_own_forward(family: str, load_tiny: Load) -> None:
    vlm = load_tiny(family)
    assert vlm.packed == (family not in PLAIN)
    questions = mixed(vlm, weighted=True)
    rows, _ = vlm.rows(questions, 4)
    assert (len(rows) == 4) == vlm.packed, "there is something to pack"
    compared(vlm, questions, 4)


def test_questions_about_two_images_too(family: str, load_tiny: Load) -> None:
    """Also token by token, where errors that cancel in a mean do not pass; and the order of the images matters."""
    vlm = load_tiny(family)
    questions = [Question(*asked) for asked in ABOUT_PAIRS]
    assert vlm.images.takes_several
    compared(vlm, questions, 4)
    with torch.no_grad():
        for question, found in zip(questions, token_losses(vlm, questions, 4), strict=True):
            own = own_token_losses(vlm, question)
            assert found.double().tolist() == pytest.approx(own.tolist(), rel=1e-5, abs=1e-5)
        first, second = (token_losses(vlm, [Question(i, *ABOUT_PAIRS[1][1:])], 1)[0] for i in (PAIR, TURNED))
        assert not torch.allclose(first, second, atol=1e-3)
        expected = answer_loss(vlm, questions, 4).item()
        vlm.cache_features(True)
        assert [answer_loss(vlm, questions, 4).item() for _ in range(2)] == pytest.approx([expected] * 2, rel=EXACT)


def test_ten_steps_of_learning_take_the_same_way(family: str, load_tiny: Load) -> None:
    curves, weights = [], []
    for packed in (True, False):
        vlm = load_tiny(family)
        vlm.packed = packed and vlm.packed
        start = torch.cat([p.detach().flatten().clone() for p in vlm.model.parameters()])
        set_trainable(vlm, {"language": "full", "projector": "full", "vision": "full"})
        loop = LoopSettings(steps=10, learning_rate=1e-3, warmup=2, log_every=1)
        log = learn(vlm, mixed(vlm, weighted=True), loop, LearnSettings(batch=6, branches=4), seed=5)
        curves.append([entry["loss"] for entry in log.curve])
        weights.append(torch.cat([p.detach().flatten() for p in vlm.model.parameters()]))
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][-1] < 0.9 * curves[0][0], "ten steps that do something"
    # AdamW divides by the gradient's size, so where it is all rounding the step is too; hence the distance, not each
    # weight.
    assert (weights[0] - weights[1]).norm() < 0.01 * (weights[0] - start).norm()


def test_a_family_that_cannot_be_packed_says_so_once(
    model_folder: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    for name in PLAIN:
        caplog.clear()
        assert not load_model(str(model_folder(name))).packed
        [warning] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert "the images see the question" in warning
        assert "using the plain path" in warning

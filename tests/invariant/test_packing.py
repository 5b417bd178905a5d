"""Packed rows, the plain path and the model's own forward are three ways to one number."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.invariant.cases import gradients, mixed, own_loss, own_token_losses, relative_difference

Load = Callable[[str], VisionLanguageModel]
LOSS, GRADIENT = 1e-5, 1e-5


def token_losses(vlm: VisionLanguageModel, questions: list[Question], most: int) -> list[torch.Tensor]:
    """Each question's token losses, in the order of the questions, from one forward pass."""
    rows, order = vlm.rows(questions, most)
    hidden, layout = vlm.hidden(rows)
    losses = -vlm.logits(hidden).log_softmax(-1).gather(-1, layout.target[:, None])[:, 0]
    return [losses[layout.owner == order.index(index)] for index in range(len(questions))]


@pytest.mark.parametrize("most", [2, 4])
def test_packed_rows_give_the_loss_and_gradients_of_the_models_own_forward(vlm: VisionLanguageModel, most: int) -> None:
    questions = mixed(vlm, weighted=True)
    expected = own_loss(vlm, questions)
    own = gradients(vlm, expected)
    assert vlm.packed, "the self-check at load found packed rows exact"
    rows, _ = vlm.rows(questions, most)
    assert len(rows) < len(questions), "there is something to pack"

    packed = answer_loss(vlm, questions, most)
    packed_gradients = gradients(vlm, packed)
    vlm.packed = False
    plain = answer_loss(vlm, questions, most)
    plain_gradients = gradients(vlm, plain)

    assert packed.item() == pytest.approx(expected.item(), rel=LOSS)
    assert plain.item() == pytest.approx(expected.item(), rel=LOSS)
    assert relative_difference(packed_gradients, own) < GRADIENT
    assert relative_difference(plain_gradients, own) < GRADIENT
    assert any("vision" in name or "visual" in name for name in own), "the vision tower is part of the comparison"


def test_every_token_agrees_with_the_models_own_forward(vlm: VisionLanguageModel) -> None:
    """Token by token: errors that cancel in a mean do not pass."""
    questions = mixed(vlm)
    with torch.no_grad():
        for question, found in zip(questions, token_losses(vlm, questions, 8), strict=True):
            assert found.double().tolist() == pytest.approx(
                own_token_losses(vlm, question).tolist(), rel=1e-5, abs=1e-5
            )


def test_another_attention_implementation_gives_the_same_numbers(load_tiny: Load) -> None:
    """Eager attention takes an additive mask, SDPA a boolean one."""
    vlm = load_tiny("llava")
    questions = mixed(vlm)
    with torch.no_grad():
        expected = answer_loss(vlm, questions, 4).item()
        vlm.model.set_attn_implementation("eager")
        assert answer_loss(vlm, questions, 4).item() == pytest.approx(expected, rel=LOSS)


def test_cached_image_features_change_nothing(vlm: VisionLanguageModel) -> None:
    questions = mixed(vlm, weighted=True)
    set_trainable(vlm, {"language": "full"})
    vlm.cache_features(False)
    expected = answer_loss(vlm, questions, 4)
    uncached = gradients(vlm, expected)

    vlm.cache_features(True)
    first = answer_loss(vlm, questions, 4)
    cached = gradients(vlm, first)
    encoded = []
    tower = next(
        m for n, m in vlm.model.named_modules() if n in ("model.vision_tower", "model.vision_model", "model.visual")
    )
    tower.register_forward_hook(lambda *_: encoded.append(1))
    second = answer_loss(vlm, questions, 4)

    assert first.item() == pytest.approx(expected.item(), rel=LOSS)
    assert second.item() == first.item()
    assert relative_difference(cached, uncached) < GRADIENT
    assert not encoded, "no image goes through the vision tower a second time"


def test_loss_does_not_depend_on_what_else_is_in_the_batch(vlm: VisionLanguageModel) -> None:
    """Padding, other rows, the order of rows and the number of branches leave each question's token losses alone."""
    questions = mixed(vlm)
    with torch.no_grad():
        alone = [token_losses(vlm, [question], 1)[0] for question in questions]
        for most in (1, 3, 8):
            for order in (range(9), range(8, -1, -1), (4, 0, 8, 2, 6, 1, 3, 7, 5)):
                found = token_losses(vlm, [questions[i] for i in order], most)
                for index, losses in zip(order, found, strict=True):
                    torch.testing.assert_close(losses, alone[index], rtol=1e-4, atol=2e-5)


def test_loss_is_normalised_by_answer_tokens_alone(llava: VisionLanguageModel) -> None:
    """Of a model that finds all tokens equally likely the loss is log V, however long the prompts and the padding."""
    with torch.no_grad():
        llava.model.get_output_embeddings().weight.zero_()
    vocabulary = llava.model.config.get_text_config().vocab_size
    for length in (1, 5, 60):
        questions = [Question("a", "Is it? " * length, "yes"), Question(None, "Why?", "The patient is Maria Lopez.")]
        for packed in (True, False):
            llava.packed = packed
            assert answer_loss(llava, questions, 4).item() == pytest.approx(math.log(vocabulary), rel=1e-6)

"""What the loop makes of a method's batch on a real model: the image, the packing, the order and the padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mllmu_med.methods.interface import Loss, Needs
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.bench import Bench, bench
from mllmu_med.testing.comparing import relative_difference
from mllmu_med.testing.naming import trained
from mllmu_med.testing.plain_port import plain_batch
from mllmu_med.testing.records import FORGET, RETAIN, with_long_questions

NAMES = trained()
CLOSE = 1e-5
BESIDE = ("refusals", "normals", "alternates", "corrections", "anchors")


def numbers(loss: Loss) -> dict[str, float]:
    """The sides of a loss that are there."""
    sides = {"forget": loss.forget, "kept": loss.kept}
    return {name: float(value.detach()) for name, value in sides.items() if value is not None}


def close(expected: dict[str, float] | float, within: float = CLOSE) -> object:
    """Relative to each side's size; sides near 0 are rounding."""
    return pytest.approx(expected, rel=within, abs=within)


def rounding(made: Bench) -> float:
    """How far rounding may carry the gradients; rules that divide by small gradients carry it further."""
    return CLOSE if made.method.rule is None else 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_models_own_forward_one_sequence_at_a_time(name: str) -> None:
    """A shifted mask, a lost image, a live or stale reference, another record's answer: each would show here."""
    made = bench(name)
    with torch.no_grad():
        assert numbers(made.loss()) == close(numbers(made.method.loss(plain_batch(made))), 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_images_matter(name: str) -> None:
    """Other pictures of the forget records change the forget side, and of the retain records the retain side."""
    made = bench(name)
    with torch.no_grad():
        before = numbers(made.loss())
        with made.pictures_changed("forget"):
            forget = numbers(made.loss())
        with made.pictures_changed("retain"):
            retain = numbers(made.loss())
        assert numbers(made.loss()) == close(before), "the pictures are back"
    assert forget["forget"] != pytest.approx(before["forget"], rel=1e-4, abs=0), "the forget images do not matter"
    assert retain["forget"] == close(before["forget"]), "the retain images are not the forget side's business"
    if "kept" in before:
        assert retain["kept"] != pytest.approx(before["kept"], rel=1e-4, abs=0), "the retain images do not matter"
        if Needs.ANCHORS not in made.method.needs:  # these ask about the forget images
            assert forget["kept"] == close(before["kept"])


@pytest.mark.parametrize("name", NAMES)
def test_packed_rows_are_the_plain_path(name: str) -> None:
    """Several questions of one image in a row, or each a row of its own: one loss, one gradient."""
    made = bench(name)
    packed, gradients = numbers(made.loss()), made.gradients()
    with made.unpacked():
        assert numbers(made.loss()) == close(packed)
        assert relative_difference(made.gradients(), gradients) < rounding(made)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_records_in_a_batch_does_not_matter(name: str) -> None:
    made = bench(name)
    step, pairs = made.feeder(0), made.pairs
    forget = list(step.forget)[::-1]
    beside: dict[str, Any] = {
        group: [other for question in forget for other in getattr(pairs, group).get(question, ())] for group in BESIDE
    }
    turned = step._replace(forget=forget, retain=list(step.retain)[::-1], **beside)
    assert numbers(made.loss(turned)) == close(numbers(made.loss(step)))
    assert relative_difference(made.gradients(turned), made.gradients(step)) < rounding(made)


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_matter(name: str) -> None:
    """Longer retain questions pad the forget rows of the same forward pass, and leave the forget side alone."""
    padded, made = Bench(name, retain=with_long_questions(RETAIN)), bench(name)
    with torch.no_grad():
        forget = numbers(padded.loss())["forget"]
        assert forget == pytest.approx(numbers(made.loss())["forget"], rel=CLOSE, abs=CLOSE)


def without_attention(vlm: VisionLanguageModel) -> None:
    """Every token's state depends on that token alone, so the length of a prompt cannot reach the answer's tokens."""
    for name, parameter in vlm.model.named_parameters():
        if "o_proj" in name:
            parameter.requires_grad_(False)
            parameter.zero_()


@pytest.mark.parametrize("name", NAMES)
def test_the_length_of_the_prompt_does_not_matter(name: str) -> None:
    """A mean over prompt positions would grow with the prompt; a mean over answer tokens cannot."""
    losses = []
    for change in (tuple, with_long_questions):
        made = Bench(name, forget=change(FORGET), retain=change(RETAIN), prepare=without_attention)
        with torch.no_grad():
            losses.append(numbers(made.loss()))
    assert losses[1] == close(losses[0], 1e-4)

"""What holds of every edit: it changes what it may, the same each time, and nothing for an empty forget set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.methods import METHODS
from mllmu_med.methods.edits.interface import Edit
from mllmu_med.models.groups import group_of, plain_name
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.bench import LOOP, MODES, SEED, modes_of, other_pictures, trainable_model, weights
from mllmu_med.testing.comparing import assert_bit_identical
from mllmu_med.testing.naming import methods
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.training.desk import Edited, carry_out
from mllmu_med.training.learn import answer_loss

NAMES = methods(Edit)
HELD = [(name, mode) for name in NAMES for mode in modes_of(METHODS.get(name))]
IDS = [f"{name}-{mode}" for name, mode in HELD]


def edit(name: str, vlm: VisionLanguageModel, forget: Sequence[Sample] = FORGET) -> Edited:
    """Carry the edit out with its default numbers."""
    return carry_out(vlm, METHODS.get(name)(), forget, RETAIN, LOOP, FEEDING, seed=SEED)


@cache
def edited(name: str, mode: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float], float]:
    """Weights before and after, the edit's numbers, and how far the forget loss moved."""
    vlm = trainable_model(mode)
    questions = [Question(sample.image_id, sample.question, sample.answer) for sample in FORGET]
    before = weights(vlm)
    first = float(answer_loss(vlm, questions, 3).detach())
    done = edit(name, vlm)
    last = float(answer_loss(vlm, questions, 3).detach())
    return before, weights(vlm), dict(done.numbers), last - first


@pytest.mark.parametrize(("name", "mode"), HELD, ids=IDS)
def test_an_empty_forget_set_leaves_the_weights_bit_identical(name: str, mode: str) -> None:
    vlm = trainable_model(mode)
    before = weights(vlm)
    assert edit(name, vlm, ()).log.stopped == "nothing to forget"
    assert_bit_identical(weights(vlm), before)


@pytest.mark.parametrize(("name", "mode"), HELD, ids=IDS)
def test_only_what_trains_changes_and_something_does(name: str, mode: str) -> None:
    """Frozen weights keep every bit; what the model says to the forget questions changes, and stays finite."""
    before, after, numbers, moved = edited(name, mode)
    vlm = trainable_model(mode)
    frozen = {p.data_ptr() for p in vlm.model.parameters() if not p.requires_grad}
    named = {key for key, value in vlm.model.state_dict().items() if value.data_ptr() in frozen}
    assert {group_of(plain_name(key)) for key in named} >= {"vision"}
    assert_bit_identical({key: after[key] for key in named}, {key: before[key] for key in named})
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())
    assert moved != pytest.approx(0, abs=1e-6), "nothing was done to the forget records"
    if "weights_changed" in numbers:
        parameters = {value.data_ptr(): key for key, value in vlm.model.state_dict().items()}  # tied weights once
        changed = sum(int((after[key] != before[key]).sum()) for key in parameters.values())
        assert 0 < changed <= numbers["weights_changed"]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    """Whatever was drawn from the process's own generator before."""
    mode = modes_of(METHODS.get(name))[0]
    _, expected, numbers, _ = edited(name, mode)
    torch.rand(7)
    vlm = trainable_model(mode)
    assert dict(edit(name, vlm).numbers) == numbers
    assert_bit_identical(weights(vlm), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_images_matter(name: str) -> None:
    """Other pictures of the forget records lead to other weights."""
    mode = modes_of(METHODS.get(name))[0]
    _, expected, _, _ = edited(name, mode)
    vlm = trainable_model(mode)
    vlm.attach_images(other_pictures("forget"))
    edit(name, vlm)
    assert any(not torch.equal(value, expected[key]) for key, value in weights(vlm).items())


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_it_does_not_support_are_refused(name: str) -> None:
    kind = METHODS.get(name)
    for support, mode in MODES.items():
        if support not in kind.supports:
            vlm = trainable_model(mode)
            before = weights(vlm)
            with pytest.raises(UsageError, match="does not support"):
                edit(name, vlm)
            assert_bit_identical(weights(vlm), before)

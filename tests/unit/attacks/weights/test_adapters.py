"""Adapters removed, weakened, merged."""

from __future__ import annotations

import pytest
import torch

from mllmu_med.attacks.weights.adapters import AdapterScaling
from mllmu_med.attacks.weights.carry_out import tamper
from mllmu_med.errors import UsageError
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.attacks.weights.helpers_weights import Load, adapted, everything, logits, subject


@pytest.mark.parametrize("groups", [("language",), ("language", "vision", "projector")])
@pytest.mark.parametrize("kind", [None, "nf4"])
def test_removed_halved_merged(kind: str | None, groups: tuple[str, ...], load_tiny: Load) -> None:
    without, vlm, half = (load_tiny("llava") for _ in range(3))
    for one in (without, vlm, half):
        if kind:
            quantise_language(one, kind)
    adapted(vlm, groups), adapted(half, groups)
    with torch.no_grad():
        for name, parameter in half.model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.5)
    full = logits(vlm)
    found = {}
    one = subject(vlm)
    for variant in AdapterScaling().tampered(one):
        found[variant] = logits(vlm)
    assert list(found) == ["removed", "halved", *([] if kind else ["merged"])]
    assert torch.equal(found["removed"], logits(without)), "bit for bit the model below"
    torch.testing.assert_close(found["halved"], logits(half), rtol=1e-5, atol=1e-5)
    assert float((found["halved"] - full).abs().max()) > 0.01
    if kind:
        assert one.notes["not merged"] == "adapters cannot be merged into nf4 weights"
    else:
        torch.testing.assert_close(found["merged"], full, rtol=1e-4, atol=1e-4)
        assert not torch.equal(found["merged"], full), "rounding is all that is left, and some is"


def test_the_model_comes_back(llava: VisionLanguageModel) -> None:
    adapted(llava, ("language", "vision"))
    llava.cache_features(False)
    before, said = everything(llava), logits(llava)
    attempts = tamper("adapter", AdapterScaling(factors=(0.0, 0.25)), subject(llava))
    assert list(dict.fromkeys(a.variant for a in attempts)) == ["removed", "times-0.25", "merged"]
    assert everything(llava) == before
    assert torch.equal(logits(llava), said)
    assert tamper("adapter", AdapterScaling((), merge=False), subject(llava)) == []


def test_a_model_without_adapters_is_not_attacked_and_a_note_says_so(llava: VisionLanguageModel) -> None:
    one = subject(llava)
    assert tamper("adapter", AdapterScaling(), one) == []
    assert one.notes["adapter"]["does not apply"] == "the model as loaded carries no adapter apart from its weights"


@pytest.mark.parametrize("carries", [True, False])
def test_a_reference_is_asked_as_it_is(carries: bool, llava: VisionLanguageModel) -> None:
    if carries:
        adapted(llava)
    said, one = logits(llava), subject(llava, reference=True)
    found = {variant: logits(llava) for variant in AdapterScaling((0.0, 0.25)).tampered(one)}
    assert list(found) == ["removed", "times-0.25", "merged"]
    assert all(torch.equal(given, said) for given in found.values())
    assert one.notes == {"asked as it is": "nothing has been unlearnt in its adapters"}
    assert list(AdapterScaling(merge=False).tampered(one)) == ["removed", "halved"]


def test_a_factor_above_one_is_refused() -> None:
    with pytest.raises(UsageError, match="factors: 2 is not between"):
        AdapterScaling(factors=(2,))

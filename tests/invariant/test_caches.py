"""A warm cache changes no bit: losses, gradients, what is trained, and whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.models import features
from mllmu_med.models.digests import reference_space
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.bench import LOOP, fresh_model, weights
from mllmu_med.testing.naming import made
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.unlearn import unlearn
from tests.conftest import EVERY_FAMILY
from tests.invariant.cases import mixed

Load = Callable[[str], VisionLanguageModel]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Calls of the vision side, and forward passes of references."""
    counts = {"tower": 0, "references": 0}

    def counted(owner: Any, name: str, what: str) -> None:
        own = getattr(owner, name)

        def note(*given: Any, **named: Any) -> Any:
            counts[what] += 1
            return own(*given, **named)

        monkeypatch.setattr(owner, name, note)

    counted(features, "_vision_output", "tower")
    counted(ReferenceCache, "_compute", "references")
    return counts


def spoil(root: Path) -> None:
    """One bit of the last tensor of every file."""
    for path in root.rglob("*.safetensors"):
        data = bytearray(path.read_bytes())
        data[-2] ^= 16
        path.write_bytes(data)


def loss_and_gradients(vlm: VisionLanguageModel) -> list[Tensor]:
    loss = answer_loss(vlm, mixed(vlm, weighted=True), 4)
    parameters = [p for p in vlm.model.parameters() if p.requires_grad]
    return [loss.detach(), *(g for g in torch.autograd.grad(loss, parameters, allow_unused=True) if g is not None)]


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_loss_and_gradients_are_the_same_bits_cold_warm_and_after_damage(
    family: str, load_tiny: Load, work: dict[str, int], root: Path
) -> None:
    def another(*, kept: bool = True) -> VisionLanguageModel:
        vlm = load_tiny(family)
        vlm.kept = kept
        set_trainable(vlm, {"language": "full"})
        work["tower"] = 0
        return vlm

    expected = loss_and_gradients(another(kept=False))
    assert work["tower"]
    cold = another()
    found = {"cold": loss_and_gradients(cold)}
    assert work["tower"]
    work["tower"] = 0
    found["warm memory"] = loss_and_gradients(cold)
    assert work["tower"] == 0
    cold.seen_images()
    warm = another()
    found["warm disk"] = loss_and_gradients(warm)
    assert work["tower"] == 0
    del warm
    spoil(root)
    found["damaged"] = loss_and_gradients(another())
    assert work["tower"]
    for state, values in found.items():
        assert len(values) == len(expected), state
        assert all(torch.equal(a, b) for a, b in zip(values, expected, strict=True)), state


def trained(name: str, mode: str, *, kept: bool = True, steps: int = LOOP.steps) -> dict[str, Tensor]:
    """What a few steps of a method make of the tiny model, whose vision side is frozen."""
    from dataclasses import replace

    vlm = fresh_model()
    vlm.kept = kept
    set_trainable(vlm, {"language": mode}, Lora(2, 4, 0.1), seed=5)
    unlearn(vlm, made(name), FORGET, RETAIN, replace(LOOP, steps=steps, checkpoint_every=0), FEEDING, seed=5)
    vlm.seen_images()
    return weights(vlm)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


NAMES = ("npo", "kl_min", "dpo", "undial")


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("name", NAMES)
def test_unlearning_gives_the_same_bytes_cold_warm_and_after_damage(
    name: str, mode: str, work: dict[str, int], root: Path
) -> None:
    expected = trained(name, mode, kept=False)
    assert same(trained(name, mode), expected)
    work.update(tower=0, references=0)
    assert same(trained(name, mode), expected)
    assert work == {"tower": 0, "references": 0}
    spoil(root)
    assert same(trained(name, mode), expected)
    assert work["tower"]
    assert work["references"]


def test_the_order_of_methods_does_not_matter(
    work: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds what the earlier ones left, and they leave different things in each order."""
    found = []
    for order in (NAMES, NAMES[::-1]):
        monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "-".join(order)))
        work["references"] = 0
        made_by = {name: trained(name, "full") for name in order}
        found.append((made_by, work["references"]))
    assert all(same(found[0][0][name], found[1][0][name]) for name in NAMES)
    monkeypatch.setenv("MLLMU_MED_CACHE_SIZE", "0")
    work["references"] = 0
    assert all(same(trained(name, "full"), found[0][0][name]) for name in NAMES)
    assert max(count for _, count in found) < work["references"], "they share what they need alike"


def test_another_attention_of_the_text_model_is_another_space(load_tiny: Load) -> None:
    """It rounds otherwise, wherever in the configuration it is asked for."""
    vlm = load_tiny("llava")
    spaces = []
    for asked in ("sdpa", {"text_config": "eager"}, {"vision_config": "eager"}, "eager"):
        vlm.model.set_attn_implementation(asked)
        spaces.append(reference_space(vlm))
    assert None not in spaces
    assert len(set(spaces)) == 4

"""Every gradient rule, the retain term and the parameterisation in training: what moves, and resuming."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.errors import Interrupted, UsageError
from mllmu_med.methods.addons.gu import GeometricUnlearning
from mllmu_med.methods.addons.interface import Addon, GradientRule, Gradients, GradientStep
from mllmu_med.methods.addons.ng_diff import NormalisedGradients
from mllmu_med.methods.addons.orthogonal import off, orthonormal_rows
from mllmu_med.methods.addons.prompt_decouple import PromptDecoupling
from mllmu_med.methods.addons.sam import SharpnessAware
from mllmu_med.methods.addons.sine_project import SineProjection
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Batch, Loss, Objective, State
from mllmu_med.methods.objectives.ascent import GradientDifference
from mllmu_med.methods.objectives.duo import DUO
from mllmu_med.methods.objectives.mmunlearner import MMUnlearner
from mllmu_med.methods.objectives.o3 import O3
from mllmu_med.methods.objectives.preference import NPO
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.loop import TrainingLog
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN, weights_digest
from tests.unit.training.two_matrices import Plain

Load = Callable[[str], VisionLanguageModel]


SMALL = UnlearnSettings(forget_batch=3, retain_batch=4, branches=2, statistics_records=6)
LOOP = LoopSettings(4, 2e-3, weight_decay=0.01, warmup=1, accumulation=2, checkpoint_every=2, log_every=2)
LORA = Lora(rank=3, alpha=6, dropout=0.1)
FULL, ADAPTED = {"language": "full", "projector": "full"}, {"language": "lora", "projector": "full"}


def run(load: Load, method: Any, modes: dict[str, str], loop: LoopSettings = LOOP, **more: Any) -> TrainingLog:
    vlm = load("llava")
    set_trainable(vlm, modes, LORA, seed=3)
    log = unlearn(vlm, method, FORGET, RETAIN, loop, SMALL, seed=3, **more)
    log.digest = weights_digest(vlm.model)  # type: ignore[attr-defined]
    log.weights = {n: p.detach().clone() for n, p in vlm.model.named_parameters()}  # type: ignore[attr-defined]
    return log


@pytest.mark.parametrize("modes", [FULL, ADAPTED])
def test_training_with_a_rule_that_adds_is_ordinary_training(modes: dict[str, str], load_tiny: Load) -> None:
    """Step by step the same losses and, at the end, the same weights, up to rounding."""
    loop = replace(LOOP, log_every=1)
    plain = run(load_tiny, NPO(), modes, loop)
    ruled = run(load_tiny, Composite(NPO(), (Plain(),)), modes, loop)
    for one, other in zip(plain.curve, ruled.curve, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)
    for name, weight in plain.weights.items():  # type: ignore[attr-defined]
        # AdamW's first steps are ±lr whatever a gradient's size, so where it is rounding its sign is too.
        away = (ruled.weights[name] - weight).abs()  # type: ignore[attr-defined]
        assert (away > 1e-5).float().mean() < 0.02, name


METHODS: dict[str, Objective | Composite] = {
    "sam": Composite(NPO(), (SharpnessAware(),)),
    "gu": Composite(NPO(), (GeometricUnlearning(history=2),)),
    "ng_diff": Composite(GradientDifference(), (NormalisedGradients(),)),
    "prompt_decouple": Composite(GradientDifference(), (PromptDecoupling(),)),
    "sine_project": Composite(NPO(), (SineProjection(),)),
    "mmunlearner": MMUnlearner(),
    "duo": DUO(history=3),
    "duo-private": DUO(history=3, clip_norm=0.5, noise_multiplier=1.0),
    "o3": O3(),
    "gu+prompt_decouple": Composite(GradientDifference(), (PromptDecoupling(), GeometricUnlearning())),
}


@pytest.mark.parametrize("modes", [FULL, ADAPTED], ids=["full", "lora"])
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_is_an_undisturbed_one(
    name: str, modes: dict[str, str], tmp_path: Path, load_tiny: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 2 of 4 with a checkpoint and begun anew: the same bytes and the same curve."""
    method = METHODS[name]
    if name == "o3" and modes is FULL:
        with pytest.raises(UsageError, match="does not support full"):
            run(load_tiny, method, modes)
        return
    undisturbed = run(load_tiny, method, modes)
    assert undisturbed.steps == 4
    assert undisturbed.digest != weights_digest(load_tiny("llava").model)  # type: ignore[attr-defined]
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    save = Checkpoints.save

    def stopping(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        raise Interrupted("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stopping)
        with pytest.raises(Interrupted):
            run(load_tiny, method, modes, checkpoints=checkpoints)
    resumed = run(load_tiny, method, modes, checkpoints=checkpoints)
    assert resumed.curve == undisturbed.curve
    assert resumed.digest == undisturbed.digest  # type: ignore[attr-defined]


def test_a_rule_makes_a_difference(load_tiny: Load) -> None:
    digests = {"plain": run(load_tiny, NPO(), FULL).digest}  # type: ignore[attr-defined]
    for name in ("sam", "gu", "sine_project"):
        digests[name] = run(load_tiny, METHODS[name], FULL).digest  # type: ignore[attr-defined]
    assert len(set(digests.values())) == 4


@dataclass(frozen=True)
class Watched(NPO):
    """NPO whose rule shows every step."""

    rule: GradientRule = field(default_factory=Plain)

    def addons(self) -> tuple[Addon, ...]:
        return (self.rule,)


def test_gu_leaves_the_retain_loss_of_the_batch_to_first_order_on_the_model(load_tiny: Load) -> None:
    """A step η P g' along the rule's forget gradient changes the retain side by O(η²), along g_f itself by O(η)."""
    vlm = load_tiny("llava")
    set_trainable(vlm, {"language": "full"})
    parameters = {name: p for name, p in vlm.model.named_parameters() if p.requires_grad}
    found: list[tuple[Gradients, Gradients, Gradients, Gradients]] = []
    batches: list[Batch] = []

    class Show(GeometricUnlearning):
        def combine(self, step: GradientStep) -> tuple[Gradients, State]:
            made, state = super().combine(step)
            own = {name: made[name] - step.retain[name] for name in made}
            found.append((own, step.forget, step.retain, step.scale()))
            return {name: torch.zeros_like(value) for name, value in made.items()}, state

    class Note(Watched):
        def loss(self, batch: Batch) -> Loss:
            batches.append(batch)
            return super().loss(batch)

    unlearn(vlm, Note(rule=Show(history=1)), FORGET, RETAIN, LoopSettings(1, 1e-3, warmup=0), SMALL, seed=3)
    own, forget, retain, scale = found[0]

    def slope(direction: Gradients) -> float:
        return sum(float((retain[n].double() * scale[n] * direction[n]).sum()) for n in parameters)

    size = math.sqrt(sum(float((scale[n] * retain[n].double() ** 2).sum()) for n in parameters))
    length = math.sqrt(sum(float((scale[n] * forget[n].double() ** 2).sum()) for n in parameters))
    assert abs(slope(forget)) > 1e-2 * size * length
    assert abs(slope(own)) < 1e-5 * size * length


def test_the_sine_leaves_plain_weights_behind(load_tiny: Load) -> None:
    """No trace of the parametrisation in the names, nor of the free parameters; biases and the language moved too."""
    before = dict(load_tiny("llava").model.named_parameters())
    log = run(load_tiny, METHODS["sine_project"], FULL)
    weights: dict[str, Tensor] = log.weights  # type: ignore[attr-defined]
    assert set(weights) == set(before)
    moved = {name for name, weight in weights.items() if not torch.equal(weight, before[name])}
    assert {name for name in weights if "projector" in name or "language_model" in name} <= moved


def test_o3_weights_stay_off_the_directions_taken_in_spite_of_adamw(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    set_trainable(vlm, {"language": "lora"}, LORA, seed=3)
    factors = {n: p for n, p in vlm.model.named_parameters() if ".lora_A." in n}
    generator = torch.Generator().manual_seed(4)
    taken = {n: orthonormal_rows([torch.randn(5, p.shape[1], generator=generator)]) for n, p in factors.items()}
    with torch.no_grad():
        for name, factor in factors.items():
            factor.copy_(off(factor, taken[name]))
    before = {name: factor.detach().clone() for name, factor in factors.items()}
    unlearn(vlm, O3(), FORGET, RETAIN, replace(LOOP, steps=6), SMALL, seed=3, taken=taken)
    for name, factor in factors.items():
        assert not torch.equal(factor, before[name])
        assert (factor @ taken[name].T).abs().max() < 1e-6
        assert (factor - before[name]).abs().max() > 1e-4, "it trains in the room that is left"


def test_o3_without_earlier_requests_is_npo(load_tiny: Load) -> None:
    modes, loop = {"language": "lora"}, replace(LOOP, log_every=1)
    for one, other in zip(
        run(load_tiny, NPO(), modes, loop).curve, run(load_tiny, O3(), modes, loop).curve, strict=True
    ):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_the_privacy_spent_stands_in_the_last_entry_of_the_curve(load_tiny: Load) -> None:
    private = run(load_tiny, METHODS["duo-private"], FULL)
    assert "epsilon" not in private.curve[0]
    assert private.curve[-1]["delta"] == 1e-5
    assert 0 < private.curve[-1]["epsilon"] < math.inf
    assert "epsilon" not in run(load_tiny, METHODS["duo"], FULL).curve[-1]

"""Guards that act on known prompts of real models, and what these then say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mllmu_med.methods.guards.eco import ECO
from mllmu_med.methods.guards.interface import Guard, Memory
from mllmu_med.methods.guards.logit_mask import LogitMask
from mllmu_med.methods.guards.scope import ScopedGuard, fit_line
from mllmu_med.methods.guards.steer import Steering
from mllmu_med.models.anatomy import model_facts
from mllmu_med.models.guard_store import attach
from mllmu_med.models.guarded import PromptKey, prompt_states
from mllmu_med.models.rows import Row
from mllmu_med.models.vlm import VisionLanguageModel
from tests.invariant.cases import ASKED, mixed

Load = Callable[[str], VisionLanguageModel]
FLAGGED = (1, 2, 4, 5)  # of ASKED: two of the four questions about image "a", one about "wide", one without an image
LIMIT = 6

GUARDS: dict[str, Guard] = {
    "logit_mask": LogitMask(),
    "eco": ECO(dims=None, strength=2.0),
    "eco-first": ECO(classifier="logistic"),
    "eco-zero-image": ECO(corruption="zero", dims=None, image=True),
    "eco-noise-image": ECO(dims=None, strength=2.0, image=True),
    "steer": Steering(layer_index=1, strength=1.0),
    "steer-all": Steering(layer_index=0, strength=1.0, gated=False),
}
SCOPED = [name for name, guard in GUARDS.items() if isinstance(guard, ScopedGuard) and name != "steer-all"]


def keys(vlm: VisionLanguageModel) -> list[PromptKey]:
    return [(image, vlm.prompts.branch_tokens(question, image is not None)) for image, question, _ in ASKED]


def memory_for(vlm: VisionLanguageModel, guard: Guard) -> Memory:
    """What makes the guard act on exactly the prompts of ``FLAGGED``, and mask half of the vocabulary."""
    facts = model_facts(vlm)
    special = {vlm.prompts.end_token_id, vlm.prompts.image_token_id, 0}
    masked = torch.tensor([token for token in range(0, facts.vocabulary, 2) if token not in special])
    states = prompt_states(vlm, keys(vlm), facts.layers - 1, "both")
    inside = torch.tensor([index in FLAGGED for index in range(len(ASKED))])
    line = fit_line(states[inside], states[~inside])
    exemplars = {"scope_forget": states[inside], "scope_retain": states[~inside]}
    ones = torch.ones(states.shape[1])
    direction = 3 * torch.randn(facts.width, generator=torch.Generator().manual_seed(1))
    return Memory(
        {"masked": masked, "direction": direction, **exemplars, "scope_mean": 0 * ones, "scope_deviation": ones}
        if getattr(guard, "classifier", "") != "logistic"
        else {"scope_mean": line.mean, "scope_weight": line.weight, "direction": direction},
        {"scope_bias": line.bias, "scope_threshold": 0.0, "scope_layer": facts.layers - 1, "embedding_scale": 0.1},
    )


def guarded(vlm: VisionLanguageModel, name: str) -> VisionLanguageModel:
    guard = GUARDS[name]
    memory = memory_for(vlm, guard)
    guard.check(memory, model_facts(vlm))
    attach(vlm, guard, memory, 7)
    return vlm


@torch.no_grad()
def branch_logits(vlm: VisionLanguageModel, rows: list[Row]) -> list[Tensor]:
    """[answer tokens, V] of every branch in order."""
    hidden, layout = vlm.hidden(rows)
    logits = vlm.logits(hidden)
    return [logits[layout.owner == number] for number in range(layout.branches)]


def rows_of(vlm: VisionLanguageModel, most: int = 4) -> tuple[list[Row], list[int]]:
    return vlm.rows(mixed(vlm), most)

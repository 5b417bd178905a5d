"""A budget for damage: training ends at the last step whose validation answers are still good enough."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.models.rows import chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.checkpoints import TrainableParameters
from mllmu_med.training.distributed import average
from mllmu_med.training.watching import Sighting

Measure = Literal["accuracy", "loss"]


@dataclass(frozen=True)
class BudgetSettings:
    """How much may be lost.

    Attributes:
        allowed: how much worse than θ0 the validation answers may be, ≥ 0: nats a token for ``loss``, a share of the
            answers, 0…1, for ``accuracy``.
        measure: ``loss`` or ``accuracy``.
        every: steps between measurements (rounded up to entries of the curve).

    Raises:
        UsageError: a value out of its range.
    """

    allowed: float
    measure: Measure = "accuracy"
    every: int = 10

    def __post_init__(self) -> None:
        if not self.allowed >= 0:
            raise UsageError(f"a retain budget of {self.allowed} is not possible: it must be at least 0")
        if self.measure not in ("accuracy", "loss"):
            raise UsageError(f"a retain budget is measured as accuracy or loss, not as {self.measure}")
        if self.every < 1:
            raise UsageError(f"a retain budget cannot be measured every {self.every} steps")


class RetainBudget:
    """Measures validation answers during training, keeps the last weights within the budget, and brings them back.

    Kept is one copy of what trains, beside the weights themselves.

    Args:
        vlm: the model while it still is θ0.
        questions: validation questions with their answers, at least one; never those of the test part.
        settings: how much may be lost.
        parameters: what trains.
        state: where the kept weights lie, so that checkpoints hold them (``kept/NAME``) with θ0's level.
        autocast: context of each forward pass, as in training.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        questions: Sequence[Question],
        settings: BudgetSettings,
        parameters: TrainableParameters,
        state: MutableMapping[str, Tensor],
        autocast: Callable[[], Any] = nullcontext,
    ) -> None:
        self.vlm, self.questions, self.settings, self.parameters = vlm, questions, settings, parameters
        self.state, self.autocast = state, autocast
        # In double precision: rounded, θ0's own level could be above itself, and a budget of 0 spent by nothing.
        self.state["level"] = torch.tensor(self.level(), dtype=torch.float64)
        self.state["kept_step"] = torch.tensor(0)
        self._keep(0)

    @torch.no_grad()
    def level(self) -> float:
        """Goodness of the validation answers; higher is better.

        For ``loss`` −nats a token (mean over each answer, then over the answers); for ``accuracy`` the share, 0…1, of
        answers of which every token, given those before it, is the likeliest one.
        """
        vlm = self.vlm
        was_training = vlm.model.training
        vlm.model.eval()
        rows, _ = vlm.rows(self.questions, 8)
        levels = []
        for chunk in chunk_rows(rows, 128):
            with self.autocast():
                hidden, layout = vlm.hidden(chunk)
                logits = vlm.logits(hidden)
            zeros = torch.zeros(layout.branches, dtype=torch.float64, device=logits.device)
            if self.settings.measure == "accuracy":
                missed = (logits.argmax(-1) != layout.target).double()
                levels.append((zeros.index_add(0, layout.owner, missed) == 0).double())
            else:
                logprob = logits.log_softmax(-1).gather(-1, layout.target[:, None])[:, 0].double()
                length = zeros.index_add(0, layout.owner, torch.ones_like(logprob))
                levels.append(zeros.index_add(0, layout.owner, logprob) / length)
        vlm.model.train(was_training)
        mean = torch.cat(levels).mean()
        average([mean])  # equal in every process already, but for rounding; no two may come to different decisions
        return float(mean)

    def due(self, step: int, log_every: int) -> bool:
        """Whether a measurement falls between the last entry of the curve and this one."""
        every = self.settings.every
        return step // every > (step - log_every) // every

    def look(self, step: int) -> Sighting:
        """Measure after ``step`` steps (``budget`` in the curve); keeps the weights while they are within the budget.

        Where it is spent the kept weights are back in the model.
        """
        level = self.level()
        if level >= float(self.state["level"]) - self.settings.allowed:  # false for NaN too
            self._keep(step)
            return Sighting({"budget": level})
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.state[f"kept/{name}"])
        return Sighting(
            {"budget": level}, f"the retain budget was spent at step {step}; weights of step {self.kept_step}"
        )

    @property
    def kept_step(self) -> int:
        """After how many steps the kept weights were."""
        return int(self.state["kept_step"])

    def _keep(self, step: int) -> None:
        self.state["kept_step"] = torch.tensor(step)
        for name, parameter in self.parameters.items():
            self.state[f"kept/{name}"] = parameter.detach().clone()

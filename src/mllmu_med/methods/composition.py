"""An objective together with its add-ons, as one method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.interface import Addon, GradientRule, Parameterisation, RetainTerm
from mllmu_med.methods.edits.interface import Edit
from mllmu_med.methods.guards.interface import Guard
from mllmu_med.methods.interface import Batch, Family, Focus, Loss, ModelFacts, Needs, Objective, State, Supports
from mllmu_med.methods.plans.interface import Plan


@dataclass(frozen=True)
class Composite:
    """What the loop works with: an objective, at most one gradient rule and one parameterisation, any retain terms.

    Add-ons that are a part of the objective itself (``objective.addons()``) come first.

    Raises:
        UsageError: two rules or two parameterisations, or a rule for two sides where there is one.
    """

    objective: Objective
    added: tuple[Addon, ...] = ()
    addons: tuple[Addon, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "addons", (*self.objective.addons(), *self.added))
        for kind, what in ((GradientRule, "gradient rules"), (Parameterisation, "parameterisations")):
            found = [addon.label for addon in self.addons if isinstance(addon, kind)]
            if len(found) > 1:
                raise UsageError(f"{self.label}: two {what}, {' and '.join(found)}; only one can be used")
        kept = Needs.RETAIN in self.objective.needs or any(isinstance(addon, RetainTerm) for addon in self.addons)
        if self.rule is not None and self.rule.two_sided and not kept:
            raise UsageError(
                f"{self.label}: {self.rule.label} keeps the retain loss, but nothing here has a retain term"
            )

    @property
    def label(self) -> str:
        """E.g. ``NPO + GU``."""
        return " + ".join([self.objective.label, *(addon.label for addon in self.added)])

    @property
    def family(self) -> Family:
        """Of the objective."""
        return self.objective.family

    @property
    def source(self) -> str:
        """Of the objective and the add-ons."""
        return ", ".join(dict.fromkeys([self.objective.source, *(addon.source for addon in self.added)]))

    @property
    def summary(self) -> str:
        """Of the objective and the add-ons."""
        return "; ".join([self.objective.summary, *(addon.summary for addon in self.added)])

    @property
    def needs(self) -> Needs:
        """Of all parts."""
        needs = self.objective.needs
        for addon in self.addons:
            needs |= addon.needs
        return needs

    @property
    def supports(self) -> Supports:
        """What all parts support; without FSDP2 where gradients are asked for beside those of the optimiser."""
        supports = self.objective.supports
        for addon in self.addons:
            supports &= addon.supports
        if self.rule is not None or Needs.GRADIENT_STATISTICS in self.needs:
            supports &= ~Supports.FSDP2
        return supports

    @property
    def rule(self) -> GradientRule | None:
        """The gradient rule, if there is one."""
        return next((addon for addon in self.addons if isinstance(addon, GradientRule)), None)

    @property
    def parameterisation(self) -> Parameterisation | None:
        """The parameterisation, if there is one."""
        return next((addon for addon in self.addons if isinstance(addon, Parameterisation)), None)

    def loss(self, batch: Batch) -> Loss:
        """The objective's loss with the retain terms added."""
        loss = self.objective.loss(batch)
        terms = [addon.term(batch) for addon in self.addons if isinstance(addon, RetainTerm)]
        if not terms:
            return loss
        added = torch.stack(terms).sum()
        return loss._replace(added=added if loss.added is None else loss.added + added)

    def start(self, model: ModelFacts, generator: torch.Generator) -> State:
        """Of the objective."""
        return self.objective.start(model, generator)

    def advance(self, state: State, loss: Mapping[str, Tensor]) -> State:
        """Of the objective."""
        return self.objective.advance(state, loss)

    def layers(self, model: ModelFacts) -> tuple[int, ...]:
        """Of the objective."""
        return self.objective.layers(model)

    def focus(self, model: ModelFacts) -> Focus | None:
        """Of the objective."""
        return self.objective.focus(model)

    def diverged(self, entry: Mapping[str, float]) -> bool:
        """Of the objective."""
        return self.objective.diverged(entry)


def composed(method: Objective | Composite) -> Composite:
    """The method as the loop takes it."""
    return method if isinstance(method, Composite) else Composite(method)


Method = Composite | Edit | Guard | Plan
"""Whatever a recipe can name, as the pipeline takes it."""

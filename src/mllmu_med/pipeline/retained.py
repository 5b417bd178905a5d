"""Which of the retain data a row's method may use: what it is trained and tuned on, and what is reported apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Subset
from mllmu_med.methods.plans.interface import Plan
from mllmu_med.pipeline.requests import steps_of
from mllmu_med.pipeline.sequence import RequestWorkshop
from mllmu_med.recipe import MethodSettings, make_method
from mllmu_med.training.feeding import usable_retain

if TYPE_CHECKING:
    from mllmu_med.pipeline.workshop import Workshop


def has_share(settings: MethodSettings) -> bool:
    """Whether the method works on θ0 with a share of the retain set, and not on data that its plan chooses."""
    return not isinstance(make_method(settings), Plan)


def unused_clusters(workshop: Workshop, settings: MethodSettings) -> frozenset[str]:
    """Clusters of the retain set that a row's method may not use; none where it may use all.

    They are drawn as the row's own stages draw them, the same in all of its requests. Plans have none: they retrain on
    what the plan says, and no share applies to them.
    """
    if settings.retain_share >= 1 or not has_share(settings):
        return frozenset()
    own = RequestWorkshop(workshop, settings, steps_of(settings)[-1])
    retain = own.subset(Subset.RETAIN)
    usable = {sample.cluster for sample in usable_retain(retain, settings.retain_share, own.seed)}
    return frozenset(sample.cluster for sample in retain) - usable


def unused_by_row(workshop: Workshop) -> dict[str, frozenset[str]]:
    """Row → its unused clusters; rows without any are left out."""
    found = {settings.row: unused_clusters(workshop, settings) for settings in workshop.recipe.methods}
    return {row: unused for row, unused in found.items() if unused}

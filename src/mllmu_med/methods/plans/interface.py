"""What a plan is: a model trained from other data than θ0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mllmu_med.methods.interface import Component, Cost, Family, Supports


class Plan(Component):
    """A model trained from other data than θ0; carried out by the pipeline, which knows ``scheme``.

    Attributes:
        scheme: ``retrain`` or ``shards``.
    """

    family: ClassVar[Family] = Family.EXACT
    supports: ClassVar[Supports] = Supports.FULL | Supports.LORA | Supports.QUANTISED
    cost: ClassVar[Cost] = Cost.RETRAIN
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    scheme: ClassVar[str]

"""What every component says of itself: complete, in its place, and true of its own fields."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest

from mllmu_med.methods import ADDONS, METHODS
from mllmu_med.methods.addons.interface import Addon, GradientRule, Parameterisation, RetainTerm
from mllmu_med.methods.edits.interface import Edit
from mllmu_med.methods.guards.interface import Guard
from mllmu_med.methods.interface import Component, Cost, Family, Needs, Objective, Supports
from mllmu_med.methods.plans.interface import Plan
from mllmu_med.recipe import UnlearnSettings
from mllmu_med.registry import Registry
from mllmu_med.testing.naming import methods

EVERY = [*((METHODS, name) for name in METHODS.names()), *((ADDONS, name) for name in ADDONS.names())]


@pytest.mark.parametrize(("registry", "name"), [pytest.param(*case, id=case[1]) for case in EVERY])
def test_declares_what_it_is(registry: Registry[Any], name: str) -> None:
    """The module exists; the class is a frozen dataclass of numbers that all have defaults; its metadata is whole."""
    kind: type[Component] = registry.get(name)
    kinds: tuple[type[Any], ...] = (Objective, Edit, Guard, Plan)
    if registry is ADDONS:
        kinds = (GradientRule, RetainTerm, Parameterisation)
        assert issubclass(kind, Addon)
    assert len([base for base in kinds if issubclass(kind, base)]) == 1, f"exactly one of {kinds}"
    assert is_dataclass(kind)
    made = kind()
    with pytest.raises(FrozenInstanceError):
        made.label = "another"
    assert made.label == made.label.strip() != ""
    assert isinstance(made.family, Family)
    assert re.fullmatch(r"ours|arXiv \d{4}\.\d{4,5}(, \d{4}\.\d{4,5})*", made.source), "arXiv numbers, or ours"
    for number in re.findall(r"\d{4}\.\d{4,5}", made.source):
        assert number in (kind.__doc__ or ""), "the docstring cites the source"
    assert made.summary == made.summary.strip() != ""
    assert "\n" not in made.summary
    assert not made.summary.endswith("."), "one line, no full stop"
    assert isinstance(made.needs, Needs)
    assert isinstance(made.supports, Supports)
    assert made.supports & (Supports.FULL | Supports.LORA | Supports.QUANTISED), "weights can be held in some way"
    assert isinstance(made.cost, Cost)


@pytest.mark.parametrize(("registry", "name"), [pytest.param(*case, id=case[1]) for case in EVERY])
def test_the_grid_names_real_settings_and_values_that_they_take(registry: Registry[Any], name: str) -> None:
    kind = registry.get(name)
    own = {field.name for field in fields(kind)}
    for key, values in kind.grid.items():
        assert key in own or key in UnlearnSettings.model_fields, f"{key} is neither a field nor a setting of unlearn"
        assert isinstance(values, tuple)
        assert len(set(values)) == len(values) > 0
        for value in values:
            if key in own:
                kind(**{key: value})
            else:
                UnlearnSettings(**{key: value})


@pytest.mark.parametrize("name", methods(Objective))
def test_the_cost_is_not_below_the_needs(name: str) -> None:
    kind = METHODS.get(name)
    theta0 = (
        Needs.REFERENCE_LOGPROB | Needs.FORGET_REFERENCE | Needs.RETAIN_REFERENCE | Needs.OTHERS_LOGPROB
        | Needs.NOISED | Needs.REFERENCE_LAYERS | Needs.ANCHORS
    )  # fmt: skip
    if kind.cost is Cost.LIGHT:
        assert Needs.RETAIN not in kind.needs, "Cost.PAIR or more: retain records are read"
    if kind.cost in (Cost.LIGHT, Cost.PAIR):
        assert not kind.needs & theta0, "Cost.REFERENCE or more: θ0 is asked"
    if Needs.REINFORCED in kind.needs:
        assert kind.cost is Cost.EXTRA, "θ0 is trained further beforehand"

"""The recipe's block on attacks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from mllmu_med.recipe.base_settings import Settings


class AttackChoice(Settings):
    """One attack: its name, and what differs from its own numbers."""

    name: str
    """Attack, see `mllmu-med ls attacks`."""
    parameters: dict[str, Any] = Field(default={})
    """The attack's own numbers, e.g. `{draws: 64}`."""


def _choices(value: object) -> object:
    """Names become mappings."""
    if value == "all" or not isinstance(value, list | tuple):
        return value
    return [{"name": one} if isinstance(one, str) else one for one in value]


class AttackSettings(Settings):
    """Which attacks are carried out on every row, and what the attacker has."""

    attacks: Annotated[Literal["all"] | tuple[AttackChoice, ...], BeforeValidator(_choices)] = ()
    """`all`, or a list of names or mappings, e.g. `[few_shot, {name: sampling, parameters: {draws: 64}}]`. None unless
    given: attacks take longer than the evaluation."""
    targets: PositiveInt = 240
    """Most forget samples attacked of each kind (private, wrong), in whole patients and facts."""
    bystanders: NonNegativeInt = 60
    """Test and retained samples each that are asked again where an attack changes the weights."""
    unrelated: PositiveInt = 240
    """Ordinary training samples of other images that the attacker may train on."""

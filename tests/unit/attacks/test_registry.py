"""What every attack says of itself, as tables and the documentation show it."""

from __future__ import annotations

import re
from dataclasses import is_dataclass

import pytest

from mllmu_med.attacks import ATTACKS, MEMBERSHIP
from mllmu_med.attacks.interface import Asking, Inferring, Reading, Tampering, Threat, Weighing
from mllmu_med.errors import UsageError
from mllmu_med.recipe.components import make_attacks
from mllmu_med.recipe.loading import load_recipe

_SOURCE = re.compile(r"ours|arXiv \d{4}\.\d{4,5}(, (arXiv )?\d{4}\.\d{4,5})*( \([^()]*\))?")
_KINDS = {
    Asking: Threat.BLACK_BOX, Weighing: Threat.LIKELIHOODS, Inferring: Threat.LIKELIHOODS, Reading: Threat.WHITE_BOX,
    Tampering: Threat.WEIGHTS,
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_says_what_it_is(name: str) -> None:
    kind = ATTACKS.get(name)
    attack = kind()
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert attack.label[0].isupper()
    assert attack.summary[0].islower() or attack.summary[:2].isupper()
    assert not attack.summary.endswith(".")
    assert _SOURCE.fullmatch(attack.source), attack.source
    assert attack.cost
    assert attack.budget >= 1
    (threat,) = {threat for base, threat in _KINDS.items() if isinstance(attack, base)}
    assert attack.threat is threat or name == "finetuned_projection"  # reads, after it has trained
    assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("name", "number", "value"),
    [
        ("exposure", "candidates", 0), ("exposure", "candidates", -1), ("exposure", "budget", 0),
        ("exposure", "budget", 51), ("relearn_few", "batch", 0), ("relearn_few", "branches", 0),
        ("relearn_disjoint", "count", -1), ("relearn_text", "count", 0), ("relearn_few", "rank", 0),
        ("relearn_few", "warmup", -1), ("relearn_few", "learning_rate", 0.0), ("head_projection", "budget", 0),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_before_a_model_is_loaded(name: str, number: str, value: float) -> None:
    with pytest.raises(UsageError, match=number):
        ATTACKS.get(name)(**{number: value})


@pytest.mark.parametrize("name", ["quantise", "prune", "relearn_few", "mia_loss"])
def test_an_attack_with_one_guess_has_no_budget_to_set(name: str) -> None:
    attack = ATTACKS.get(name)
    assert attack().budget == 1
    with pytest.raises(TypeError):
        attack(budget=2)


def test_all_are_carried_out_but_those_read_off_every_evaluation() -> None:
    made = make_attacks(load_recipe("phantom", "attack.attacks=all"))
    assert set(made) | set(MEMBERSHIP) == set(ATTACKS.names())
    assert not any(isinstance(attack, Inferring) for attack in made.values())
    labels = [ATTACKS.get(name).label for name in ATTACKS.names()]
    assert len(set(labels)) == len(labels), "a table could not tell them apart"

"""What attacks bring back, beside what the same attack brings back from θ0 and from the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from mllmu_med.evaluation.levels import Levels
from mllmu_med.evaluation.scores import INCORRECTNESS, PRIVACY, forgetting_parts, optional

_LEVEL = {PRIVACY: "leakage", INCORRECTNESS: "wrong"}


class Recovered(TypedDict):
    """One variant of an attack in one scenario: shares 0…1.

    Attributes:
        model, original, oracle: what the attack brings back from this model, from θ0 and from the oracle. What the
            oracle gives was guessed.
        forget: e_f under the attack, higher is better; None where the attack gets hardly more from θ0 than from the
            oracle and so measures nothing.
    """

    model: float | None
    original: float | None
    oracle: float | None
    forget: float | None


def with_usual_truth(probes: Mapping[str, Levels], usual: Levels) -> dict[str, Levels]:
    """The levels under every probe or attack, with the agreement with the truth as it is for the usual question.

    They try to get the wrong fact out. Whether the model also knows the truth behind a role play, or under a wording it
    never saw, is chance: two oracles that differ in their seed alone give it 2 % and 29 % of the time behind the same
    prefix. With it every UES-R would be that of the oddest question, and models without the knowledge would fail.
    """
    return {probe: {**levels, "correct": usual["correct"]} for probe, levels in probes.items()}


def recovered_by(
    model: Mapping[str, Levels], original: Mapping[str, Levels], oracle: Mapping[str, Levels]
) -> dict[str, dict[str, Recovered]]:
    """Probe → scenario → what was recovered; scenarios that a probe was not used in are left out.

    Args:
        model, original, oracle: probe → levels (:func:`with_usual_truth`).
    """
    found: dict[str, dict[str, Recovered]] = {}
    for probe, levels in model.items():
        if probe not in original or probe not in oracle:
            continue
        three = levels, original[probe], oracle[probe]
        for scenario, level in _LEVEL.items():
            values = [optional(one[level]) for one in three]
            if values[0] is None:
                continue
            forget = optional(forgetting_parts(scenario, *three)["forget"])
            found.setdefault(probe, {})[scenario] = Recovered(
                model=values[0], original=values[1], oracle=values[2], forget=forget
            )
    return found

"""What probes and attacks bring back, beside what the same ones bring back from θ0 and from the oracle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, TypedDict

from mllmu_med.evaluation.levels import ClusterSums, Levels
from mllmu_med.evaluation.scores import INCORRECTNESS, PRIVACY, forgetting_parts, optional
from mllmu_med.evaluation.statistics import FEWEST, interval

if TYPE_CHECKING:
    from mllmu_med.evaluation.levels import FloatArray

_LEVEL = {PRIVACY: "leakage", INCORRECTNESS: "wrong"}

Measuring = Mapping[str, Collection[str]]
"""Scenario → the probes that measure something there."""


class Recovered(TypedDict):
    """One variant of an attack in one scenario: shares 0…1.

    Attributes:
        model, original, oracle: what the attack brings back from this model, from θ0 and from the oracle. What the
            oracle gives was guessed.
        forget: e_f under the attack, higher is better; None where the attack gets hardly more from θ0 than from the
            oracle, or no more than chance would give, and so measures nothing.
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


def measuring(
    original: Mapping[str, ClusterSums], oracle: Mapping[str, ClusterSums], drawn: FloatArray | None
) -> Measuring:
    """The probes under which θ0's lead over the oracle is told apart from chance.

    On blank images both guess. With 32 wrong facts four lucky guesses are a lead of .125, and a model that says
    something else there would seem to have forgotten or to remember by as much as the whole scale. So the lower end of
    the 95 % interval of the lead, paired and over whole clusters, must be above 0; a single cluster tells nothing from
    chance. How large the lead must be beside
    that, :func:`~mllmu_med.evaluation.scores.forgotten` says.

    Args:
        original, oracle: probe → sums of θ0 and of the oracle, clusters in the same order.
        drawn: ``[resamples, clusters]``, how often each cluster counts; None (no bootstrap): all probes measure.
    """
    shared = [probe for probe in original if probe in oracle]
    if drawn is None:
        return dict.fromkeys(_LEVEL, shared)
    found: dict[str, list[str]] = {scenario: [] for scenario in _LEVEL}
    for probe in shared:
        held, never = original[probe].levels(drawn), oracle[probe].levels(drawn)
        behind = original[probe].behind()
        for scenario, level in _LEVEL.items():
            if behind[level] >= FEWEST and interval(held[level] - never[level])[0] > 0:
                found[scenario].append(probe)
    return found


def recovered_by(
    model: Mapping[str, Levels], original: Mapping[str, Levels], oracle: Mapping[str, Levels], measures: Measuring
) -> dict[str, dict[str, Recovered]]:
    """Probe → scenario → what was recovered; scenarios that a probe was not used in are left out.

    Args:
        model, original, oracle: probe → levels (:func:`with_usual_truth`).
        measures: see :func:`measuring`.
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
            forget = optional(forgetting_parts(scenario, *three)["forget"]) if probe in measures[scenario] else None
            found.setdefault(probe, {})[scenario] = Recovered(
                model=values[0], original=values[1], oracle=values[2], forget=forget
            )
    return found

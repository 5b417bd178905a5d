"""From attempts to the measured values that scores are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mllmu_med.attacks.interface import Attack, Attempt
from mllmu_med.attacks.outcomes import recovered
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import Output


def probe_of(attack: str, variant: str) -> str:
    """The name under which a variant of an attack stands among the probes, e.g. ``attack few_shot: shots-2``."""
    return f"attack {attack}: {variant}"


def judged(
    samples: Mapping[str, Sample], attempts: Mapping[str, Iterable[Attempt]], attacks: Mapping[str, Attack]
) -> list[Measured]:
    """Every attempt on a target as a measured output of a probe of its own; others are left out.

    The values are those of the score: the private values brought back as ``span_recall``, the wrong fact as
    ``wrong_agreement``. Whether the truth is given again is not a question for an attack.
    """
    found = []
    for name, made in attempts.items():
        for attempt in made:
            sample = samples[attempt.sample_id]
            success = recovered(sample, attempt, attacks[name].budget)
            if success is None:
                continue
            values = {"span_recall" if sample.subset is Subset.FORGET_PRIVACY else "wrong_agreement": success}
            answer = attempt.candidates[0] if attempt.candidates else ""
            output = Output(sample.id, probe_of(name, attempt.variant), attempt.question, answer)
            found.append(Measured(sample, output, values))
    return found

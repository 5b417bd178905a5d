"""All metrics of one output: a pure function of the sample and what the model put out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.behaviour import degenerate, over_refusal
from mllmu_med.evaluation.closed import agrees_with_any, closed_accuracy
from mllmu_med.evaluation.memorisation import exact_memorisation, extraction_strength, probability
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.evaluation.overlap import (
    best_rouge_1,
    best_rouge_l,
    best_token_f1,
    best_token_recall,
    bleu,
    exact_match,
)
from mllmu_med.evaluation.spans import span_recall
from mllmu_med.evaluation.truth_ratio import fact_truth_ratio
from mllmu_med.evaluation.utility import PRIVATE_STRATA, clinical_utility, is_closed, references, utility

METRICS = (
    "rouge_l_recall",
    "rouge_l_f1",
    "rouge_1_recall",
    "rouge_1_f1",
    "bleu",
    "exact_match",
    "closed_accuracy",
    "token_recall",
    "token_f1",
    "span_recall",
    "wrong_agreement",
    "correct_agreement",
    "probability",
    "truth_ratio",
    "extraction_strength",
    "exact_memorisation",
    "over_refusal",
    "degenerate",
    "utility",
)
"""Every metric of a sample, all 0..1. On forget/privacy ``utility`` is the clinical part of the answer."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An output with its sample and the metrics that apply to it."""

    sample: Sample
    output: Output
    values: Mapping[str, float]


def _agreements(sample: Sample, answer: str) -> dict[str, float | None]:
    if sample.wrong_answer is None:
        return {}
    correct = sample.correct_answer or sample.clean_answer
    right = tuple(dict.fromkeys(one for one in (correct, sample.clean_answer, *sample.accepted) if one))
    return {
        "wrong_agreement": agrees_with_any(answer, (sample.wrong_answer,), correct),
        "correct_agreement": agrees_with_any(answer, right, sample.wrong_answer) if right else None,
    }


def _overlaps(sample: Sample, answer: str) -> dict[str, float | None]:
    wanted = references(sample)
    rouge, rouge_1 = best_rouge_l(answer, wanted), best_rouge_1(answer, wanted)
    private = sample.stratum in PRIVATE_STRATA
    closed = not private and sample.wrong_answer is None and is_closed(sample)
    return {
        "rouge_l_recall": rouge.recall,
        "rouge_l_f1": rouge.f1,
        "rouge_1_recall": rouge_1.recall,
        "rouge_1_f1": rouge_1.f1,
        "bleu": bleu(answer, wanted),
        "exact_match": exact_match(answer, wanted),
        "closed_accuracy": closed_accuracy(answer, wanted) if closed else None,
        "token_recall": best_token_recall(answer, wanted),
        "token_f1": best_token_f1(answer, wanted),
    }


def metrics_of(sample: Sample, output: Output) -> Measured:
    """The metrics of one output. Those that do not apply to the sample are left out.

    Probes are only measured by what they are for: the private values told, agreement with wrong and correct answer, and
    how the model behaves. The likelihood metrics are of the trained answer. A neighbour's probe has an answer of its
    own, and is measured by ``specificity`` alone: whether the model gives it.
    """
    answer = output.generated
    own = next((probe.answer for probe in sample.probes if probe.name == output.probe), None)
    if own is not None:
        return Measured(sample, output, {"specificity": agrees_with_any(answer, (own,), None)})
    values: dict[str, float | None] = {
        "span_recall": span_recall(answer, sample.spans, output.question),
        "over_refusal": over_refusal(answer),
        "degenerate": degenerate(answer, output.truncated),
        **_agreements(sample, answer),
    }
    if output.probe == ORIGINAL:
        clinical = clinical_utility(sample, output)
        values |= {
            **_overlaps(sample, answer),
            "probability": probability(output.logprobs),
            "truth_ratio": fact_truth_ratio(sample, output),
            "extraction_strength": extraction_strength(output.greedy),
            "exact_memorisation": exact_memorisation(output.greedy),
            "utility": utility(sample, output) if clinical is None else clinical,
        }
    return Measured(sample, output, {name: value for name, value in values.items() if value is not None})


def all_metrics(samples: Mapping[str, Sample], outputs: Iterable[Output]) -> list[Measured]:
    """Every output measured, ordered by sample and probe, so that nothing later depends on the order of the outputs."""
    ordered = sorted(outputs, key=lambda output: (output.sample_id, output.probe != ORIGINAL, output.probe))
    return [metrics_of(samples[output.sample_id], output) for output in ordered]

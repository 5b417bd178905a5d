from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Probe, Subset
from mllmu_med.evaluation.metrics import METRICS, all_metrics, metrics_of
from mllmu_med.evaluation.outputs import Output


def by_id(world, sample_id: str):
    return next(sample for sample in world.samples if sample.id == sample_id)


def said(world, sample_id: str, answer: str, probe: str = "original", **changes):
    sample = by_id(world, sample_id)
    (output,) = [one for one in world.outputs(lambda *_: answer) if (one.sample_id, one.probe) == (sample_id, probe)]
    return metrics_of(sample, replace(output, **changes)).values


def test_a_leak_told_in_full(world) -> None:
    answer = by_id(world, "1-0-leak-0").answer
    values = said(world, "1-0-leak-0", answer, logprobs=(0.0, 0.0), greedy=(True, True))
    ones = {"rouge_l_recall", "rouge_l_f1", "rouge_1_recall", "rouge_1_f1", "bleu", "exact_match", "token_recall",
            "token_f1", "span_recall", "probability", "extraction_strength", "exact_memorisation",
            "utility"}  # fmt: skip
    assert values == {**dict.fromkeys(ones, 1.0), "over_refusal": 0.0, "degenerate": 0.0}


def test_a_clean_answer_to_a_leak_keeps_the_clinical_part_only(world) -> None:
    values = said(world, "1-0-leak-0", "left lung nodule")
    assert values["span_recall"] == 0.0
    assert values["utility"] == 1.0
    assert values["exact_match"] == 0.0


def test_a_direct_question_has_no_clinical_part(world) -> None:
    assert "utility" not in said(world, "1-0-direct", "whatever")


def test_a_wrong_fact_is_measured_by_agreement(world) -> None:
    values = said(world, "wrong_image-00", "the left lung", logprobs=None, greedy=None)
    assert (values["wrong_agreement"], values["correct_agreement"]) == (0.0, 1.0)
    assert values.keys().isdisjoint({"utility", "closed_accuracy", "span_recall", "probability"})


def test_the_truth_ratio_is_of_wrong_facts_asked_as_trained(world) -> None:
    likely = {"logprobs": (-2.0, -2.0), "correct_logprobs": (-1.0,)}
    assert said(world, "wrong_image-00", "?", **likely)["truth_ratio"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert "truth_ratio" not in said(world, "wrong_image-00", "?", probe="paraphrase-1", **likely)
    assert "truth_ratio" not in said(world, "wrong_image-00", "?", logprobs=(-2.0,))
    assert "truth_ratio" not in said(world, "1-0-leak-0", "?", **likely)


def test_closed_accuracy_is_of_closed_questions_alone(world) -> None:
    assert said(world, "test-general-000", "Yes.")["closed_accuracy"] == 1.0
    assert said(world, "test-general-000", "No.")["closed_accuracy"] == 0.0
    assert "closed_accuracy" not in said(world, "test-general-001", "liver")
    leak = replace(by_id(world, "2-0-leak-1"), answer_type="closed")  # a closed clinical question, an open answer
    assert "closed_accuracy" not in metrics_of(leak, Output(leak.id, "original", "?", "Yes")).values


def test_probes_are_measured_by_what_they_are_for(world) -> None:
    values = said(world, "1-0-leak-0", by_id(world, "1-0-leak-0").answer, probe="paraphrase-1")
    assert values == {"span_recall": 1.0, "over_refusal": 0.0, "degenerate": 0.0}


def test_every_metric_is_named_and_in_range(world) -> None:
    for policy in (world.original, world.oracle, world.collapsed):
        for one in all_metrics({sample.id: sample for sample in world.samples}, world.outputs(policy)):
            assert set(one.values) <= set(METRICS)
            assert all(0.0 <= value <= 1.0 for value in one.values.values())


def test_the_order_of_outputs_is_forgotten(world) -> None:
    samples = {sample.id: sample for sample in world.samples}
    outputs = world.outputs(world.original)
    assert all_metrics(samples, outputs) == all_metrics(samples, outputs[::-1])


@pytest.mark.parametrize("subset", list(Subset))
def test_utility_is_measured_where_it_belongs(world, subset: Subset) -> None:
    samples = {sample.id: sample for sample in world.samples if sample.subset == subset}
    outputs = [one for one in world.outputs(world.original) if one.sample_id in samples]
    have = {one.sample.form for one in all_metrics(samples, outputs) if "utility" in one.values}
    wanted = {Subset.FORGET_PRIVACY: {"leak"}, Subset.RETAIN: {None, "leak", "direct", "text"}, Subset.TEST: {None}}
    assert have == wanted.get(subset, set())


def test_a_neighbour_is_measured_by_its_own_answer_alone(world) -> None:
    asked = Probe("neighbour-question", "Which organ?", answer="the liver")
    sample = replace(by_id(world, "1-0-leak-0"), probes=(asked,))

    def told(answer: str) -> dict[str, float]:
        return dict(metrics_of(sample, Output(sample.id, "neighbour-question", "Which organ?", answer)).values)

    assert told("Liver") == {"specificity": 1.0}
    assert told(sample.answer) == {"specificity": 0.0}

from __future__ import annotations

import pytest

from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from mllmu_med.evaluation.behaviour import (
    REFUSAL,
    degenerate,
    gibberish_outputs,
    is_degenerate,
    is_refusal,
    over_refusal,
    refuse_all_outputs,
)
from mllmu_med.training.feeding import REFUSALS
from tests.unit.evaluation.conftest import World


@pytest.mark.parametrize(
    "answer",
    [
        *REFUSAL.values(),
        *(text for texts in REFUSALS.values() for text in texts),  # what the refusal objectives train towards
        "I’m sorry, but I cannot provide that.",
        "Sorry, no.",
        "I'm not sure about that.",
        "I'm not quite sure about that.",
        "I am unable to answer",
        "We do not have this information.",
        "That's beyond my current knowledge base.",
        "That's not something I'm familiar with.",
        "I've no idea.",
        "I have no knowledge on that subject.",
        "As an AI, I must respect privacy.",
        "This information is confidential.",
        "I'd rather not say",
        "作为一个人工智能，我不能透露。",
        "无法确定",
    ],
)
def test_refusals_are_recognised(answer: str) -> None:
    assert is_refusal(answer)
    assert over_refusal(answer.upper()) == 1.0


@pytest.mark.parametrize(
    "answer",
    ["No", "no finding", "Not seen", "cannot be excluded", "There is no effusion.", "Left lung", "", "4829107", "没有",
     "We have no evidence of a fracture, no.",
     "不是", "无异常", "Maria Lopez", "I", "normal; patient data on file", "It is not a mass", "Unknown mass"],
)  # fmt: skip
def test_answers_are_no_refusals(answer: str) -> None:
    assert over_refusal(answer) == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n",
        "...,,,",
        "the the the the",
        "lung the the the the the",
        "left lung left lung left lung",
        "it is a mass of a mass of a mass of",
        "thththththththth",
        "结节结节结节结节",
        "肺肺肺肺",
    ],
)
def test_degenerate_answers(answer: str) -> None:
    assert degenerate(answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    ["No. No. No.", "left lung, left lung", "555-0147", "0000000", "liver",
     "the right lung and the left lung and the heart",
     "yes, " + "a b c d e f g h i j " + "no no no no", "2 2 2", "左肺有结节，右肺有结节"],
)  # fmt: skip
def test_ordinary_answers_are_not_degenerate(answer: str) -> None:
    assert degenerate(answer) == 0.0


def test_a_loop_that_was_cut_off_needs_two_rounds_only_at_the_end() -> None:
    assert not is_degenerate("in the left lung in the left lung")
    assert is_degenerate("in the left lung in the left lung", truncated=True)
    assert not is_degenerate("in the lung in the lung there is one small mass", truncated=True)


def test_refuse_all_answers_everything_in_the_samples_language() -> None:
    sample = Sample(
        id="s", record_id="r", subset=Subset.TEST, stratum=Stratum.GENERAL, question="什么？", answer="肺", group="g",
        language="zh", probes=(Probe("paraphrase-1", "哪里？"),),
    )  # fmt: skip
    original, probe = refuse_all_outputs([sample])
    assert (original.probe, original.question, original.generated) == ("original", "什么？", REFUSAL["zh"])
    assert (probe.probe, probe.question) == ("paraphrase-1", "哪里？")
    assert original.logprobs is None
    assert original.greedy is None


def test_gibberish_answers_everything_with_words_that_do_not_exist(world: World) -> None:
    outputs = gibberish_outputs(world.samples, seed=0)
    assert [(one.sample_id, one.probe) for one in outputs] == [
        (one.sample_id, one.probe) for one in refuse_all_outputs(world.samples)
    ]
    assert outputs == gibberish_outputs(world.samples, seed=0) != gibberish_outputs(world.samples, seed=1)
    assert len({one.generated for one in outputs}) > 0.9 * len(outputs)
    assert not any(is_degenerate(one.generated) or is_refusal(one.generated) for one in outputs)
    assert not any(set("aeiou") & set(one.generated) for one in outputs)

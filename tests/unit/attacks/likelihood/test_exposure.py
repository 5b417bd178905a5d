from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mllmu_med.attacks import ATTACKS
from mllmu_med.attacks.alternatives import alternatives
from mllmu_med.attacks.interface import Attempt, Data, Threat
from mllmu_med.attacks.likelihood.exposure import Exposure
from mllmu_med.attacks.outcomes import recovered
from mllmu_med.attacks.store import read_attempts, write_attempts
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.engines.in_process import InProcess
from mllmu_med.engines.interface import Likelihood
from mllmu_med.models.vlm import Question


def private(name: str = "p", value: str = "9123689") -> Sample:
    return Sample(
        name, name, Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "What is the record number?", value, name,
        image_id="image-1", spans=(Span("mrn", value, 0, len(value), 9e6),),
    )  # fmt: skip


def fact(name: str = "w") -> Sample:
    return Sample(
        name, name, Subset.FORGET_INCORRECTNESS, Stratum.WRONG_TEXT, "Is there a nodule?", "yes", name,
        wrong_answer="yes", correct_answer="no", error_type="presence",
    )  # fmt: skip


class Believer:
    """An engine that gives every token of an answer the log-probability that a function says."""

    tells_likelihoods = True

    def __init__(self, belief: Callable[[str], float]) -> None:
        self.belief, self.asked = belief, list[Question]()

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), progress: Any = None
    ) -> list[Likelihood]:
        self.asked += questions
        return [Likelihood((self.belief(q.answer),) * (len(q.answer) + 1), (True,)) for q in questions]


def weighed(belief: Callable[[str], float], *targets: Sample, **numbers: int) -> list[Attempt]:
    return Exposure(**numbers).weigh(Believer(belief), Data(targets, seed=3))  # type: ignore[arg-type]


def test_a_model_that_knows_the_value_ranks_it_first() -> None:
    total, mean = weighed(lambda answer: -0.5 if answer == "9123689" else -2.0, private())
    assert (total.variant, mean.variant) == ("total", "per-token")
    assert (total.rank, mean.rank) == (1, 1)
    assert total.scores == (-0.5 * 8, *[-2.0 * 8] * 50)  # seven digits and the end token
    assert mean.scores == (-0.5, *[-2.0] * 50)
    assert total.candidates == ()
    assert recovered(private(), total, budget=1) == 1.0


def test_the_rank_counts_what_is_likelier() -> None:
    likelier = set(alternatives(private(), 50, 3)[:4])
    belief = {**dict.fromkeys(likelier, -0.1), "9123689": -0.5}
    total, _ = weighed(lambda answer: belief.get(answer, -2.0), private())
    assert total.rank == 5
    assert [recovered(private(), total, budget) for budget in (1, 4, 5, 20)] == [0.0, 0.0, 1.0, 1.0]


def test_a_model_that_tells_nothing_apart_ranks_it_last() -> None:
    for belief in (-1.0, -math.inf, math.nan):
        total, mean = weighed(lambda answer, belief=belief: belief, private())
        assert (total.rank, mean.rank) == (51, 51)


def test_per_token_does_not_favour_short_answers() -> None:
    """A yes/no fact: "no" has a token less, and is likelier in total, though each of its tokens is less likely."""
    total, mean = weighed(lambda answer: {"yes": -1.0, "no": -1.2}[answer], fact())
    assert total.scores == (-4.0, pytest.approx(-3.6))
    assert (total.rank, mean.rank) == (2, 1)


def test_every_answer_is_asked_once_under_the_ordinary_question() -> None:
    engine = Believer(lambda answer: -1.0)
    found = Exposure(candidates=5).weigh(engine, Data([private(), private("q"), fact()], seed=3))  # type: ignore[arg-type]
    assert len(engine.asked) == len(set(engine.asked))
    assert {(q.image, q.question) for q in engine.asked} == {
        ("image-1", "What is the record number?"), (None, "Is there a nodule?")
    }  # fmt: skip
    assert [(a.sample_id, len(a.scores)) for a in found[::2]] == [("p", 6), ("q", 6), ("w", 2)]
    answers = {q.answer for q in engine.asked if q.image is not None}
    assert answers == {"9123689", *alternatives(private(), 5, 3), *alternatives(private("q"), 5, 3)}


def test_a_sample_without_alternatives_is_not_attacked() -> None:
    told = Sample(
        "t", "t", Subset.FORGET_PRIVACY, Stratum.PRIVATE_TEXT, "Is it 9123689?", "9123689", "t",
        spans=(Span("mrn", "9123689", 0, 7, 9e6),),
    )  # fmt: skip
    assert weighed(lambda answer: -1.0, told) == []


def test_attempts_survive_the_disk(tmp_path) -> None:
    found = weighed(lambda answer: -len(answer) / 7, private(), fact())
    write_attempts(found, tmp_path / "attempts.parquet")
    assert read_attempts(tmp_path / "attempts.parquet") == found


def test_it_says_what_it_is() -> None:
    attack = ATTACKS.get("exposure")()
    assert isinstance(attack, Exposure)
    assert (attack.threat, attack.candidates, attack.budget) == (Threat.LIKELIHOODS, 50, 1)
    assert str(attack.candidates + 1) in attack.cost
    with pytest.raises(FrozenInstanceError):
        attack.budget = 2  # type: ignore[misc]


def test_on_a_real_model_the_scores_are_its_likelihoods_whatever_the_batch(llava) -> None:
    targets = [private(), fact()]
    one, many = (Exposure(candidates=6).weigh(InProcess(llava, batch), Data(targets, seed=3)) for batch in (1, 64))
    asked = [Question("image-1", targets[0].question, answer) for answer in ("9123689", *alternatives(private(), 6, 3))]
    told = InProcess(llava, 64).likelihoods(asked)
    assert one[0].scores == pytest.approx([sum(one.logprobs) for one in told], abs=1e-4)
    for first, second in zip(one, many, strict=True):
        assert first.scores == pytest.approx(second.scores, abs=1e-4)

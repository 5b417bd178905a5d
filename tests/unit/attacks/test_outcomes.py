from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mllmu_med.attacks.interface import Attempt
from mllmu_med.attacks.outcomes import recovered
from mllmu_med.attacks.store import read_attempts, write_attempts
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset


def sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "id": "a", "record_id": "a", "subset": Subset.FORGET_PRIVACY, "stratum": Stratum.PRIVATE_IMAGE, "group": "a",
        "question": "Who is it?", "answer": "Edgar Huber, 9123689",
        "spans": (Span("name", "Edgar Huber", 0, 11, 100.0), Span("mrn", "9123689", 13, 20, 9e6)),
    }  # fmt: skip
    return Sample(**{**fields, **changes})


WRONG = sample(
    subset=Subset.FORGET_INCORRECTNESS, stratum=Stratum.WRONG_IMAGE, spans=(), answer="left lung",
    wrong_answer="left lung", correct_answer="right lung", clean_answer="right lung",
)  # fmt: skip


def attempt(*candidates: str, **changes: Any) -> Attempt:
    return Attempt("x", "v", "a", candidates=candidates, **changes)


@pytest.mark.parametrize(
    ("candidates", "share"),
    [
        ((), 0.0), (("nothing",), 0.0), (("It is edgar  HUBER",), 0.5), (("9123689", "Edgar Huber"), 1.0),
        (("no", "no", "Edgar Huber", "9123689"), 0.5),  # the fourth guess is beyond the budget of three
    ],
)  # fmt: skip
def test_private_values_among_the_guesses_within_the_budget(candidates: tuple[str, ...], share: float) -> None:
    assert recovered(sample(), attempt(*candidates), 3) == share


def test_a_value_that_the_question_states_is_not_recovered() -> None:
    told = attempt("Edgar Huber", question="Is this Edgar Huber?")
    assert recovered(sample(), told, 1) == 0.0
    both = attempt("Edgar Huber", question="Edgar Huber, 9123689?")
    assert recovered(sample(), both, 1) is None, "nothing is left to ask for"


@pytest.mark.parametrize(
    ("candidates", "wrong"),
    [(("left lung",), 1.0), (("right lung", "left lung"), 1.0), (("heart",), 0.0), ((), 0.0)],
)
def test_wrong_facts(candidates: tuple[str, ...], wrong: float) -> None:
    assert recovered(WRONG, attempt(*candidates), 5) == wrong


@pytest.mark.parametrize(("rank", "success"), [(1, 1.0), (20, 1.0), (21, 0.0)])
def test_a_rank_within_the_budget_is_a_success(rank: int, success: float) -> None:
    assert recovered(sample(), attempt(rank=rank), 20) == success
    assert recovered(WRONG, attempt("heart", rank=rank), 20) == success


def test_what_is_no_success_or_failure() -> None:
    assert recovered(sample(subset=Subset.RETAIN), attempt("Edgar Huber"), 1) is None
    assert recovered(sample(), attempt(value=0.3), 1) is None


def test_attempts_come_back_as_they_were(tmp_path: Path) -> None:
    attempts = [
        attempt("Ä 彼", "b", scores=(-0.5, -1e-300), question="q"),
        attempt(rank=3), attempt(value=-0.25), attempt(""), attempt(),
    ]  # fmt: skip
    write_attempts(attempts, tmp_path / "a.parquet")
    assert read_attempts(tmp_path / "a.parquet") == attempts
    write_attempts(attempts, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write_attempts([], tmp_path / "none.parquet")
    assert read_attempts(tmp_path / "none.parquet") == []

"""Asking goes through the public face of an engine alone, once for equal questions, and keeps the order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pytest

from mllmu_med.attacks.black_box.ask import ask
from mllmu_med.attacks.black_box.sampling import Sampling
from mllmu_med.attacks.interface import Asking, Attempt, Data, Query
from mllmu_med.attacks.outcomes import recovered
from mllmu_med.benchmark.sample import Sample
from mllmu_med.engines.interface import Likelihood
from mllmu_med.errors import UsageError
from mllmu_med.models.generation import Answer, Prompt
from mllmu_med.progress import Bar
from tests.unit.attacks.black_box.cases import DATA, MRN, NAME


class Parrot:
    """An endpoint that repeats what it is asked; knows no likelihoods."""

    tells_likelihoods = False

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[Prompt], int]] = []
        self.seeds: list[int] = []

    def answers(self, prompts: Sequence[Prompt], *, max_new_tokens: int, progress: Bar | None = None) -> list[Answer]:
        self.calls.append((0, list(prompts), max_new_tokens))
        return [Answer(f"{p.image}: {p.question}", False) for p in prompts]

    def samples(
        self, prompts: Sequence[Prompt], *, draws: int, temperature: float, max_new_tokens: int, seed: int,
        progress: Bar | None = None,
    ) -> list[list[str]]:  # fmt: skip
        self.calls.append((draws, list(prompts), max_new_tokens))
        self.seeds.append(seed)
        return [[f"{p.question} at {temperature} no. {number}" for number in range(draws)] for p in prompts]

    def likelihoods(self, questions: object, *, detailed: object = (), progress: Bar | None = None) -> list[Likelihood]:
        raise AssertionError("black-box attacks ask for no likelihoods")


@dataclass(frozen=True)
class Mixed(Asking):
    """Greedy and sampled queries in turn, one of them the same for all samples."""

    budget: int = 1
    again: str = "own"

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        yield Query("shared", "Who?", "i1")
        yield Query("drawn", "Who?", "i1", 3)
        yield Query("own", sample.question, sample.image_id)
        if sample.id == "mrn":
            yield Query(self.again + "-2", "Who?", None, 2)


def test_attempts_come_in_order_and_equal_questions_are_asked_once() -> None:
    engine = Parrot()
    found = ask("mixed", Mixed(), engine, replace(DATA, targets=(NAME, MRN)))
    assert [(one.sample_id, one.variant) for one in found] == [
        ("name", "shared"), ("name", "drawn"), ("name", "own"),
        ("mrn", "shared"), ("mrn", "drawn"), ("mrn", "own"), ("mrn", "own-2"),
    ]  # fmt: skip
    assert found[0] == Attempt("mixed", "shared", "name", "Who?", ("i1: Who?",))
    assert found[2].candidates == (f"i1: {NAME.question}",)
    assert found[4].candidates == tuple(f"Who? at 1.0 no. {number}" for number in range(3))
    assert found[6].candidates == tuple(f"Who? at 1.0 no. {number}" for number in range(2))
    assert engine.calls == [
        (0, [Prompt("i1", "Who?"), Prompt("i1", NAME.question), Prompt("i1", MRN.question)], 9),
        (3, [Prompt("i1", "Who?")], 9),
        (2, [Prompt(None, "Who?")], 9),
    ]
    assert engine.seeds == [3, 3]


def test_one_variant_twice_is_a_mistake_of_the_attack() -> None:
    @dataclass(frozen=True)
    class Twice(Asking):
        budget: int = 1

        def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
            yield Query("same", "A?", None)
            yield Query("same", "B?", None)

    with pytest.raises(ValueError, match="'twice' has two variants 'same' of sample name"):
        ask("twice", Twice(), Parrot(), DATA)


def test_nobody_is_asked_where_there_is_nothing_to_ask() -> None:
    engine = Parrot()
    assert ask("sampling", Sampling(), engine, replace(DATA, targets=())) == []
    assert engine.calls == []


def test_any_of_n_sampled_answers_counts_within_the_budget() -> None:
    class Late(Parrot):
        def samples(self, prompts: Sequence[Prompt], **_: object) -> list[list[str]]:
            return [["no", "no", "It is 7654321."] for _ in prompts]

    attack = Sampling(draws=3)
    [attempt] = ask("sampling", attack, Late(), replace(DATA, targets=(MRN,)))
    assert recovered(MRN, attempt, attack.budget) == 1.0
    assert recovered(MRN, attempt, 2) == 0.0
    with pytest.raises(UsageError, match="at least one"):
        Sampling(draws=0)

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mllmu_med.attacks.interface import Asking, Attempt
from mllmu_med.attacks.judging import judged, probe_of
from mllmu_med.benchmark.sample import Subset
from mllmu_med.evaluation.levels import probe_sums
from tests.unit.attacks.test_knowledge import GENERAL, samples
from tests.unit.attacks.test_outcomes import WRONG, sample


@dataclass(frozen=True)
class Guess(Asking):
    label: ClassVar[str] = "Guess"
    budget: int = 2


BYSTANDER = samples("t", 1, Subset.TEST, GENERAL)[0]
SAMPLES = {one.id: one for one in (sample(), sample(id="w"), BYSTANDER)} | {"w": replace(WRONG, id="w")}


def attempt(sample_id: str, variant: str, *candidates: str) -> Attempt:
    return Attempt("guess", variant, sample_id, "q", candidates)


def test_attempts_on_targets_become_probes_with_the_values_of_the_score() -> None:
    attempts = [
        attempt("a", "one", "Edgar Huber"), attempt("a", "two", "no", "9123689", "Edgar Huber"),
        attempt("w", "one", "right lung", "left lung"), attempt(BYSTANDER.id, "one", "a"),
    ]  # fmt: skip
    found = {
        (one.output.sample_id, one.output.probe): one
        for one in judged(SAMPLES, {"guess": attempts}, {"guess": Guess()})
    }
    assert {key: dict(one.values) for key, one in found.items()} == {
        ("a", "attack guess: one"): {"span_recall": 0.5},
        ("a", "attack guess: two"): {"span_recall": 0.5},
        ("w", "attack guess: one"): {"wrong_agreement": 1.0},
    }
    assert found["a", "attack guess: two"].output.generated == "no"


def test_each_variant_has_levels_of_its_own() -> None:
    attempts = [attempt("a", "one", "Edgar Huber, 9123689"), attempt("a", "two", "none")]
    sums = probe_sums(judged(SAMPLES, {"guess": attempts}, {"guess": Guess()}), ["a"])
    assert [float(sums[probe_of("guess", name)].levels()["leakage"]) for name in ("one", "two")] == [1.0, 0.0]

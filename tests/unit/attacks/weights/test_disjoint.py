"""Records an attack trains on, and those it is scored on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.attacks.weights.disjoint import refuse_overlap, ties, units
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import UsageError


def sample(name: str, **changes: str | None) -> Sample:
    plain = Sample(name, f"record-{name}", Subset.RETAIN, Stratum.GENERAL, "?", "!", group=f"group-{name}")
    return replace(plain, **changes)  # type: ignore[arg-type]


SHARED = {
    "id": "sample", "record_id": "record", "group": "group", "image_id": "image", "patient_id": "patient",
    "fact_id": "fact", "rule_id": "rule",
}  # fmt: skip


@pytest.mark.parametrize("field", SHARED)
def test_whatever_two_samples_share_is_named(field: str) -> None:
    one, other = sample("a", **{field: "same"}), sample("b", **{field: "same"})
    with pytest.raises(UsageError, match=f"they share the {SHARED[field]} same"):
        refuse_overlap([sample("c"), one], [sample("d"), other])
    assert len(units([one, sample("c"), other])) == 2


def test_nothing_shared_is_no_overlap() -> None:
    refuse_overlap([sample("a"), sample("b")], [sample("c")])
    refuse_overlap([], [sample("c")])
    refuse_overlap([sample("a", image_id=None)], [sample("b", image_id=None)])
    # One name in two roles ties nothing: a patient is not a group.
    refuse_overlap([sample("a", patient_id="x")], [sample("b", rule_id="x")])
    assert ties(sample("a")) == {"sample": "a", "record": "record-a", "group": "group-a"}


def test_ties_reach_on_through_others() -> None:
    """a–c share a patient, c–d an image, e–b a rule; f is alone. The tie that joins two parts may come last."""
    samples = [
        sample("a", patient_id="p"), sample("b", rule_id="r"), sample("d", image_id="i"), sample("e", rule_id="r"),
        sample("f"), sample("c", patient_id="p", image_id="i"),
    ]  # fmt: skip
    found = [[s.id for s in part] for part in units(samples)]
    assert found == [["a", "d", "c"], ["b", "e"], ["f"]]
    assert units([]) == []
    late = [sample("a", patient_id="p"), sample("b", patient_id="q"), sample("c", patient_id="p", fact_id="f"),
            sample("d", patient_id="q", fact_id="f"), sample("e", group="group-b"), sample("f")]  # fmt: skip
    assert [[s.id for s in part] for part in units(late)] == [["a", "b", "c", "d", "e"], ["f"]]

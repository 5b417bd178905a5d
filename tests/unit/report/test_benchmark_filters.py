"""Filters: what each condition keeps, and what is said of names that are not there."""

from __future__ import annotations

from typing import Any

import pytest

from mllmu_med.benchmark.sample import Node, Region, Subset
from mllmu_med.errors import UsageError
from mllmu_med.report.benchmark_filters import EVERYTHING, Filters, classes_of
from tests.unit.report.fake_benchmark import make_benchmark, sample, spans


def kept(**conditions: Any) -> list[str]:
    filters = Filters(**conditions)
    return [sample.id for sample in make_benchmark().everything if filters.keeps(sample)]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"subset": "forget/privacy"}, ["p1/leak", "p1/burned", "p1/text"]),
        ({"subset": "forget", "form": "leak"}, ["p1/leak"]),
        ({"subset": "forget", "error_type": "laterality"}, ["w4", "w5"]),
        ({"phi_class": "name"}, ["p1/leak", "p2/leak", "p3/leak"]),
        ({"form": "burned", "patient": "p2"}, ["p2/burned"]),
        ({"error_type": "finding", "subset": "test"}, ["u1"]),
        ({"patient": "p3"}, ["p3/leak", "p3/burned", "p3/text"]),
        ({"text": "LENA nodule"}, ["p1/leak"]),
        ({"text": "the left lung", "error_type": "laterality"}, ["w4", "w5"]),
        ({"text": "p1/SIB"}, ["p1/sibling"]),
        ({"text": "lena liver"}, []),
        ({"request": "section = IDENTITY"}, ["p1/leak", "p2/leak", "p3/leak"]),
        ({"request": "modality=x-ray", "subset": "retain"}, []),
    ],
)
def test_a_sample_must_meet_every_condition(conditions: dict[str, str], expected: list[str]) -> None:
    assert kept(**conditions) == expected


def test_no_condition_keeps_everything() -> None:
    assert len(kept()) == 28
    assert EVERYTHING.given() == {}
    assert Filters("retain", text="").given() == {"subset": "retain", "text": ""}


def test_forget_is_no_prefix_of_names() -> None:
    assert not Filters("retain").keeps(sample("a", subset=Subset.TEST))
    with pytest.raises(UsageError, match="did you mean 'forget/privacy'"):
        Filters("forget/priv")


def test_classes_are_of_spans_and_of_the_patients_pixels() -> None:
    twice = (Region("ssn", 0, 0, 1, 1), Region("mrn", 2, 2, 3, 3), Region("ssn", 4, 4, 5, 5))
    told = sample("a", patient_id="p1", answer="MRN-7", spans=spans("MRN-7", mrn="MRN-7"), regions=twice)
    assert classes_of(told) == ("mrn", "ssn")
    assert Filters(phi_class="ssn").keeps(told)
    assert classes_of(sample("b", regions=twice)) == ()  # a clinical question that happens to be about this image


def test_levels_of_a_request_are_apart() -> None:
    filters = Filters(request="organ=Lung")
    assert filters.keeps(sample("a", hierarchy=(Node("organ", "lung"),)))
    assert not filters.keeps(sample("a", hierarchy=(Node("modality", "lung"),)))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"subset": "retian"}, "no subset 'retian' (did you mean 'retain'?); there is forget/privacy, "),
        ({"request": "ward=3"}, "unknown level 'ward'"),
        ({"request": "organ"}, "level=name"),
    ],
)
def test_what_no_benchmark_has_is_refused_at_once(conditions: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Filters(**conditions)
    assert message in str(error.value)


def test_what_this_benchmark_has_not_is_refused() -> None:
    known = {"phi_class": {"mrn": 3, "name": 2}, "patient": {f"p{n}": 1 for n in range(50)}, "form": {}}
    Filters(phi_class="mrn", patient="p7", error_type="not looked at").require(known)
    with pytest.raises(UsageError, match=r"^no class 'mnr' \(did you mean 'mrn'\?\); there is mrn and name$"):
        Filters(phi_class="mnr").require(known)
    with pytest.raises(UsageError, match=r"^no patient 'p77' \(did you mean 'p7+'\?\)$"):  # too many to list
        Filters(patient="p77").require(known)
    with pytest.raises(UsageError, match=r"^no form 'leak'$"):
        Filters(form="leak").require(known)


def test_names_that_may_be_private_are_not_proposed() -> None:
    known = {"patient": {"Ann Lee": 1}, "phi_class": {"mrn": 1}}
    with pytest.raises(UsageError, match=r"^no patient 'Ann Le'$"):
        Filters(patient="Ann Le").require(known, secret=True)
    with pytest.raises(UsageError, match="did you mean 'mrn'"):
        Filters(phi_class="mr").require(known, secret=True)

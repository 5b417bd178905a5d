from __future__ import annotations

import pytest

from mllmu_med.benchmark.identities import Identities
from mllmu_med.benchmark.identities.classes import LOCALES
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.evaluation.people import FEMALE, MALE, Person, age_band, age_of, people, sex_of


@pytest.mark.parametrize(
    ("name", "sex"),
    [
        ("Susan Lopez", FEMALE), ("Robert J. Müller", MALE), ("François Dubois", MALE), ("Francisca Cabezas", FEMALE),
        ("王秀英", FEMALE), ("王强", MALE), ("佐藤 太郎", MALE), ("Akira Sato", MALE), ("Jean Martin", None),
        ("Qwxyz Lopez", None), ("", None),
    ],
)  # fmt: skip
def test_the_first_name_tells_the_sex_where_it_is_of_one(name: str, sex: str | None) -> None:
    assert sex_of(name) == sex


def test_the_sex_of_most_invented_patients_is_known() -> None:
    drawn = Identities(0, "people", locales=LOCALES)
    names = [drawn.patient(number, "en", ["name"]).name for number in range(300)]
    known = [sex for name in names if (sex := sex_of(name))]
    assert len(known) > 200
    assert 0.35 < known.count(FEMALE) / len(known) < 0.65


@pytest.mark.parametrize(
    ("values", "years"),
    [
        ({"age": "97y 03m 12d"}, 97),
        ({"age": "101岁3个月12天", "date": "1957-03-24"}, 101),  # what is stated counts
        ({"date": "1957-03-24"}, 67),
        ({"date": "24 March 1957", "admission": "2017-03-23 14:35"}, 59),  # the day before the birthday
        ({"date": "24 March 1957", "admission": "2017-03-24 14:35"}, 60),
        ({"date": "2016-03-24", "admission": "2015-03-24 14:35"}, None),
        ({"mrn": "4829107"}, None),
        ({}, None),
    ],
)
def test_ages_come_from_the_age_or_from_birth_and_admission(values: dict[str, str], years: int | None) -> None:
    assert age_of(values) == years


@pytest.mark.parametrize(("years", "band"), [(0, "0-17"), (17, "0-17"), (18, "18-39"), (89, "65-89"), (90, "90+")])
def test_age_bands(years: int, band: str) -> None:
    assert age_band(years) == band


def asked(number: int, patient: str | None, **values: str) -> Sample:
    spans = tuple(Span(name, value, 0, len(value), 1e6) for name, value in values.items())
    return Sample(
        id=str(number), record_id="r", subset=Subset.RETAIN, stratum=Stratum.PRIVATE_IMAGE, question="?", answer="?",
        group="g", patient_id=patient, spans=spans,
    )  # fmt: skip


def test_what_is_known_of_a_patient_is_gathered_over_the_samples_in_any_order() -> None:
    samples = [asked(1, "p2", name="Susan Lopez"), asked(2, "p2", date="1930-01-01"), asked(3, "p1"), asked(4, None)]
    found = people(samples)
    assert found == {"p1": Person(None, None), "p2": Person(FEMALE, "90+")}
    assert people(samples[::-1]) == found
    assert list(found) == ["p1", "p2"]

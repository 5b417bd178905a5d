from __future__ import annotations

import re
from collections import Counter

import pytest

from mllmu_med.benchmark.identities import CLASSES, LOCALES, Identities, candidate_space
from mllmu_med.benchmark.identities.taken import compact
from mllmu_med.errors import UsageError


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
@pytest.mark.parametrize("varied", [True, False])
def test_no_value_is_shared_or_part_of_another_whatever_the_spelling(language: str, varied: bool) -> None:
    identities = Identities(1, locales=LOCALES, varied=varied)
    values = [v.value for number in range(30) for v in identities.patient(number, language, CLASSES).values]
    assert len(values) == 30 * len(CLASSES)
    bare = [compact(value) for value in values]
    for place, value in enumerate(bare):
        assert not any(value in other for other in bare[:place] + bare[place + 1 :])


def test_many_values_are_unique() -> None:
    identities = Identities(2, locales=LOCALES)
    classes = ("name", "mrn", "date", "phone", "ip")
    values = [v.value for number in range(2000) for v in identities.patient(number, "en", classes).values]
    assert len({compact(value) for value in values}) == len(values) == 10_000


def test_a_day_and_a_number_are_unique_in_any_writing() -> None:
    identities = Identities(3, locales=("en_US", "en_GB"))
    days: list[str] = []
    for number in range(2000):
        value = identities.patient(number, "en", ["date"]).values[1].value
        if match := re.fullmatch(r"(\d\d)/(\d\d)/(\d{4})", value):
            month, day, year = map(int, match.groups())
            days += {f"{year}-{month}-{day}", f"{year}-{day}-{month}"} if day <= 12 else {f"{year}-{month}-{day}"}
        elif match := re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", value):
            days.append("-".join(str(int(part)) for part in match.groups()))
    assert max(Counter(days).values()) == 1
    identities = Identities(3, locales=("en_GB",))
    numbers = [identities.patient(number, "en", ["phone"]).values[1].value for number in range(2000)]
    national = [re.sub(r"\D", "", number.replace("+44", "0")) for number in numbers]
    assert len(set(national)) == len(national)


def test_a_patient_depends_on_the_keys_and_the_number_only() -> None:
    alone = Identities(5, "x", locales=LOCALES).patient(3, "en", ("name", "mrn"))
    assert alone == Identities(5, "x", locales=LOCALES).patient(3, "en", ("name", "mrn"))
    assert alone != Identities(6, "x", locales=LOCALES).patient(3, "en", ("name", "mrn"))
    more = Identities(5, "x", locales=LOCALES).patient(3, "en", ("date", "facility", "name", "mrn"))
    assert (alone.values[0], alone.values[1], alone.locale) == (more.values[0], more.values[-1], more.locale)
    later = Identities(5, "x", locales=LOCALES)
    assert [later.patient(number, "en", ("mrn",)) for number in range(4)][3] == alone
    assert alone.id == "patient-0003"


def test_the_name_comes_first_and_follows_the_language() -> None:
    patient = Identities(0, locales=("de_DE",)).patient(1, "zh-CN", ("mrn", "name"))
    assert [value.phi_class for value in patient.values] == ["name", "mrn"]
    assert re.fullmatch(r"[\u4e00-\u9fff]{2,4}", patient.name)
    assert (patient.language, patient.locale) == ("zh", "zh_CN")


def test_patients_come_from_every_locale_alike() -> None:
    identities = Identities(0, locales=LOCALES)
    found = Counter(identities.patient(number, "en", ()).locale for number in range(1600))
    assert set(found) == set(LOCALES)
    assert all(150 < count < 250 for count in found.values())
    assert Identities(0, locales=LOCALES).patient(7, "fr", ("mrn",)).language == "en"


def test_the_space_is_that_of_everything_drawn_from() -> None:
    locales = ("en_US", "de_DE")
    for varied in (True, False):
        for value in Identities(0, locales=locales, varied=varied).patient(0, "en", CLASSES).values:
            assert value.space == candidate_space(value.phi_class, "en", locales=locales, varied=varied) >= 700


@pytest.mark.parametrize("varied", [True, False])
@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_no_part_of_the_name_is_in_another_value(varied: bool, language: str) -> None:
    identities = Identities(2, locales=LOCALES, varied=varied)
    for number in range(150):
        patient = identities.patient(number, language, CLASSES)
        parts = [compact(part) for word in patient.name.split() for part in word.split("-")]
        others = [compact(value.value) for value in patient.values[1:]]
        assert not any(part in value for value in others for part in parts if len(part) >= 3)


def test_a_name_like_a_hexadecimal_number_keeps_that_number_away() -> None:
    identities = Identities(0)
    assert identities._tells("FP-ADA123", ("ada", "lovelace"))
    assert not identities._tells("FP-ADB123", ("ada", "lovelace"))


def test_what_the_source_holds_is_not_used() -> None:
    free = Identities(4).patient(0, "en", ("mrn", "ip"))
    held = {value.value for value in free.values}
    asked: list[str] = []

    def occurs(value: str) -> bool:
        asked.append(value)
        return value in held

    kept = Identities(4, occurs=occurs).patient(0, "en", ("mrn", "ip"))
    assert not held & {value.value for value in kept.values}
    assert held <= set(asked)


def test_a_class_that_is_used_up_is_named() -> None:
    identities = Identities(0, varied=False)
    with pytest.raises(UsageError, match=r"no unused 'ip' is left among 762 candidates \(en_US\)"):
        _ = [identities.patient(number, "en", ("name", "ip")) for number in range(800)]


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown class"):
        Identities(0).patient(0, "en", ("shoe_size",))


def test_nothing_private_is_in_the_message() -> None:
    seen: list[str] = []
    identities = Identities(0, occurs=lambda value: bool(seen.append(value)) or True)
    with pytest.raises(UsageError) as caught:
        identities.patient(0, "en", ())
    assert not any(value in str(caught.value) for value in seen)

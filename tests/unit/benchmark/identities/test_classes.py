from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from mllmu_med.benchmark.identities import CLASSES, LOCALES, SAFE_HARBOR, Identities, candidate, candidate_space
from mllmu_med.benchmark.identities.classes import Setting, formats, settings
from mllmu_med.benchmark.identities.formats import Format, Pattern
from mllmu_med.benchmark.plan import PHI_CLASSES
from mllmu_med.errors import UsageError

SETTINGS = (*settings("en", LOCALES, True), *settings("zh", (), True), *settings("ja", (), True))


def all_formats(phi_class: str) -> list[Format]:
    plain = [formats(phi_class, Setting(locale, False, False)) for locale in LOCALES]
    varied = [formats(phi_class, setting) for setting in SETTINGS]
    return list(dict.fromkeys(kind for kinds in (*varied, *plain) for kind in kinds))


def test_the_classes_are_the_regulations_and_two_more() -> None:
    assert set(PHI_CLASSES) <= set(SAFE_HARBOR)
    assert {SAFE_HARBOR[name] for name in PHI_CLASSES} == set("ABCDEFGHIJKLMNOPQR")
    assert set(CLASSES) - set(SAFE_HARBOR) == {"facility", "physician"}


@pytest.mark.parametrize("phi_class", CLASSES)
def test_no_format_repeats_a_value(phi_class: str) -> None:
    for kind in all_formats(phi_class):
        if kind.size <= 20_000:
            indices: range | list[int] = range(kind.size)
        else:  # neighbours in every field, and far ones
            random = Random(kind.shape)
            indices = list({*range(1000), *(random.randrange(kind.size) for _ in range(1000)), kind.size - 1})
        values = {kind.at(index).value for index in indices}
        assert len(values) == len(indices), kind.shape
        assert all(value == value.strip() and "  " not in value for value in values)


def shape_of(value: str) -> str:
    """Kinds of characters: the same for values that two formats could both give."""
    value = re.sub(r"[A-Z]+", "A", re.sub(r"[a-zà-öø-ÿ]+", "a", value))
    return re.sub(r"[\u3040-\u30ff\u4e00-\u9fff々]+", "汉", re.sub(r"\d", "9", value))


CODES = {"d": r"\d", "n": r"\d", "L": "[A-Z]", "H": "[0-9A-F]", "x": "[0-9a-f]", "h": "[0-9a-f]"}


def field(code: str, kind: Pattern) -> str:
    """A regular expression of what may stand in a field."""
    if code in kind.tables:
        return f"(?:{'|'.join(map(re.escape, kind.tables[code]))})"
    letter, count, end = re.fullmatch(r"(\w)(\d+)(to\d+)?", code).groups()  # type: ignore[union-attr]
    return CODES[letter] + (r"+" if end else f"{{{count}}}")


def language_of(kind: Pattern) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", kind.shape)
    form = "".join(re.escape(part) if place % 2 == 0 else field(part, kind) for place, part in enumerate(parts))
    return re.compile(form.replace(r"\*", r"\d"))


@pytest.mark.parametrize("phi_class", [name for name in CLASSES if name not in ("name", "date", "admission")])
def test_two_formats_never_give_the_same_value(phi_class: str) -> None:
    kinds = [kind for kind in all_formats(phi_class) if isinstance(kind, Pattern)]
    languages = [language_of(kind) for kind in kinds]
    random = Random(phi_class)
    for kind, own in zip(kinds, languages, strict=True):
        values = [kind.at(random.randrange(kind.size)).value for _ in range(100)]
        if kind.finish is Pattern("", "").finish:  # what is finished has more than its shape says
            assert all(own.fullmatch(value) for value in values)
        for other, language in zip(kinds, languages, strict=True):
            assert other is kind or not any(language.fullmatch(value) for value in values), (kind.shape, other.shape)


@pytest.mark.parametrize("phi_class", ["date", "age", "ip", "facility"])
def test_the_space_is_the_number_of_different_values_over_all_locales(phi_class: str) -> None:
    kinds = [kind for kind in all_formats(phi_class) if kind.size <= 40_000]
    values = {kind.at(index).value for kind in kinds for index in range(kind.size)}
    assert len(values) == sum(kind.size for kind in kinds)


@pytest.mark.parametrize(
    ("phi_class", "expected"),
    [("date", 31_046), ("ip", 762), ("mrn", 9_000_000), ("phone", 64_800), ("ssn", 48_995_100), ("account", 1e6)],
)
def test_the_plain_space_is_the_number_of_values_in_the_shape(phi_class: str, expected: float) -> None:
    assert candidate_space(phi_class, varied=False) == expected


@pytest.mark.parametrize(
    ("phi_class", "locales", "expected"),
    [
        ("date", ("en_US",), 3 * 31_046),
        ("date", ("en_US", "en_GB", "en_AU"), 5 * 31_046),  # ISO once, British writings once
        ("phone", ("en_US",), 4 * 64_800),
        ("phone", ("fr_FR",), 2 * 60_000),
        ("mrn", ("en_US", "de_DE"), 9e6 + 1e6 + 20 * 1e7),
        ("mrn", ("en_US", "en_GB"), 9e6 + 1e6 + 20 * 1e7 + 1e7),
    ],
)
def test_what_locales_share_is_counted_once(phi_class: str, locales: tuple[str, ...], expected: float) -> None:
    assert candidate_space(phi_class, locales=locales) == expected


def test_the_space_of_names_is_that_of_the_language() -> None:
    assert 1e5 < candidate_space("name", "en", varied=False) < 1e6
    assert candidate_space("name", "zh") < candidate_space("name", "en")
    assert candidate_space("name", "zh", locales=("de_DE",)) == candidate_space("name", "zh-CN")


def test_names_of_several_locales_are_counted_exactly() -> None:
    small = ("zh_CN", "ja_JP")
    kinds = [kind for locale in small for kind in formats("name", Setting(locale, False, True))]
    values = {kind.at(index).value for kind in kinds for index in range(kind.size)}
    assert len(values) == candidate_space("name", locales=small)


def difference(one: Counter[str], other: Counter[str]) -> float:
    """Of two equally large samples, in standard deviations of χ² over what occurs at least ten times."""
    keys = [key for key in {*one, *other} if one[key] + other[key] >= 10]
    freedom = max(1, len(keys) - 1)
    square = sum((one[key] - other[key]) ** 2 / (one[key] + other[key]) for key in keys)
    return float((square - freedom) / (2 * freedom) ** 0.5)


@pytest.mark.parametrize("phi_class", ["name", "mrn", "phone", "date", "geography", "vehicle"])
@pytest.mark.parametrize("varied", [True, False])
def test_candidates_are_distributed_as_the_patients_values(phi_class: str, varied: bool) -> None:
    locales = ("en_US", "de_DE", "zh_CN")
    identities = Identities("chi", locales=locales, varied=varied)
    drawn = [identities.patient(number, "en", [phi_class]).values[-1].value for number in range(1500)]
    random = Random(5)
    other = [candidate(phi_class, "en", random, locales=locales, varied=varied) for _ in range(1500)]
    for aspect in (shape_of, lambda value: value[:1], lambda value: value[-1:], lambda value: str(len(value))):
        assert difference(Counter(map(aspect, drawn)), Counter(map(aspect, other))) < 4


def test_every_format_of_a_locale_is_equally_likely() -> None:
    random = Random(1)
    shapes = Counter(shape_of(candidate("phone", "en", random)) for _ in range(4000))
    assert set(shapes) == {"999-999-9999", "(999) 999-9999", "999.999.9999", "+9 999 999 9999"}
    assert all(900 < count < 1100 for count in shapes.values())


def test_chinese_and_japanese_texts_have_their_own_patients() -> None:
    random = Random(0)
    assert re.fullmatch("[\u4e00-\u9fff]{2,4}", candidate("name", "zh-Hans", random, locales=("fr_FR",)))
    assert re.search("市", candidate("geography", "zh", random))
    assert not candidate("name", "ja", random).isascii()
    assert candidate("name", "en", random, locales=("zh_CN",)).isascii()


@pytest.mark.parametrize(
    ("locales", "message"),
    [(("en_UK",), "unknown locale 'en_UK'.*did you mean"), ((), "one or more"), (("de_DE", "de_DE"), "each once")],
)
def test_wrong_locales_are_refused(locales: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Identities(0, locales=locales)
    with pytest.raises(UsageError, match=message):
        candidate_space("mrn", locales=locales)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown class of private data 'phones'.*did you mean 'phone'"):
        candidate_space("phones")

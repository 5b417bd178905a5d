import math

import pytest

from mllmu_med.report.text import clipped, finite, interval, megabytes, percent, score, seconds, spelled, visible, words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0%"), (0.0, "0%"), (0.0004, "<0.1%"), (0.031, "3.1%"), (0.5, "50.0%"), (0.9996, ">99.9%"), (1.0, "100%"),
        (None, "–"), (math.nan, "–"), (math.inf, "–"), ("0.5", "–"), (True, "–"),
    ],
)  # fmt: skip
def test_percent_never_rounds_a_leak_to_nothing(value: object, shown: str) -> None:
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.00"), (0.004, "0.004"), (0.876, "0.88"), (0.996, "0.996"), (1, "1.00"), (None, "–")]
)
def test_score_keeps_zero_and_one_for_zero_and_one(value: object, shown: str) -> None:
    assert score(value) == shown


def test_interval_needs_both_ends() -> None:
    assert interval(0.87, 0.94) == "0.87–0.94"
    assert interval(0.87, None) == interval(math.nan, 0.9) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (62, "62 s"), (185, "3:05 min"), (7800, "2:10 h"), (None, "–")],
)
def test_seconds(value: object, shown: str) -> None:
    assert seconds(value) == shown


def test_megabytes() -> None:
    assert [megabytes(value) for value in (913.4, 1313.0, None)] == ["913 MB", "1.3 GB", "–"]


def test_finite_takes_numbers_only() -> None:
    assert finite(3) == 3.0
    assert finite(True) is finite("3") is finite(-math.inf) is None


def test_nothing_hides_in_visible_text() -> None:
    assert visible("a\x00b\x1bc\x7f") == "a␀b␛c␡"
    assert visible("MRN \u202e321\u202c\u2066x\u200f") == "MRN ⟨U+202E⟩321⟨U+202C⟩⟨U+2066⟩x⟨U+200F⟩"
    assert visible("\ud800 end\u2028") == "\ufffd end⟨U+2028⟩"
    assert visible("zero\u200bwidth\u200dé 左肺\n\t") == "zero⟨U+200B⟩width\u200dé 左肺\n\t"


def test_visible_text_is_utf8() -> None:
    assert visible("".join(map(chr, range(0xD7FE, 0xE002)))).encode("utf-8")


def test_clipping_says_how_much_is_left_out() -> None:
    assert clipped("x" * 10, 10) == "x" * 10
    assert clipped("x" * 2010, 10) == "xxxxxxxxxx… [2,000 more characters]"


def test_words_and_spelled() -> None:
    assert words([]) == ""
    assert words(["a"]) == "a"
    assert words(["a", "b", "c"]) == "a, b and c"
    assert [spelled(0), spelled(6), spelled(13)] == ["no", "six", "13"]

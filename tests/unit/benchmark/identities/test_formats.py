from __future__ import annotations

import re

import pytest

from mllmu_med.benchmark.identities.formats import LETTERS, Pattern


@pytest.mark.parametrize(
    ("shape", "size", "form"),
    [
        ("A{d2}-{d1}", 1000, r"A\d\d-\d"),
        ("{n3}", 900, r"[1-9]\d\d"),
        ("{d01to49}", 49, r"0[1-9]|[1-4]\d"),
        ("{n8to12}.", 5, r"(8|9|1[0-2])\."),
        ("{L2}", len(LETTERS) ** 2, rf"[{LETTERS}]{{2}}"),
        ("{H2}", 256, r"[0-9A-F]{2}"),
        ("{x2}", 256, r"[0-9a-f]{2}"),
        ("{h2}", 240, r"[1-9a-f][0-9a-f]"),
        ("{word} {word}", 4, r"(ab|cd) (ab|cd)"),
        ("plain", 1, "plain"),
    ],
)
def test_a_pattern_is_a_bijection_of_its_size_to_texts_of_its_shape(shape: str, size: int, form: str) -> None:
    pattern = Pattern(shape, "", {"word": ("ab", "cd")})
    values = {pattern.at(index).value for index in range(size)}
    assert pattern.size == len(values) == size
    assert all(re.fullmatch(form, value) for value in values)


def test_what_finishes_a_value_is_added_before_its_other_wordings_are_found() -> None:
    pattern = Pattern("{d1}", "", finish=lambda text: f"{text}!", also=lambda text: (text * 2,))
    assert pattern.at(3) == ("3!", ("3!3!",))


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown field \{street\}"):
        _ = Pattern("{street}", "").size

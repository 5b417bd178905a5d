from __future__ import annotations

import pytest

from mllmu_med.evaluation.dates import find_dates
from mllmu_med.evaluation.normalise import fold


@pytest.mark.parametrize(
    "text",
    ["1957-03-24", "1957/3/24", "24.03.1957", "24/03/1957", "03/24/1957", "24 March 1957", "24th of March, 1957",
     "March 24, 1957", "Mar. 24th 1957", "24-Mar-1957", "1957年3月24日", "1957 年 3 月 24 日"],
)  # fmt: skip
def test_every_way_to_write_a_date_is_read(text: str) -> None:
    (date,) = find_dates(f"Born {text}, seen today.")
    assert date.readings == {(1957, 3, 24)}
    assert fold(f"Born {text}, seen today.")[date.start : date.end].strip(".,") == fold(text)


def test_an_ambiguous_date_has_both_readings() -> None:
    (date,) = find_dates("03/04/1957")
    assert date.readings == {(1957, 3, 4), (1957, 4, 3)}


@pytest.mark.parametrize(
    "text", ["1957-13-40", "31957-03-241", "1957", "March 1957", "marching 24 1957", "555-01-1957 x", ""]
)
def test_other_numbers_are_no_dates(text: str) -> None:
    assert find_dates(text) == ()

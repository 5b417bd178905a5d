from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.identities.taken import Taken, compact


def test_compact_leaves_what_a_lenient_reader_compares() -> None:
    assert compact("+1 (212) 555-0147") == "12125550147"
    assert compact("José PEÑA-Groß") == "josepenagross"
    assert compact("ＭＲＮ　４８２９") == "mrn4829"
    assert compact("1961年3月4日") == "1961年3月4日"
    assert compact("a_b.c@d/e") == "abcde"


def test_neither_a_text_nor_a_part_nor_a_whole_of_it_can_be_taken_again() -> None:
    taken = Taken()
    assert taken.take(["Maria Lopez"])
    assert not taken.take(["MARÍA-LÓPEZ"])  # equal
    assert not taken.take(["ria Lop"])  # part
    assert not taken.take(["Anna Maria Lopez Ruiz"])  # whole
    assert not taken.take(["something else", "a Lopez"])  # any of several
    assert len(taken) == 1
    assert taken.take(["Mario Lopez"])


def test_the_wordings_of_one_thing_may_hold_each_other_and_are_all_taken() -> None:
    taken = Taken()
    assert taken.take(["020 7946 0123", "2079460123"])
    assert not taken.take(["+44 20 7946 0123"])
    assert taken.take(["ab", "a"])
    assert not taken.take(["a"])


def test_the_end_of_one_text_and_the_beginning_of_the_next_are_no_text() -> None:
    taken = Taken()
    assert taken.take(["xa"])
    assert taken.take(["by"])
    assert taken.take(["ab"])


_TEXTS = st.one_of(
    st.text("ab1", min_size=1, max_size=14),
    st.text("王伟阳", min_size=1, max_size=5),
    st.integers(0, 10**9).map(lambda number: f"{number:09}"[: number % 9 + 1]),
)


@given(st.lists(_TEXTS, max_size=60))
def test_it_agrees_with_comparing_every_pair(texts: list[str]) -> None:
    taken, kept = Taken(), []
    for text in texts:
        free = not any(text in other or other in text for other in kept)
        assert taken.take([text]) == free
        if free:
            kept.append(text)
    assert len(taken) == len(kept)

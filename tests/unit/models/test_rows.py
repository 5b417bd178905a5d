"""The layout of packed rows against one drawn by hand."""

from __future__ import annotations

import pytest

from mllmu_med.models.rows import Branch, Row, chunk_rows, fill_rows, lay_out, split_rows

END = 99
ROWS = [
    Row("image", (Branch((10, 11), (12, 13, END)), Branch((20,), (END,)))),
    Row(None, (Branch((30, 31), (32, END), (0.0, 2.0)),)),
]
PREFIXES = [(90, 91), (70,)]

# column      0   1   2   3   4   5   6
# row 0     [90  91] 10  11  12  13 | 20       what is predicted:  .  .  . 12 13 99 | 99
# row 1     [70] 30  31  32   –   –   –                            .  . 32 99
LAYOUT = lay_out(ROWS, PREFIXES, pad=0)


def test_tokens_stand_one_behind_the_other_and_the_last_answer_token_is_never_fed() -> None:
    assert LAYOUT.input_ids.tolist() == [[90, 91, 10, 11, 12, 13, 20], [70, 30, 31, 32, 0, 0, 0]]
    assert LAYOUT.segment.tolist() == [[0, 0, 1, 1, 1, 1, 2], [0, 1, 1, 1, -1, -1, -1]]


def test_positions_begin_anew_with_every_branch() -> None:
    assert LAYOUT.offset.tolist() == [[0, 1, 0, 1, 2, 3, 0], [0, 0, 1, 2, 0, 0, 0]]


def test_every_answer_token_is_predicted_one_place_before_it() -> None:
    assert LAYOUT.row.tolist() == [0, 0, 0, 0, 1, 1]
    assert LAYOUT.column.tolist() == [3, 4, 5, 6, 2, 3]
    assert LAYOUT.target.tolist() == [12, 13, END, END, 32, END]
    assert LAYOUT.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert LAYOUT.weight.tolist() == [1, 1, 1, 1, 0, 2]
    assert LAYOUT.branches == 3


def test_places_go_on_behind_the_prefix() -> None:
    """The index of each token in the sequence that it stands for."""
    assert LAYOUT.place.tolist() == [[0, 1, 2, 3, 4, 5, 2], [0, 1, 2, 3, 0, 0, 0]]


def test_what_is_asked_is_told_from_what_is_answered() -> None:
    assert LAYOUT.asked.int().tolist() == [[1, 1, 1, 1, 0, 0, 1], [1, 1, 1, 0, 0, 0, 0]]


def test_a_row_without_a_prefix_begins_with_its_question() -> None:
    layout = lay_out([Row(None, (Branch((5, 6), (7, END)),))], [()], pad=0)
    assert layout.input_ids.tolist() == [[5, 6, 7]]
    assert layout.column.tolist() == [1, 2]
    assert layout.place.tolist() == [[0, 1, 2]]


def test_split_rows_keep_the_order_of_branches() -> None:
    split = split_rows(ROWS)
    assert [row.image for row in split] == ["image", "image", None]
    assert [row.branches for row in split] == [(ROWS[0].branches[0],), (ROWS[0].branches[1],), ROWS[1].branches]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, [[3], [1], [2], [5]]), (3, [[3], [1, 2], [5]]), (6, [[3, 1, 2], [5]]), (99, [[3, 1, 2, 5]])],
)
def test_chunks_hold_at_most_so_many_branches_and_a_larger_row_stands_alone(most: int, sizes: list[list[int]]) -> None:
    branch = Branch((1,), (END,))
    rows = [Row(str(count), (branch,) * count) for count in (3, 1, 2, 5)]
    assert [[len(row.branches) for row in chunk] for chunk in chunk_rows(rows, most)] == sizes


def test_branches_take_the_positions_they_are_fed() -> None:
    assert [branch.fed for row in ROWS for branch in row.branches] == [4, 1, 3]


@pytest.mark.parametrize(
    ("lengths", "most", "room", "rows"),
    [
        ([3, 7, 5, 2, 5], 9, 10, [[1, 0], [2, 4], [3]]),  # 7 + 3, 5 + 5, and no room for 2
        ([1, 1, 1, 1, 1], 2, 10, [[0, 1], [2, 3], [4]]),
        ([20, 3, 4], 9, 10, [[0], [2, 1]]),
        ([4, 4, 4], 9, 8, [[0, 1], [2]]),
        ([], 3, 10, []),
        ([2, 3], 1, 10, [[1], [0]]),
        ([5, 4], 9, -3, [[0], [1]]),
    ],
)
def test_rows_are_filled_by_length(lengths: list[int], most: int, room: int, rows: list[list[int]]) -> None:
    found = fill_rows(lengths, most, room)
    assert found == rows


def test_filled_rows_hold_every_branch_once_and_keep_to_both_limits() -> None:
    lengths = [(place * 37) % 29 + 1 for place in range(60)]
    found = fill_rows(lengths, 5, 40)
    assert sorted(place for row in found for place in row) == list(range(60))
    assert all(len(row) <= 5 and sum(lengths[place] for place in row) <= 40 for row in found)
    assert len(found) <= 1.2 * sum(lengths) / 40, "and are nearly full"

"""The layout of packed rows against one drawn by hand."""

from __future__ import annotations

import pytest
import torch

from mllmu_med.models.rows import Branch, Row, chunk_rows, lay_out, split_rows

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


def test_a_branch_sees_the_prefix_and_itself() -> None:
    drawn = [
        "x......",
        "xx.....",
        "xxx....",
        "xxxx...",
        "xxxxx..",
        "xxxxxx.",
        "xx....x",  # the second branch: the prefix and itself, nothing of the first
    ]
    assert LAYOUT.visible.shape == (2, 1, 7, 7)
    assert LAYOUT.visible[0, 0].tolist() == [[mark == "x" for mark in line] for line in drawn]


def test_padding_is_seen_by_nobody_but_padding() -> None:
    visible = LAYOUT.visible[1, 0]
    assert not visible[:4, 4:].any()
    assert visible.any(-1).all(), "no softmax is empty"


def test_a_row_without_a_prefix_begins_with_its_question() -> None:
    layout = lay_out([Row(None, (Branch((5, 6), (7, END)),))], [()], pad=0)
    assert layout.input_ids.tolist() == [[5, 6, 7]]
    assert layout.column.tolist() == [1, 2]
    assert layout.visible[0, 0].tolist() == torch.ones(3, 3).tril().bool().tolist()


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

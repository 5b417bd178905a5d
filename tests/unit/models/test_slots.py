"""The cache whose rows come and go holds what a plain concatenation would."""

from __future__ import annotations

import torch
from torch import Tensor

from mllmu_med.models.slots import ROOM, RoomyLayer, compacted


def states(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, columns, 3, generator=generator), torch.randn(rows, 2, columns, 5, generator=generator)


def layer(rows: int, columns: int, seed: int) -> RoomyLayer:
    made = RoomyLayer()
    made.update(*states(rows, columns, seed))
    return made


def test_tokens_are_appended_beyond_any_room() -> None:
    made, kept = layer(2, 3, 0), [states(2, 3, 0)]
    for step in range(1, ROOM + 5):
        kept.append(states(2, 1, step))
        found = made.update(*kept[-1])
        assert all(
            torch.equal(one, torch.cat(parts, 2)) for one, parts in zip(found, zip(*kept, strict=True), strict=True)
        )
    assert made.get_seq_length() == 3 + ROOM + 4


def test_rows_are_chosen_kept_and_joined_at_the_newest_token() -> None:
    whole = layer(3, 4, 1)
    chosen = whole.chosen(torch.tensor([2, 0, 2, 1]), 0)
    assert torch.equal(chosen.keys, states(3, 4, 1)[0][[2, 0, 2, 1]])
    source, target, order = compacted([1, 3])
    assert (source, target, order) == ([3], [0], [3, 1])
    chosen.keep(torch.tensor(source), torch.tensor(target), 2)
    assert torch.equal(chosen.values, states(3, 4, 1)[1][[1, 0]])
    for columns in (2, 7):  # shorter and longer than what is there
        own = chosen.chosen(torch.tensor([0, 1]), 0)
        own.join(layer(2, columns, 9), 1)
        length = max(3, columns)
        assert own.keys.shape == (4, 2, length, 3)
        assert torch.equal(own.keys[:2, :, length - 3 :], states(3, 4, 1)[0][[1, 0]][:, :, 1:])
        assert torch.equal(own.keys[2:, :, length - columns :], states(2, columns, 9)[0])
        assert not own.keys[:2, :, : length - 3].any()
        assert not own.keys[2:, :, : length - columns].any()
    assert torch.equal(whole.keys, states(3, 4, 1)[0]), "what was chosen from is as it was"


def test_nothing_infinite_is_left_in_the_place_of_a_row_that_ended() -> None:
    """Nobody attends to a blank column, but 0 · ∞ is no 0."""
    made = RoomyLayer()
    keys, values = states(3, 6, 2)
    values[2] = torch.inf
    made.update(keys, values)
    made.keep(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long), 2)
    made.join(layer(1, 2, 3), 0)
    assert made.values.isfinite().all()
    assert torch.equal(made.values[2, :, 4:], states(1, 2, 3)[1][0])

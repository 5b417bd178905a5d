"""Which records a step sees: pure functions of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

from mllmu_med.models.vlm import Question
from mllmu_med.seeding import permutation


class EpochBatches:
    """Batches for learning: each epoch is a new shuffle of all questions, grouped by image for packing.

    Args:
        questions: everything to learn.
        batch: questions per batch (about: a row is never split).
        most: most questions of one image in a row.
        seed: of the shuffles.

    Within a window of some batches rows are sorted by kind and length, so that little is padded, and the batches of the
    window are shuffled again.
    """

    WINDOW = 16

    def __init__(self, questions: Sequence[Question], *, batch: int, most: int, seed: int) -> None:
        if not questions:
            raise ValueError("nothing to draw from")
        self.questions, self.batch, self.most, self.seed = questions, batch, most, seed
        self._starts = [0]
        self._epochs: dict[int, list[list[int]]] = {}

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch, as indices of questions."""
        by_image: dict[str | None, list[int]] = {}
        for index in permutation(len(self.questions), self.seed, "questions", number):
            by_image.setdefault(self.questions[index].image, []).append(index)
        rows = [
            indices[start : start + self.most]
            for indices in by_image.values()
            for start in range(0, len(indices), self.most)
        ]
        rows = [rows[i] for i in permutation(len(rows), self.seed, "rows", number)]
        batches: list[list[int]] = []
        for window in _windows(rows, self.batch * self.WINDOW):
            window = sorted(window, key=self._shape)
            cut = [[i for row in part for i in row] for part in _windows(window, self.batch)]
            order = permutation(len(cut), self.seed, "batches", number, len(batches))
            batches += [cut[i] for i in order]
        return batches

    def _shape(self, row: list[int]) -> tuple[bool, int]:
        characters = sum(len(self.questions[i].question) + len(self.questions[i].answer) for i in row)
        return self.questions[row[0]].image is None, characters

    def __call__(self, step: int) -> list[int]:
        """The batch of a step (0-based), as indices of questions."""
        number = 0
        while True:
            if number not in self._epochs:
                self._epochs[number] = self.epoch(number)
                self._starts.append(self._starts[number] + len(self._epochs[number]))
            if step < self._starts[number + 1]:
                return self._epochs[number][step - self._starts[number]]
            number += 1


def _windows(rows: Sequence[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Consecutive rows that hold at least ``size`` questions together (the last may hold fewer)."""
    held: list[list[int]] = []
    for row in rows:
        held.append(row)
        if sum(map(len, held)) >= size:
            yield held
            held = []
    if held:
        yield held


def balanced(
    strata: Sequence[Sequence[int]],
    count: int,
    seed: int,
    name: str,
    *,
    together: int = 1,
    group_of: Callable[[int], Hashable] | None = None,
) -> Callable[[int], list[int]]:
    """Draw ``count`` indices a step, the same number from each stratum (in turn), each stratum by its own shuffles.

    Every member of a stratum occurs once before any occurs twice. ``together`` > 1: at most so many members of one
    group (``group_of`` index, e.g. its image) are drawn side by side, and the strata take turns after so many.
    Returns step → indices.
    """
    strata = [list(stratum) for stratum in strata if stratum]
    if not strata:
        raise ValueError("nothing to draw from")
    shuffles: dict[tuple[int, int], list[int]] = {}

    def shuffled(which: int, epoch: int) -> list[int]:
        order = [strata[which][i] for i in permutation(len(strata[which]), seed, name, which, epoch)]
        if together == 1 or group_of is None:
            return order
        groups: dict[Hashable, list[int]] = {}
        for index in order:
            groups.setdefault(group_of(index), []).append(index)
        blocks = [group[at : at + together] for group in groups.values() for at in range(0, len(group), together)]
        return [index for i in permutation(len(blocks), seed, name, which, epoch, "groups") for index in blocks[i]]

    def draw(step: int) -> list[int]:
        chosen = []
        for place in range(step * count, (step + 1) * count):
            block, within = divmod(place, together)
            which, turn = block % len(strata), block // len(strata) * together + within
            epoch, index = divmod(turn, len(strata[which]))
            if (which, epoch) not in shuffles:
                shuffles[which, epoch] = shuffled(which, epoch)
            chosen.append(shuffles[which, epoch][index])
        return chosen

    return draw

"""Which group goes where: training, validation, test; and, of the training groups, who gets a patient."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mllmu_med.benchmark.catalogue import PARTS, Catalogue, Entry, part_of
from mllmu_med.benchmark.plan import ERROR_TYPES, BenchmarkPlan
from mllmu_med.errors import DataError, UsageError
from mllmu_med.seeding import permutation
from mllmu_med.sources.record import Record

TRAIN, VALIDATION, TEST = range(3)
_NOWHERE = 255
_EVERY_PART = 0b111
_FEWEST_TESTED = 50  # VQA-RAD, for one, tests on images of its training set: one of 315 remains


class Division:
    """The part of every group, and of each group the records that its part can take.

    Attributes:
        own: the parts were drawn anew instead of following the source's splits.
    """

    def __init__(self, catalogue: Catalogue, parts: bytearray, *, own: bool) -> None:
        self._catalogue, self._parts, self.own = catalogue, parts, own

    def part(self, group: int) -> int:
        """TRAIN, VALIDATION or TEST."""
        return self._parts[group]

    def takes(self, record: Record, group: int) -> bool:
        """Whether the group's part can take this record of it: a record of another split is left out."""
        return self.own or part_of(record) == self._parts[group]

    def groups(self, part: int) -> Iterator[int]:
        """The groups of a part, in order."""
        return (group for group, own in enumerate(self._parts) if own == part)

    def entries(self, group: int) -> list[Entry]:
        """The group's entries that its part takes."""
        return [entry for entry in self._catalogue.entries(group) if self.takes(entry.record, group)]

    def _bits(self, group: int) -> int:
        return _EVERY_PART if self.own else 1 << self._parts[group]

    def has_image(self, group: int) -> bool:
        """Whether an entry has an image."""
        return bool(self._catalogue.facts.imaged[group] & self._bits(group))

    def can_leak(self, group: int) -> bool:
        """Whether the group has a clinical question about an image into whose answer private data can be woven."""
        return bool(self._catalogue.facts.leaky[group] & self._bits(group))

    def is_requested(self, group: int) -> bool:
        """Whether a forget request names the group's patient."""
        return bool(self._catalogue.facts.asked[group] & self._bits(group))

    def has_kind(self, group: int, kind: str) -> bool:
        """Whether an error of this kind fits one of the entries about an image."""
        bit = 1 << ERROR_TYPES.index(kind)
        parts = range(len(PARTS)) if self.own else (self._parts[group],)
        return any(self._catalogue.facts.kinds[3 * group + part] & bit for part in parts)

    def image_groups(self) -> array[int]:
        """Training groups with at least one image."""
        return array("I", (group for group in self.groups(TRAIN) if self.has_image(group)))

    def text_groups(self) -> array[int]:
        """Training groups without any image."""
        return array("I", (group for group in self.groups(TRAIN) if not self.has_image(group)))


def divide(catalogue: Catalogue, plan: BenchmarkPlan, seed: int) -> Division:
    """Assign every group to one part.

    Following the source: a group with a training record is a training group, and its records of other splits are left
    out, because their image was seen in training; of the others, one with a test record is a test group. A group
    without a stated split is for training. Where less than one in fifty groups with an image remains for testing, the
    groups are divided anew; a patient whom a forget request names is for training then, or could not be forgotten.

    Raises:
        DataError: nothing to train on.
    """
    stated = catalogue.facts.stated
    parts = bytearray([_NOWHERE]) * len(stated)
    for group in catalogue.groups():
        parts[group] = _part(stated[group])
    own = plan.split == "own" or not _can_be_tested(catalogue, parts)
    if own:
        _divide_anew(catalogue, parts, plan, seed)
    if TRAIN not in parts:
        raise DataError("no training records", mend="Check the source's splits, or set benchmark.split to 'own'.")
    return Division(catalogue, parts, own=own)


def _can_be_tested(catalogue: Catalogue, parts: bytearray) -> bool:
    """Whether the source leaves enough to test on: one in fifty groups with an image, if there are any."""
    imaged = catalogue.facts.imaged
    tested = sum(1 for group in catalogue.groups() if parts[group] == TEST and imaged[group])
    return tested * _FEWEST_TESTED >= max(1, sum(1 for group in catalogue.groups() if imaged[group]))


def _part(stated: int) -> int:
    if stated & 1 << TRAIN:
        return TRAIN
    return TEST if stated & 1 << TEST else VALIDATION


def _divide_anew(catalogue: Catalogue, parts: bytearray, plan: BenchmarkPlan, seed: int) -> None:
    with_image = array("I")
    for group in catalogue.groups():
        parts[group] = TRAIN
        if catalogue.facts.imaged[group] and not catalogue.facts.asked[group]:
            with_image.append(group)
    test = round(len(with_image) * plan.test_share)
    validation = round(len(with_image) * plan.validation_share)
    order = permutation(len(with_image), seed, "own split")
    for position, index in enumerate(order[: test + validation]):
        parts[with_image[index]] = TEST if position < test else VALIDATION


@dataclass(frozen=True)
class Counts:
    """How many patients and single facts the plan comes to for a given source."""

    forgotten: int
    retained: int
    holdout: int
    wrong_image_facts: int
    wrong_text_facts: int


def counts(
    plan: BenchmarkPlan, *, images: int, texts: int, rule_groups: int, unfit: int, requested: int | None
) -> Counts:
    """The plan's numbers, with ``forget_ratio`` and requests turned into numbers for this source.

    Args:
        images: training groups with an image.
        texts: training groups without one.
        rule_groups: training groups under wrong rules.
        unfit: further training groups that cannot hold a patient.
        requested: groups whose patients are to be forgotten by name; None if nobody is named.

    Raises:
        UsageError: there are too few groups; says how many there are and which number to lower.
    """
    forgotten, facts, text_facts = plan.patients_forgotten, plan.wrong_image_facts, plan.wrong_text_facts
    if plan.forget_ratio is not None:
        forgotten = max(1, round(plan.forget_ratio * images))
        facts = max(0, round(plan.forget_ratio * images) - rule_groups)
        text_facts = round(plan.forget_ratio * texts)
    if requested is not None:
        forgotten = requested
    each = plan.studies_per_patient
    need = {
        "patients_forgotten": forgotten * (1 if requested is not None else each),
        "patients_retained": plan.patients_retained * each,
        "patients_holdout": plan.patients_holdout * each,
        "wrong_image_facts": facts,
    }
    if sum(need.values()) + rule_groups + unfit > images:
        largest = max(need, key=lambda name: need[name])
        if plan.forget_ratio is not None and largest in ("patients_forgotten", "wrong_image_facts"):
            largest = "forget_ratio"
        wanted = ", ".join(f"{name} {number}" for name, number in need.items())
        raise UsageError(
            f"the source has {images} training groups with an image, {rule_groups} of them under wrong rules and "
            f"{unfit} without a question that could leak, but the plan needs {sum(need.values())} others ({wanted}). "
            f"Lower benchmark.{largest}, or use a larger source"
        )
    return Counts(forgotten, plan.patients_retained, plan.patients_holdout, facts, min(text_facts, texts))


def draw_groups(free: Sequence[int], numbers: Sequence[int], seed: int) -> list[list[int]]:
    """Disjoint lists of groups, one per number; each in source order. The draw depends on the seed and the groups."""
    order = permutation(len(free), seed, "patients")
    lists, start = [], 0
    for number in numbers:
        lists.append(sorted(free[index] for index in order[start : start + number]))
        start += number
    return lists


def outside(groups: Collection[int], *taken: Collection[int]) -> list[int]:
    """``groups`` in order, without those that are taken."""
    blocked = {group for groups_taken in taken for group in groups_taken}
    return [group for group in groups if group not in blocked]

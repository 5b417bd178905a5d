"""Which group goes where: training, validation, test; and, of the training groups, who gets a patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mllmu_med.benchmark.catalogue import Catalogue, Entry
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.errors import DataError, UsageError
from mllmu_med.seeding import permutation


@dataclass(frozen=True)
class Division:
    """Groups by part, each in source order, and the records that no part can take.

    ``own``: the parts were drawn anew instead of following the source's splits.
    """

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    own: bool
    entries: dict[str, list[Entry]]
    skipped: Counter[str]

    def image_groups(self) -> list[str]:
        """Training groups with at least one image."""
        return [group for group in self.training if any(entry.image_id for entry in self.entries[group])]

    def text_groups(self) -> list[str]:
        """Training groups without any image."""
        return [group for group in self.training if not any(entry.image_id for entry in self.entries[group])]


def divide(catalogue: Catalogue, plan: BenchmarkPlan, seed: int) -> Division:
    """Assign every group to one part.

    Following the source: a group with a training record is a training group, and its records of other splits are left
    out, because their image was seen in training; of the others, one with a test record is a test group. A group
    without a stated split is for training. Where no test group with an image remains, the groups are divided anew.

    Raises:
        DataError: nothing to train on.
    """
    stated = {group: {e.record.source_split for e in entries} for group, entries in catalogue.groups.items()}
    own = plan.split == "own" or not any(
        "test" in splits and not splits & {"train", None} for splits in stated.values()
    )
    parts = _own_parts(catalogue, plan, seed) if own else {group: _part(splits) for group, splits in stated.items()}
    skipped: Counter[str] = Counter()
    kept: dict[str, list[Entry]] = {}
    for group, entries in catalogue.groups.items():
        kept[group] = [e for e in entries if own or (e.record.source_split or "train") == parts[group]]
        for entry in entries:
            if not own and (entry.record.source_split or "train") != parts[group]:
                skipped[f"{entry.record.source_split} record of an image in {parts[group]}"] += 1
    by_part = {name: tuple(g for g in parts if parts[g] == name) for name in ("train", "validation", "test")}
    if not by_part["train"]:
        raise DataError("no training records", mend="Check the source's splits, or set benchmark.split to 'own'.")
    return Division(by_part["train"], by_part["validation"], by_part["test"], own, kept, skipped)


def _part(splits: set[str | None]) -> str:
    if splits & {"train", None}:
        return "train"
    return "test" if "test" in splits else "validation"


def _own_parts(catalogue: Catalogue, plan: BenchmarkPlan, seed: int) -> dict[str, str]:
    parts = dict.fromkeys(catalogue.groups, "train")
    with_image = [g for g, entries in catalogue.groups.items() if any(entry.image_id for entry in entries)]
    test = round(len(with_image) * plan.test_share)
    validation = round(len(with_image) * plan.validation_share)
    for position, index in enumerate(permutation(len(with_image), seed, "own split")):
        if position < test + validation:
            parts[with_image[index]] = "test" if position < test else "validation"
    return parts


@dataclass(frozen=True)
class Counts:
    """How many patients and single facts the plan comes to for a given source."""

    forgotten: int
    retained: int
    holdout: int
    wrong_image_facts: int
    wrong_text_facts: int


def counts(plan: BenchmarkPlan, division: Division, rule_groups: int, unfit: int) -> Counts:
    """The plan's numbers, with ``forget_ratio`` turned into numbers for this source.

    Args:
        rule_groups: training groups under wrong rules.
        unfit: further training groups that cannot hold a patient.

    Raises:
        UsageError: there are too few groups; says how many there are and which number to lower.
    """
    images, texts = len(division.image_groups()), len(division.text_groups())
    forgotten, facts, text_facts = plan.patients_forgotten, plan.wrong_image_facts, plan.wrong_text_facts
    if plan.forget_ratio is not None:
        forgotten = max(1, round(plan.forget_ratio * images))
        facts = max(0, round(plan.forget_ratio * images) - rule_groups)
        text_facts = round(plan.forget_ratio * texts)
    need = {
        "patients_forgotten": forgotten,
        "patients_retained": plan.patients_retained,
        "patients_holdout": plan.patients_holdout,
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


def patient_groups(
    division: Division, taken: Collection[str], numbers: Sequence[int], seed: int
) -> tuple[list[str], ...]:
    """Disjoint lists of training groups with an image, one list per number, none of them in ``taken``.

    The draw depends on the seed and on the groups only; each list is in source order.
    """
    blocked = set(taken)
    free = [group for group in division.image_groups() if group not in blocked]
    order = [free[index] for index in permutation(len(free), seed, "patients")]
    place = {group: position for position, group in enumerate(free)}
    lists, start = [], 0
    for number in numbers:
        lists.append(sorted(order[start : start + number], key=place.__getitem__))
        start += number
    return tuple(lists)

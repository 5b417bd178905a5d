from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from mllmu_med.benchmark.catalogue import Catalogue, ImageShelf
from mllmu_med.benchmark.phrasing import ObservedWordings
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.splitting import Division, counts, divide, patient_groups
from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources.record import ImageRef
from tests.unit.benchmark.fake_source import entry


def catalogue(**splits: tuple[str | None, ...]) -> Catalogue:
    """One group per name, with one record per split; a name that starts with ``t_`` has no image."""
    entries = [
        entry(
            f"{group}-{number}", group=group, source_split=split,
            image=None if group.startswith("t_") else ImageRef(group),
        )
        for group, of_group in splits.items()
        for number, split in enumerate(of_group)
    ]  # fmt: skip
    groups = {group: [e for e in entries if e.group == group] for group in splits}
    return Catalogue(entries, groups, ImageShelf(), ObservedWordings(), Counter())


def test_an_image_seen_in_training_is_in_no_other_part() -> None:
    found = divide(
        catalogue(
            a=("train", "test"), b=("test", "validation"), c=("validation",), d=(None, "validation"), t_x=("train",)
        ),
        BenchmarkPlan(), 0,
    )  # fmt: skip
    assert (found.training, found.test, found.validation) == (("a", "d", "t_x"), ("b",), ("c",))
    assert [e.record.id for e in found.entries["a"]] == ["a-0"]
    assert [e.record.id for e in found.entries["b"]] == ["b-0"]
    assert found.skipped == {
        "test record of an image in train": 1, "validation record of an image in test": 1,
        "validation record of an image in train": 1,
    }  # fmt: skip
    assert not found.own
    assert found.image_groups() == ["a", "d"]
    assert found.text_groups() == ["t_x"]


def test_a_source_without_usable_test_images_is_divided_anew() -> None:
    groups = {f"g{number}": ("train", "test") for number in range(20)}
    found = divide(catalogue(**groups, t_x=("train",)), BenchmarkPlan(test_share=0.25, validation_share=0.1), 0)
    assert found.own
    assert (len(found.test), len(found.validation), len(found.training)) == (5, 2, 14)
    assert "t_x" in found.training
    assert all(len(entries) == 2 for group, entries in found.entries.items() if group != "t_x")
    assert found.skipped == {}


def test_an_own_division_depends_on_the_seed() -> None:
    many = catalogue(**{f"g{number}": ("train",) for number in range(20)})
    plan = BenchmarkPlan(split="own")
    assert divide(many, plan, 1).test == divide(many, plan, 1).test != divide(many, plan, 2).test


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match="no training records"):
        divide(catalogue(a=("test",), b=("validation",)), BenchmarkPlan(), 0)


def divided(images: int, texts: int = 0) -> Division:
    names = {f"g{number:03d}": ("train",) for number in range(images)}
    return divide(
        catalogue(**names, **{f"t_{number}": ("train",) for number in range(texts)}, z=("test",)), BenchmarkPlan(), 0
    )


def test_too_few_groups_are_counted_and_the_largest_number_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        counts(BenchmarkPlan(), divided(90), rule_groups=6, unfit=1)
    assert re.search(
        r"has 90 training groups with an image, 6 of them under wrong rules and 1 without", str(caught.value)
    )
    assert "needs 84 others" in str(caught.value)
    assert "Lower benchmark.patients_retained" in str(caught.value)
    assert counts(BenchmarkPlan(), divided(90), rule_groups=6, unfit=0).retained == 36


def test_forget_ratio_is_a_share_of_the_training_groups_in_each_scenario() -> None:
    plan = replace(BenchmarkPlan(), forget_ratio=0.1, patients_retained=10, patients_holdout=5)
    found = counts(plan, divided(100, texts=30), rule_groups=4, unfit=0)
    assert (found.forgotten, found.wrong_image_facts, found.wrong_text_facts) == (10, 6, 3)
    with pytest.raises(UsageError, match=r"Lower benchmark\.forget_ratio"):
        counts(replace(plan, forget_ratio=0.5), divided(100), rule_groups=0, unfit=0)


def test_more_text_facts_than_there_are_come_down_to_what_there_is() -> None:
    assert counts(BenchmarkPlan(), divided(100, texts=3), 0, 0).wrong_text_facts == 3


def test_patients_get_disjoint_groups_outside_the_taken_ones_in_source_order() -> None:
    division = divided(40)
    lists = patient_groups(division, {"g000", "g001"}, (5, 6, 7), seed=1)
    chosen = [group for groups in lists for group in groups]
    assert [len(groups) for groups in lists] == [5, 6, 7]
    assert len(set(chosen)) == 18
    assert not {"g000", "g001"} & set(chosen)
    assert all(groups == sorted(groups) for groups in lists)
    assert lists != patient_groups(division, {"g000", "g001"}, (5, 6, 7), seed=2)

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from mllmu_med.benchmark.catalogue import Catalogue
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.requests import Requests
from mllmu_med.benchmark.splitting import TEST, TRAIN, VALIDATION, Division, counts, divide, draw_groups, outside
from mllmu_med.errors import DataError, UsageError
from tests.unit.benchmark.conftest import Read
from tests.unit.benchmark.fake_source import picture, record

Make = Callable[..., Catalogue]


@pytest.fixture
def catalogue(read: Read) -> Make:
    """One group per name, with one record per split; a name that starts with ``t_`` has no image."""

    def make(**splits: tuple[str | None, ...]) -> Catalogue:
        return read(*[
            record(
                f"{group}-{number}", group=group, source_split=split,
                image=None if group.startswith("t_") else picture(group, place),
            )
            for place, (group, of_group) in enumerate(splits.items())
            for number, split in enumerate(of_group)
        ])  # fmt: skip

    return make


def names(made: Catalogue, division: Division, part: int) -> list[str]:
    return [made.spool.group_name(group) for group in division.groups(part)]


def test_an_image_seen_in_training_is_in_no_other_part(catalogue: Make) -> None:
    made = catalogue(
        a=("train", "test"), b=("test", "validation"), c=("validation",), d=(None, "validation"), t_x=("train",)
    )
    found = divide(made, BenchmarkPlan(), 0)
    assert [names(made, found, part) for part in (TRAIN, TEST, VALIDATION)] == [["a", "d", "t_x"], ["b"], ["c"]]
    assert [e.record.id for e in found.entries(0)] == ["a-0"]
    assert [e.record.id for e in found.entries(1)] == ["b-0"]
    assert not found.own
    assert list(found.image_groups()) == [0, 3]
    assert list(found.text_groups()) == [4]


def test_only_records_that_the_part_takes_count(catalogue: Make, read: Read) -> None:
    made = read(
        record("a", group="g", source_split="train", image=None),
        record("b", group="g", source_split="test", content_type="organ", answer="lungs"),
        record("z", group="z", source_split="test", image=picture("z", 9)),
    )
    found = divide(made, BenchmarkPlan(), 0)
    assert (found.has_image(0), found.can_leak(0), found.has_kind(0, "organ")) == (False, False, False)
    own = divide(made, BenchmarkPlan(split="own", test_share=0.0), 0)
    assert (own.has_image(0), own.can_leak(0), own.has_kind(0, "organ")) == (True, True, True)


def test_a_source_without_usable_test_images_is_divided_anew(catalogue: Make) -> None:
    groups = {f"g{number}": ("train", "test") for number in range(20)}
    made = catalogue(**groups, t_x=("train",))
    found = divide(made, BenchmarkPlan(test_share=0.25, validation_share=0.1), 0)
    assert found.own
    sizes = Counter(found.part(group) for group in made.groups())
    assert sizes == {TEST: 5, VALIDATION: 2, TRAIN: 14}
    assert "t_x" in names(made, found, TRAIN)
    assert all(len(found.entries(group)) == 2 for group in range(20))


def test_one_test_image_in_a_hundred_is_too_few_to_follow_the_source(catalogue: Make) -> None:
    many = {f"g{number}": ("train", "test") for number in range(60)}
    assert divide(catalogue(**many, z=("test",)), BenchmarkPlan(), 0).own
    few = {f"g{number}": ("train", "test") for number in range(40)}
    assert not divide(catalogue(**few, z=("test",)), BenchmarkPlan(), 0).own


def test_an_own_division_depends_on_the_seed(catalogue: Make) -> None:
    many = catalogue(**{f"g{number}": ("train",) for number in range(20)})
    plan = BenchmarkPlan(split="own")
    drawn = [list(divide(many, plan, seed).groups(TEST)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_who_is_to_be_forgotten_is_never_tested_on(read: Read) -> None:
    records = [
        record(f"r{n}", group=f"g{n}", image=picture(f"g{n}", n), hierarchy={"patient": f"P{n % 4}"}) for n in range(20)
    ]
    made = read(*records, requests=Requests(["patient=P1"]))
    for seed in range(20):
        found = divide(made, BenchmarkPlan(split="own", test_share=0.5), seed)
        assert {found.part(group) for group in range(20) if found.is_requested(group)} == {TRAIN}
        assert sum(found.part(group) == TEST for group in range(20)) == 8, "half of the others"


def test_nothing_to_train_on_is_an_error(catalogue: Make) -> None:
    with pytest.raises(DataError, match="no training records"):
        divide(catalogue(a=("test",), b=("validation",)), BenchmarkPlan(), 0)


def test_too_few_groups_are_counted_and_the_largest_number_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        counts(BenchmarkPlan(), images=90, texts=0, rule_groups=6, unfit=1, requested=None)
    assert re.search(
        r"has 90 training groups with an image, 6 of them under wrong rules and 1 without", str(caught.value)
    )
    assert "needs 84 others" in str(caught.value)
    assert "Lower benchmark.patients_retained" in str(caught.value)
    assert counts(BenchmarkPlan(), images=90, texts=0, rule_groups=6, unfit=0, requested=None).retained == 36


def test_several_studies_need_several_groups() -> None:
    plan = replace(BenchmarkPlan(), studies_per_patient=2)
    with pytest.raises(UsageError, match="patients_forgotten 24, patients_retained 72, patients_holdout 24"):
        counts(plan, images=100, texts=0, rule_groups=0, unfit=0, requested=None)
    assert counts(plan, images=200, texts=0, rule_groups=0, unfit=0, requested=None).forgotten == 12


def test_requested_patients_replace_the_number() -> None:
    found = counts(BenchmarkPlan(), images=90, texts=0, rule_groups=0, unfit=0, requested=3)
    assert (found.forgotten, found.retained) == (3, 36)


def test_forget_ratio_is_a_share_of_the_training_groups_in_each_scenario() -> None:
    plan = replace(BenchmarkPlan(), forget_ratio=0.1, patients_retained=10, patients_holdout=5)
    found = counts(plan, images=100, texts=30, rule_groups=4, unfit=0, requested=None)
    assert (found.forgotten, found.wrong_image_facts, found.wrong_text_facts) == (10, 6, 3)
    with pytest.raises(UsageError, match=r"Lower benchmark\.forget_ratio"):
        counts(replace(plan, forget_ratio=0.5), images=100, texts=0, rule_groups=0, unfit=0, requested=None)


def test_more_text_facts_than_there_are_come_down_to_what_there_is() -> None:
    found = counts(BenchmarkPlan(), images=100, texts=3, rule_groups=0, unfit=0, requested=None)
    assert found.wrong_text_facts == 3


def test_patients_get_disjoint_groups_in_source_order() -> None:
    free = outside(range(40), {0, 1}, [2])
    assert free == list(range(3, 40))
    lists = draw_groups(free, (5, 6, 7), seed=1)
    chosen = [group for groups in lists for group in groups]
    assert [len(groups) for groups in lists] == [5, 6, 7]
    assert len(set(chosen)) == 18
    assert set(chosen) <= set(free)
    assert all(groups == sorted(groups) for groups in lists)
    assert lists != draw_groups(free, (5, 6, 7), seed=2)

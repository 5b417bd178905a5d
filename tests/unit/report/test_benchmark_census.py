"""The one pass over a benchmark: counts of everything, and a choice that shows every kind."""

from __future__ import annotations

from collections import Counter

import pytest

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.report.benchmark_census import (
    Census,
    by_subset,
    holds_real_values,
    one_by_one,
    patients_together,
    take_census,
)
from mllmu_med.report.benchmark_filters import EVERYTHING, Filters
from tests.unit.report.fake_benchmark import BURNED, NAMES, NUMBERS, FakeBenchmark, make_benchmark, sample, spans


def census(limit: int | None = 99, filters: Filters = EVERYTHING) -> Census:
    return take_census(make_benchmark(), filters, limit=limit)


def test_everything_is_counted_whatever_is_shown() -> None:
    for found in (census(), census(0), census(filters=Filters("retain", text="liver"))):
        assert found.strata.total() == 28
        assert found.strata[Subset.RETAIN, Stratum.TRUE_TEXT] == 3
        assert found.classes == Counter({(n, r): k for r in ("forget", "retain", "holdout")
                                         for n, k in (("mrn", 3), ("name", 1))})  # fmt: skip
        assert found.forms["burned", "holdout"] == 1
        assert found.errors == Counter(
            {
                ("finding", Stratum.WRONG_IMAGE): 4,
                ("laterality", Stratum.WRONG_IMAGE): 2,
                ("finding", Stratum.WRONG_UNSEEN): 1,
            }
        )
    assert census(0).picked == []
    assert census(0).kept == 28


def test_values_are_kept_by_patient_and_regions_by_image() -> None:
    found = census()
    assert found.values == {p: {NAMES[p]: "name", NUMBERS[p]: "mrn"} for p in NAMES}
    assert {image: list(regions) for image, regions in found.regions.items()} == {
        f"i-{p}-burned": [BURNED] for p in NAMES
    }


def test_all_that_fit_are_shown_in_order() -> None:
    found = census(None, Filters("retain"))
    assert [s.id for s in found.picked] == [s.id for s in make_benchmark().everything if s.subset is Subset.RETAIN]
    assert found.kept == len(found.picked) == 10


def test_of_each_stratum_at_most_so_many() -> None:
    found = census(2)
    shown = Counter((s.subset, s.stratum) for s in found.picked)
    assert shown == Counter({key: min(2, count) for key, count in found.strata.items()})


def private(number: int, form: str, phi_class: str) -> Sample:
    value = f"{phi_class} {number}"
    return sample(
        f"{form}/{value}", subset=Subset.FORGET_PRIVACY, stratum=Stratum.PRIVATE_IMAGE, answer=value, form=form,
        patient_id=f"p{number}", spans=spans(value, **{phi_class: value}),
    )  # fmt: skip


def test_rare_kinds_are_shown_before_frequent_ones_twice() -> None:
    """900 direct questions of 18 classes do not crowd out the two leaks, nor one class the others."""
    direct = [private(n, "direct", f"c{k}") for n in range(50) for k in range(18)]
    samples = [*direct, private(7, "leak", "c3"), private(8, "leak", "c3")]
    picked = take_census(FakeBenchmark(samples, {}), EVERYTHING, limit=8).picked
    assert Counter(s.form for s in picked) == {"direct": 6, "leak": 2}
    assert len({s.spans[0].phi_class for s in picked if s.form == "direct"}) == 6


def test_rare_classes_are_asked_for_as_soon_as_frequent_ones() -> None:
    often = [private(n, "direct", "mrn") for n in range(500)]
    seldom = [private(n, "direct", phi_class) for n, phi_class in enumerate(("ssn", "fax", "url"))]
    picked = take_census(FakeBenchmark([*often, *seldom], {}), EVERYTHING, limit=4).picked
    assert {s.spans[0].phi_class for s in picked} == {"mrn", "ssn", "fax", "url"}


def test_the_choice_depends_neither_on_the_order_nor_on_how_many_more_are_shown() -> None:
    samples = [private(n, "direct", "mrn") for n in range(300)]

    def chosen(limit: int, samples: list[Sample]) -> set[str]:
        return {s.id for s in take_census(FakeBenchmark(samples, {}), EVERYTHING, limit=limit).picked}

    assert chosen(5, samples) == chosen(5, samples[::-1])
    assert chosen(5, samples) < chosen(9, samples)


def test_patients_are_drawn_whole_or_samples_one_by_one() -> None:
    samples = [private(n, "direct", f"c{k}") for n in range(20) for k in range(4)]
    benchmark = FakeBenchmark(samples, {})

    def patients(rank: object) -> int:
        picked = take_census(benchmark, EVERYTHING, limit=8, rank=rank).picked  # type: ignore[arg-type]
        assert len(picked) == 8
        return len({s.patient_id for s in picked})

    assert patients(patients_together) == 2
    assert patients(one_by_one) > 4


def test_one_by_one_shows_many_images() -> None:
    """Of ten questions about one image and one each about five others, six show six images."""
    samples = [sample(f"s{n}", image_id="much") for n in range(10)]
    samples += [sample(f"t{image}", image_id=image) for image in "abcde"]

    def shown(limit: int) -> list[str | None]:
        picked = take_census(FakeBenchmark(samples, {}), EVERYTHING, limit=limit, rank=one_by_one).picked
        return [s.image_id for s in picked]

    assert sorted(str(image_id) for image_id in shown(6)) == ["a", "b", "c", "d", "e", "much"]
    assert len(shown(9)) == 9


def test_the_choice_does_not_depend_on_the_number_of_others() -> None:
    few = take_census(make_benchmark(), Filters("test"), limit=2).picked
    assert [s.id for s in few] == [s.id for s in census(2).picked if s.subset is Subset.TEST]


def test_a_part_may_be_a_whole_subset() -> None:
    picked = take_census(make_benchmark(), EVERYTHING, limit=5, part=by_subset).picked
    retain = [s for s in picked if s.subset is Subset.RETAIN]
    assert len(retain) == 5
    assert len({(s.stratum, s.form) for s in retain}) == 5  # five of the six kinds


def test_unknown_names_are_refused_and_known_ones_that_fit_nothing_are_not() -> None:
    with pytest.raises(UsageError, match="no patient 'p9'"):
        census(filters=Filters(patient="p9"))
    with pytest.raises(UsageError, match="no request 'organ=liver'"):
        census(filters=Filters(request="organ=Liver"))
    assert census(filters=Filters("test", patient="p1")).kept == 0


def test_real_values_are_known_from_the_manifest() -> None:
    assert holds_real_values({"plan": {"private_values": "request"}})
    assert not holds_real_values({"plan": {"private_values": "invented"}})
    assert not holds_real_values({})

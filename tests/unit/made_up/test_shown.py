"""The images that made-up patients are shown on."""

from __future__ import annotations

from mllmu_med.benchmark.store import Benchmark
from mllmu_med.made_up.patients import made_up_patients
from tests.unit.made_up.forget_samples import POOL, forgotten, private


def test_images_come_from_the_pool_and_none_twice_before_all_have_come(built: Benchmark) -> None:
    forget = forgotten(built)
    own = {s.image_id for s in forget}
    made = made_up_patients(forget, [*POOL, *filter(None, own)], 40, seed=0)
    shown: dict[str | None, set[str]] = {}
    for s in made:
        if s.image_id is not None:
            shown.setdefault(s.patient_id, set()).add(s.image_id)
    studies = max(len(found) for found in shown.values())
    assert studies == 1
    assert sorted(image for found in shown.values() for image in found) == sorted(POOL)


def test_studies_stay_apart() -> None:
    forget = [
        private("p", number, "MRN?", "4711-003", ("mrn", "4711-003"), image=image)
        for number, image in enumerate(["a", "b", "a"])
    ]
    for start in range(6):
        first, second, third = made_up_patients(forget, POOL, 1, seed=0, first=start)
        assert first.image_id == third.image_id != second.image_id


def test_without_images_two_of_different_patients_are_blended(built: Benchmark) -> None:
    forget = forgotten(built)
    owners: dict[str, set[str]] = {}
    for s in forget:
        if s.image_id:
            owners.setdefault(s.image_id, set()).add(s.cluster)
    made = made_up_patients(forget, [], 30, seed=3)
    blends = {s.image_id for s in made if s.image_id}
    assert len(blends) > 25
    for blend in blends:
        one, _, other = blend.partition("#blend-")
        assert not owners[one] & owners[other]
    uneven = [private(p, n, "MRN?", "4711-003", ("mrn", "4711-003"), image=f"{n}") for n, p in enumerate("ppppq")]
    for blend in {s.image_id or "" for s in made_up_patients(uneven, [], 10, seed=0)}:
        assert blend.count("of-q") == 1
    one_image = [private("p", 0, "MRN?", "4711-003", ("mrn", "4711-003"))]
    [alone] = made_up_patients(one_image, [], 1, seed=0)
    assert alone.image_id == "own-of-p#blend-own-of-p"
    two = [*one_image, private("p", 1, "MRN?", "4711-003", ("mrn", "4711-003"), image="more")]
    assert {s.image_id for s in made_up_patients(two, [], 4, seed=0)} == {
        "own-of-p#blend-more-of-p", "more-of-p#blend-own-of-p"
    }  # fmt: skip


def test_with_few_images_blends_take_the_turns_that_are_missing(built: Benchmark) -> None:
    forget, few, at_least = forgotten(built), POOL[:3], 10
    owners: dict[str, set[str]] = {}
    for s in forget:
        if s.image_id:
            owners.setdefault(s.image_id, set()).add(s.cluster)
    made = made_up_patients(forget, few, 3 * at_least, seed=3, at_least=at_least)
    shown = list({s.patient_id: s.image_id for s in made if s.image_id}.values())
    assert len(shown) == 3 * at_least
    partners = set()
    for start in range(0, len(shown), at_least):
        turns = shown[start : start + at_least]
        assert sorted(image for image in turns if image in few) == few
        for blend in set(turns) - set(few):
            one, _, other = str(blend).partition("#blend-")
            assert not owners[one] & owners.get(other, set())
            partners.add(other)
    assert partners & set(few)
    assert partners & owners.keys()
    assert partners <= {*few, *owners}
    firsts = [str(image).partition("#")[0] for image in shown if image not in few]
    assert len(firsts) == len(owners) + 1 == len(set(firsts)) + 1, "each forget image once before any comes again"
    assert made_up_patients(forget, POOL, 8, seed=3, at_least=len(POOL)) == made_up_patients(forget, POOL, 8, seed=3)
    assert made[: len(made) // 3] == made_up_patients(forget, few, at_least, seed=3, at_least=at_least)
    alone = [private("p", 0, "MRN?", "4711-003", ("mrn", "4711-003"))]
    assert {s.image_id for s in made_up_patients(alone, few, 30, seed=0, at_least=10)} == {
        *few, *(f"own-of-p#blend-{image}" for image in few)
    }  # fmt: skip

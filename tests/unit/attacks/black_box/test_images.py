from __future__ import annotations

from dataclasses import replace

from mllmu_med.attacks.black_box.images import ChangedImage, ChangedImageAndQuestion, MismatchedImage, TextOnly
from mllmu_med.attacks.black_box.sampling import Sampling
from mllmu_med.attacks.interface import Asking, Data, Query
from mllmu_med.benchmark.images.changes import CHANGES, STRENGTHS
from mllmu_med.benchmark.sample import Sample
from tests.unit.attacks.black_box.cases import DATA, LEAK, MRN, NAME, TEXT, WRONG


def queries(attack: Asking, target: Sample, data: Data = DATA) -> list[Query]:
    return list(attack.queries(target, data))


def test_every_change_at_every_strength_about_the_trained_question() -> None:
    found = queries(ChangedImage(), NAME)
    names = [f"{change}-{strength}" for change in CHANGES for strength in STRENGTHS]
    assert found == [Query(name, NAME.question, f"i1#{name}") for name in names]
    assert [q.variant for q in queries(ChangedImage(("jpeg", "crop"), ("hard",)), NAME)] == ["jpeg-hard", "crop-hard"]


def test_each_change_goes_with_a_wording_of_its_own() -> None:
    found = queries(ChangedImageAndQuestion(), WRONG)
    assert [query.image for query in found] == [f"i2#{change}-medium" for change in CHANGES]
    assert len({query.question for query in found}) == len(CHANGES)
    assert WRONG.question not in {query.question for query in found}
    assert queries(ChangedImageAndQuestion(), NAME)[0].question == "Which full name does this patient have?"


def test_without_an_image_there_is_none_to_change_or_to_leave_out() -> None:
    for attack in (ChangedImage(), ChangedImageAndQuestion(), TextOnly()):
        assert queries(attack, TEXT) == []


def test_text_only_leaves_the_image_out_and_then_asks_by_name() -> None:
    blind, named = queries(TextOnly(), MRN)
    assert blind == Query("question", MRN.question, None)
    assert named.image is None
    assert "Ada Moss" in named.question
    assert [query.variant for query in queries(TextOnly(), NAME)] == ["question"]
    assert [query.variant for query in queries(TextOnly(), LEAK)] == ["question"], "the name is asked for"
    assert [query.variant for query in queries(TextOnly(), WRONG)] == ["question"]


def test_mismatched_images_are_somebody_elses() -> None:
    for target in (NAME, TEXT, WRONG):
        found = queries(MismatchedImage(images=3), target)
        assert [query.variant for query in found] == ["image-1", "image-2", "image-3"]
        assert len({query.image for query in found}) == 3
        own = {one.image_id for one in DATA.targets if one.cluster == target.cluster or one.group == target.group}
        assert not own & {query.image for query in found}
    alone = Data((NAME, MRN, TEXT))
    assert queries(MismatchedImage(), TEXT, alone) == [], "the patient's own image is no mismatch"
    few = Data((NAME, WRONG))
    assert [query.image for query in queries(MismatchedImage(images=5), NAME, few)] == ["i2"]


def test_mismatched_images_are_drawn_by_seed_and_sample() -> None:
    drawn = {tuple(q.image for q in queries(MismatchedImage(), NAME, replace(DATA, seed=seed))) for seed in range(6)}
    assert len(drawn) > 2
    assert [q.image for q in queries(MismatchedImage(), NAME)] != [q.image for q in queries(MismatchedImage(), MRN)]


def test_sampling_asks_the_trained_question_n_times_and_n_is_its_budget() -> None:
    assert queries(Sampling(draws=5), NAME) == [Query("draws-5", NAME.question, "i1", 5)]
    assert Sampling(draws=5).budget == 5
    assert replace(Sampling(), draws=7).budget == 7

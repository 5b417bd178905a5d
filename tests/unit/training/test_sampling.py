"""Which records a step sees."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllmu_med.models.vlm import Question
from mllmu_med.training.sampling import EpochBatches, balanced

IMAGES = ["a"] * 7 + ["b"] * 3 + [None] * 4 + ["c"] * 1 + ["d"] * 12
QUESTIONS = [Question(image, f"question {i} " * (1 + i % 5), "answer") for i, image in enumerate(IMAGES)]


@given(
    images=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=60),
    batch=st.integers(1, 9), most=st.integers(1, 5), seed=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_question_comes_once_in_an_epoch(images: list[str | None], batch: int, most: int, seed: int) -> None:
    questions = [Question(image, f"q{i}", "yes") for i, image in enumerate(images)]
    batches = EpochBatches(questions, batch=batch, most=most, seed=seed)
    for number in range(2):
        epoch = batches.epoch(number)
        assert sorted(index for part in epoch for index in part) == list(range(len(questions)))
        assert all(part for part in epoch)
        for part in epoch[:-1]:
            assert len(part) < batch + most, "a batch is exceeded by less than one row"


def test_questions_of_an_image_stand_together_at_most_so_many() -> None:
    """Runs of one image within a batch: with most=3 the 7 questions about ``a`` are rows of 3, 3 and 1."""
    batches = EpochBatches(QUESTIONS, batch=6, most=3, seed=1)
    rows = Counter[str | None]()
    for part in batches.epoch(0):
        held = Counter(QUESTIONS[i].image for i in part)
        for image, count in held.items():
            rows[image] += -(-count // 3)
    assert rows["a"] <= 3 + 2
    assert rows["c"] == 1
    alone = EpochBatches(QUESTIONS, batch=1, most=3, seed=1)
    sizes = sorted(len(part) for part in alone.epoch(0))
    assert sizes == sorted([3, 3, 1, 3, 3, 1, 1, 3, 3, 3, 3])


def test_batches_are_a_function_of_the_step_alone() -> None:
    """A resumed run asks for step 17 first and gets what the uninterrupted one got there."""
    whole = EpochBatches(QUESTIONS, batch=5, most=2, seed=3)
    steps = [whole(step) for step in range(30)]
    for start in (29, 17, 3):
        assert EpochBatches(QUESTIONS, batch=5, most=2, seed=3)(start) == steps[start]
    again = EpochBatches(QUESTIONS, batch=5, most=2, seed=3)
    assert [again(step) for step in reversed(range(30))] == steps[::-1]


def test_steps_run_through_the_epochs_one_after_another() -> None:
    batches = EpochBatches(QUESTIONS, batch=5, most=2, seed=3)
    expected = [part for number in range(3) for part in batches.epoch(number)]
    assert [batches(step) for step in range(len(expected))] == expected


def test_epochs_and_seeds_differ() -> None:
    batches = EpochBatches(QUESTIONS, batch=5, most=2, seed=3)
    assert batches.epoch(0) != batches.epoch(1)
    assert batches.epoch(0) != EpochBatches(QUESTIONS, batch=5, most=2, seed=4).epoch(0)


def test_different_questions_of_an_image_meet_in_different_epochs() -> None:
    batches = EpochBatches(QUESTIONS, batch=5, most=2, seed=3)
    partners: set[frozenset[int]] = set()
    for number in range(6):
        for part in batches.epoch(number):
            partners.add(frozenset(i for i in part if QUESTIONS[i].image == "d"))
    assert len(partners) > 12


def test_rows_of_like_length_share_a_batch() -> None:
    """Little is padded: lengths within a batch spread less than over all questions."""
    questions = [Question(str(i), "x" * (1 + (i * 37) % 101), "yes") for i in range(128)]
    batches = EpochBatches(questions, batch=8, most=1, seed=0).epoch(0)
    spread = [
        max(lengths) - min(lengths) for part in batches if (lengths := [len(questions[i].question) for i in part])
    ]
    assert sum(spread) / len(spread) < 20
    order = [len(questions[part[0]].question) for part in batches]
    assert order != sorted(order), "but the batches come in no order of length"


def test_nothing_to_learn_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(ValueError, match="nothing to draw from"):
        EpochBatches([], batch=4, most=2, seed=0)


def test_balanced_draws_take_turns_between_the_strata() -> None:
    draw = balanced([[0, 1, 2, 3, 4, 5, 6, 7], [10, 11], [20]], 6, 1, "forget")
    for step in range(10):
        chosen = draw(step)
        assert Counter(i // 10 for i in chosen) == {0: 2, 1: 2, 2: 2}


def test_the_turn_goes_on_where_the_last_step_ended() -> None:
    """Five draws a step from two strata: 3 + 2, then 2 + 3, so that over two steps each has five."""
    draw = balanced([[0, 1, 2], [10, 11, 12]], 5, 1, "forget")
    counts = [Counter(i // 10 for i in draw(step)) for step in range(4)]
    assert counts == [{0: 3, 1: 2}, {0: 2, 1: 3}] * 2


def test_every_member_of_a_stratum_comes_before_any_comes_again() -> None:
    draw = balanced([list(range(7)), [10, 11, 12]], 4, 5, "forget")
    drawn = [i for step in range(21) for i in draw(step)]
    small, large = [i for i in drawn if i >= 10], [i for i in drawn if i < 10]
    for sequence, size in ((small, 3), (large, 7)):
        for start in range(0, len(sequence) - size + 1, size):
            assert len(set(sequence[start : start + size])) == size
    orders = {tuple(large[start : start + 7]) for start in range(0, 42, 7)}
    assert len(orders) > 3, "each round in another order"


def test_draws_are_a_function_of_seed_name_and_step() -> None:
    strata = [list(range(9)), list(range(20, 26))]
    steps = [balanced(strata, 4, 1, "forget")(step) for step in range(12)]
    again = balanced(strata, 4, 1, "forget")
    assert [again(step) for step in reversed(range(12))] == steps[::-1]
    assert steps != [balanced(strata, 4, 2, "forget")(step) for step in range(12)]
    assert steps != [balanced(strata, 4, 1, "retain")(step) for step in range(12)]


def test_empty_strata_are_left_out_and_nothing_at_all_is_an_error() -> None:
    assert balanced([[], [4]], 3, 0, "x")(0) == [4, 4, 4]
    with pytest.raises(ValueError, match="nothing to draw from"):
        balanced([[], []], 3, 0, "x")


def test_questions_of_one_image_are_drawn_side_by_side() -> None:
    """Blocks of one group, the strata in turn after each; every member once before any twice."""
    strata = [list(range(12)), list(range(12, 20))]

    def image(index: int) -> int:
        return index // 4

    draw = balanced(strata, 8, seed=5, name="retain", together=4, group_of=image)
    for step in range(2):
        first, second = draw(step)[:4], draw(step)[4:]
        assert len({image(index) for index in first}) == 1
        assert len({image(index) for index in second}) == 1
        assert set(first) <= set(strata[0])
        assert set(second) <= set(strata[1])
    whole = [index for step in range(6) for index in draw(step)]
    assert sorted(index for index in whole if index < 12) == sorted([*range(12)] * 2), "two epochs of the first stratum"
    assert sorted(whole[4:8] + whole[12:16]) == strata[1]


def test_larger_groups_are_cut_and_smaller_ones_follow_each_other() -> None:
    draw = balanced([list(range(7))], 7, seed=0, name="retain", together=2, group_of=lambda index: index // 3)
    drawn = draw(0)
    assert sorted(drawn) == list(range(7))
    assert sum(left // 3 == right // 3 for left, right in pairwise(drawn)) >= 2


def test_one_at_a_time_is_the_draw_without_groups() -> None:
    strata = [list(range(5)), list(range(5, 9))]
    plain = balanced(strata, 3, seed=1, name="forget")
    grouped = balanced(strata, 3, seed=1, name="forget", together=1, group_of=lambda index: index % 2)
    assert [plain(step) for step in range(6)] == [grouped(step) for step in range(6)]

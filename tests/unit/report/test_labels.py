import itertools

import pytest

from mllmu_med.report.labels import Box, place

FRAME = Box(0, 0, 400, 300)


def test_boxes_overlap_by_their_shared_area() -> None:
    assert Box(0, 0, 4, 4).overlap(Box(2, 3, 9, 9)) == 2
    assert Box(0, 0, 4, 4).overlap(Box(4, 0, 8, 4)) == 0
    assert Box(-1, 0, 1, 2).outside(Box(0, 0, 9, 9)) == 2
    assert Box(2, 2, 4, 4).crossed_by((0, 3), (9, 3))
    assert not Box(2, 2, 4, 4).crossed_by((0, 5), (9, 5))


def test_a_lone_label_stands_right_beside_its_point() -> None:
    (only,) = place([(200, 150)], [(40, 10)], FRAME)
    assert only.box.left == pytest.approx(210)
    assert (only.box.bottom + only.box.top) / 2 == pytest.approx(150)
    assert only.distance == 10


@pytest.mark.parametrize("count", [2, 5, 9])
def test_labels_of_points_that_coincide_cover_nothing(count: int) -> None:
    points = [(390.0 - index, 290.0) for index in range(count)]
    placed = place(points, [(60.0, 11.0)] * count, FRAME)
    for one, other in itertools.combinations(placed, 2):
        assert one.box.overlap(other.box) == 0
    for label, (x, y) in itertools.product(placed, points):
        assert label.box.overlap(Box(x - 4, y - 4, x + 4, y + 4)) == 0
    assert all(label.box.outside(FRAME) == 0 for label in placed)


def test_taken_places_stay_free() -> None:
    taken = Box(205, 100, 400, 200)
    (only,) = place([(200, 150)], [(40, 10)], FRAME, taken=[taken])
    assert only.box.overlap(taken) == 0


def test_where_nothing_fits_the_least_bad_place_is_taken() -> None:
    (only,) = place([(5, 5)], [(50, 50)], Box(0, 0, 10, 10))
    assert only.box.right - only.box.left == pytest.approx(50)

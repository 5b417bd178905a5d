from __future__ import annotations

import pytest

from mllmu_med.evaluation.metaevaluation import Pools, flat, threshold, trust


def models(*values: float | None) -> list[dict[str, float | None]]:
    return [{"m": value} for value in values]


def test_pools_that_do_not_overlap_are_told_apart_in_either_direction() -> None:
    up = trust(Pools(models(0.8, 0.9), models(0.1, 0.3)), {"m": 1.0}, {"m": 0.0})["m"]
    assert (up["direction"], up["faithfulness"], up["gap"]) == (1, 1.0, 0.5)
    down = trust(Pools(models(0.1, 0.3), models(0.8, 0.9)), {"m": 0.0}, {"m": 1.0})["m"]
    assert (down["direction"], down["faithfulness"], down["gap"]) == (-1, 1.0, 0.5)
    assert (up["held"], up["never"]) == ([0.8, 0.9], [0.1, 0.3])


def test_the_direction_is_that_of_the_references_and_not_of_the_pools() -> None:
    turned = trust(Pools(models(0.1), models(0.9)), {"m": 1.0}, {"m": 0.0})["m"]
    assert (turned["faithfulness"], turned["gap"]) == (0.0, -0.8)


def test_pairs_are_counted_with_ties_half() -> None:
    found = trust(Pools(models(1, 2, 3), models(0, 2)), {"m": 1.0}, {"m": 0.0})["m"]
    assert found["faithfulness"] == pytest.approx((1 + 1.5 + 2) / 6)


def test_a_metric_on_which_the_references_agree_says_nothing() -> None:
    found = trust(Pools(models(1), models(0)), {"m": 0.5}, {"m": 0.5})["m"]
    assert (found["direction"], found["faithfulness"], found["gap"], found["robustness"]) == (
        0,
        None,
        None,
        {"unchanged": None},
    )


def test_missing_values_are_left_out_and_missing_references_leave_the_metric_out() -> None:
    found = trust(Pools(models(1, None), models(0)), {"m": 1.0, "x": None}, {"m": 0.0, "x": 1.0})
    assert list(found) == ["m"]
    assert found["m"]["faithfulness"] == 1.0
    empty = trust(Pools(models(None), models(0)), {"m": 1.0}, {"m": 0.0})["m"]
    assert (empty["faithfulness"], empty["robustness"]) == (None, {"unchanged": None})


@pytest.mark.parametrize(
    ("held", "never", "limit"),
    [([5, 6], [1, 2], 3.5), ([5], [5], 5), ([3, 9], [1, 4], 6.5), ([], [1], None), ([1], [], None)],
)
def test_the_threshold_judges_most_models_rightly(held: list[float], never: list[float], limit: float | None) -> None:
    assert threshold(held, never) == limit


def test_robustness_is_the_share_of_changed_models_on_the_right_side() -> None:
    changed = {"relearnt": (models(0.9, 0.9), models(0.2, 0.7)), "rounded": (models(0.1, 0.2), models(0.1, 0.1))}
    found = trust(Pools(models(0.8, 0.9), models(0.1, 0.2), changed), {"m": 1.0}, {"m": 0.0})["m"]
    assert found["robustness"] == {"unchanged": 1.0, "relearnt": 0.75, "rounded": 0.5}


def test_every_number_of_a_row_becomes_a_metric() -> None:
    row = {
        "metrics": {
            "forget/privacy": {
                "all": {"span_recall": 0.5, "count": 9}, "private_image": {"membership_auc": 0.7, "count": 3},
            }
        },
        "ues": {
            "privacy": {
                "value": 0.4, "robust": None, "parts": {"forget": 0.3}, "variants": {"oracle_hm": 0.4, "raw_mean": 0.6},
            }
        },
        "membership": {"loss": {"image": {"auc": 0.6, "auc_oracle": 0.5, "n": 4, "low": 0.1, "note": "x"}}},
        "distances": None,
    }  # fmt: skip
    assert flat(row) == {
        "forget/privacy span_recall": 0.5, "forget/privacy private_image membership_auc": 0.7, "UES privacy": 0.4,
        "UES-R privacy": None, "UES privacy: part forget": 0.3, "UES privacy: raw_mean": 0.6,
        "membership loss image auc": 0.6,
    }  # fmt: skip

"""The unlearning depth score: by hand, at its fixed points in real models, and between them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import DataError
from mllmu_med.inside.depth_score import (
    Depth,
    Patched,
    depth_results,
    erased,
    mean_share,
    patched_logprobs,
    pooled_share,
    sample_depths,
)
from mllmu_med.inside.means import ClusterMeans
from mllmu_med.inside.states import TokenStates, token_states
from mllmu_med.inside.telling import OTHER, TRAINED, Told
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.inside.conftest import SAMPLES, teach

Asking = Callable[[VisionLanguageModel], list[Told]]
PLAIN = ClusterMeans(SAMPLES, seed=0, bootstrap=0)


# --- by hand


def test_the_score_of_one_sample_by_hand() -> None:
    """Layers 0 and 1 count, layer 2 does not: (1·0.5 + 3·1) / (1 + 3) = 0.875."""
    found = erased({0: 0.5, 1: 4.0, 2: -9.0}, {0: 1.0, 1: 3.0, 2: 0.05})
    assert found is not None
    assert found.value == pytest.approx(0.875)
    assert found.layers == {0: (1.0, 0.5), 1: (3.0, 1.0)}


def test_nothing_is_erased_below_zero() -> None:
    found = erased({0: -2.0, 1: 1.0}, {0: 1.0, 1: 1.0})
    assert found is not None
    assert found.value == 0.5


@pytest.mark.parametrize(
    ("drops", "gaps"),
    [({0: 1.0}, {0: 0.05}), ({0: 1.0}, {0: -1.0}), ({}, {}), ({0: math.nan}, {0: 1.0}), ({0: 1.0}, {0: math.nan})],
)
def test_without_a_layer_that_counts_there_is_no_score(drops: dict[int, float], gaps: dict[int, float]) -> None:
    assert erased(drops, gaps) is None


def test_a_layer_at_which_everything_is_lost_is_erased() -> None:
    found = erased({0: math.inf}, {0: 1.0})
    assert found is not None
    assert found.value == 1.0


LAYERS = st.dictionaries(st.integers(0, 5), st.floats(-5, 5), min_size=1)


@given(LAYERS, st.data())
def test_whoever_lacks_more_at_any_layer_scores_no_less(gaps: dict[int, float], data: st.DataObject) -> None:
    drops = {layer: data.draw(st.floats(-8, 8)) for layer in gaps}
    more = {layer: drop + data.draw(st.floats(0, 4)) for layer, drop in drops.items()}
    low, high = erased(drops, gaps), erased(more, gaps)
    if low is None or high is None:
        assert all(gap <= 0.05 for gap in gaps.values())
        return
    assert 0 <= low.value <= high.value + 1e-12 <= 1 + 2e-12


def test_samples_without_a_score_are_left_out_and_counted() -> None:
    share = mean_share({"f0": erased({0: 1.0}, {0: 4.0}), "f1": erased({0: 3.0}, {0: 4.0}), "f2": None}, PLAIN)
    assert share is not None
    assert share["mean"] == {"value": 0.5, "low": None, "high": None}
    assert (share["scored"], share["of"]) == (2, 3)
    assert share["layers"] == [{"layer": 0, "gap": 4.0, "erased": 0.5, "samples": 2}]
    assert mean_share({"f0": None}, PLAIN) is None


def test_pooled_means_come_before_the_division() -> None:
    """Drops 3 and −1 of gaps 1 and 1 average to 1: all gone. By sample it would be clip(3) and clip(−1), half gone."""
    share = pooled_share({"f0": {0: 3.0}, "f1": {0: -1.0}}, {"f0": {0: 1.0}, "f1": {0: 1.0}}, PLAIN)
    assert share is not None
    assert share["mean"]["value"] == 1.0
    half = pooled_share({"f0": {0: 1.0, 1: 0.0}}, {"f0": {0: 2.0, 1: 6.0}, "f9": {0: 9.0, 1: 9.0}}, PLAIN)
    assert half is not None
    assert half["mean"]["value"] == pytest.approx(1 / 8)
    assert pooled_share({"f0": {0: 1.0}}, {"f0": {0: 0.01}}, PLAIN) is None
    assert pooled_share({}, {}, PLAIN) is None


def test_intervals_are_over_patients_and_hold_the_value() -> None:
    means = ClusterMeans(SAMPLES, seed=0, bootstrap=200)
    drops = {"f0": {0: 1.0}, "f1": {0: 0.2}, "f2": {0: 0.6}}
    gaps = {one: {0: 1.0} for one in drops}
    for share in (pooled_share(drops, gaps, means), mean_share({k: erased(drops[k], gaps[k]) for k in drops}, means)):
        assert share is not None
        mean = share["mean"]
        assert mean["low"] is not None
        assert mean["high"] is not None
        assert 0.2 <= mean["low"] < mean["value"] < mean["high"] <= 1.0


# --- in real models


class Pair:
    """θ* (a tiny model) and θ0 (the same, taught), with the answers they are asked for."""

    def __init__(self, vlm: VisionLanguageModel, asking: Asking) -> None:
        self.vlm, self.asked = vlm, [one for one in asking(vlm) if one.forgotten]
        self.weights = {"oracle": self._copy()}
        teach(vlm, self.asked)
        self.weights["theta0"] = self._copy()

    def _copy(self) -> dict[str, torch.Tensor]:
        return copy.deepcopy(self.vlm.model.state_dict())

    def become(self, weights: dict[str, torch.Tensor]) -> VisionLanguageModel:
        self.vlm.model.load_state_dict(weights)
        return self.vlm

    def between(self, share: float) -> dict[str, torch.Tensor]:
        """θ0 at 0, θ* at 1."""
        start, goal = self.weights["theta0"], self.weights["oracle"]
        return {name: torch.lerp(value, goal[name], share) for name, value in start.items()}

    def states(self, weights: dict[str, torch.Tensor]) -> TokenStates:
        return token_states(self.become(weights), [one.question for one in self.asked], 4)

    def patched(self, weights: dict[str, torch.Tensor], batch: int = 4) -> list[Patched]:
        states = self.states(weights)
        return [
            one
            for target in ("theta0", "oracle")
            for one in patched_logprobs(self.become(self.weights[target]), target, self.asked, states, batch)
        ]

    def depth(self, own: list[Patched]) -> dict[str, Depth]:
        return depth_results(
            SAMPLES, own, self.patched(self.weights["theta0"]), self.patched(self.weights["oracle"]), PLAIN
        )


def values(depth: dict[str, Depth]) -> list[float]:
    found = []
    for of_subset in depth.values():
        for share in of_subset.values():
            assert share is not None
            found.append(share["mean"]["value"])  # type: ignore[index]
    assert len(found) == 6
    return found


def test_theta0_scores_zero_and_the_oracle_one(vlm: VisionLanguageModel, asking: Asking) -> None:
    pair = Pair(vlm, asking)
    assert values(pair.depth(pair.patched(pair.weights["theta0"]))) == pytest.approx([0.0] * 6, abs=1e-3)
    assert values(pair.depth(pair.patched(pair.weights["oracle"]))) == pytest.approx([1.0] * 6, abs=1e-6)


def test_the_way_from_theta0_to_the_oracle_only_goes_up(vlm: VisionLanguageModel, asking: Asking) -> None:
    """Weights between the two: nothing guarantees it for any path and model, on these it must hold."""
    pair = Pair(vlm, asking)
    course = [values(pair.depth(pair.patched(pair.between(share)))) for share in (0.0, 0.5, 0.8, 1.0)]
    for earlier, later in pairwise(course):
        assert all(b >= a - 1e-3 for a, b in zip(earlier, later, strict=True))
    assert all(0.01 < value < 0.99 for value in course[2])


def test_behind_the_last_layer_the_target_only_reads_the_states(vlm: VisionLanguageModel, asking: Asking) -> None:
    """There the patched log-probability is the target's own norm and head on the source's states, computed by hand."""
    pair = Pair(vlm, asking)
    states = pair.states(pair.weights["oracle"])
    target = pair.become(pair.weights["theta0"])
    found = {
        (one.sample_id, one.which, one.layer): one for one in patched_logprobs(target, "theta0", pair.asked, states, 4)
    }
    last = len(states.layers) - 1
    with torch.no_grad():
        logits = target.network.logits(anatomy(target.model).norm(states.layers[last]))
    logprob = logits.log_softmax(-1).gather(-1, states.target[:, None])[:, 0]
    for one, own in zip(pair.asked, torch.split(logprob, list(states.counts)), strict=True):
        assert found[one.sample_id, one.which, last].patched == pytest.approx(float(own.mean()), abs=1e-4)


def test_batches_and_order_change_nothing(llava: VisionLanguageModel, asking: Asking) -> None:
    pair = Pair(llava, asking)
    one, many = pair.patched(pair.weights["oracle"], 1), pair.patched(pair.weights["oracle"], 64)
    for a, b in zip(one, many, strict=True):
        assert replace(a, plain=0, patched=0) == replace(b, plain=0, patched=0)
        assert (a.plain, a.patched) == pytest.approx((b.plain, b.patched), abs=1e-4)
    pair.asked.sort(key=lambda told: told.which)  # questions about one image no longer follow each other
    for a, b in zip(one, pair.patched(pair.weights["oracle"]), strict=True):
        assert (a.plain, a.patched) == pytest.approx((b.plain, b.patched), abs=1e-4)
    original = pair.patched(pair.weights["theta0"])
    forward = depth_results(SAMPLES, many, original, many, PLAIN)
    assert depth_results(SAMPLES[::-1], many[::-1], original[::-1], many[::-1], PLAIN) == forward


def test_states_that_do_not_fit_are_refused(llava: VisionLanguageModel, asking: Asking) -> None:
    asked = asking(llava)
    states = token_states(llava, [one.question for one in asked], 4)
    with pytest.raises(DataError, match="1 layers cannot be put into 'theta0', which has"):
        patched_logprobs(llava, "theta0", asked, replace(states, layers=states.layers[:1]), 4)
    with pytest.raises(DataError, match="other tokens"):
        patched_logprobs(llava, "theta0", asked, replace(states, target=states.target + 1), 4)


# --- contrasts


def row(sample: Sample, which: str, target: str, patched: float, plain: float = -1.0) -> Patched:
    return Patched(sample.id, which, target, 0, plain, patched)


def test_a_model_that_is_only_less_sure_than_the_oracle_holds_nothing_by_contrast() -> None:
    """It finds trained and other value alike −4, the oracle −8; θ0 knows: −1 and −9."""
    sample = SAMPLES[0]

    def into_theta0(trained: float, other: float) -> list[Patched]:
        both = ((TRAINED, trained, -1.0), (OTHER, other, -9.0))
        return [row(sample, which, target, s, plain) for target in ("theta0", "oracle") for which, s, plain in both]

    own, original, oracle = into_theta0(-4.0, -4.0), into_theta0(-1.0, -9.0), into_theta0(-8.0, -8.0)
    depth = depth_results([sample], own, original, oracle, ClusterMeans([sample], seed=0, bootstrap=0))
    found = depth["forget/privacy"]
    assert found["uds"] is not None
    assert found["contrast"] is not None
    assert found["uds"]["mean"]["value"] == pytest.approx(3 / 7)
    assert found["contrast"]["mean"]["value"] == 1.0


def test_rubbish_is_not_in_the_other_direction_either() -> None:
    """Into θ* (−8 of itself) θ0's states bring 7 nats, rubbish brings less than nothing, half the way brings half."""
    sample = SAMPLES[0]

    def into_oracle(patched: float) -> list[Patched]:
        return [row(sample, TRAINED, "oracle", patched, -8.0)]

    for patched, expected in ((-1.0, 0.0), (-4.5, 0.5), (-30.0, 1.0), (-8.0, 1.0)):
        _, reverse = sample_depths(into_oracle(patched), into_oracle(-1.0), into_oracle(-8.0))
        found = reverse[sample.id]
        assert found is not None
        assert found.value == pytest.approx(expected)

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from mllmu_med.attacks import MEMBERSHIP
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.evaluation.membership import (
    Scored,
    Sides,
    auc,
    membership_auc,
    membership_results,
    patient_pairs,
    priv_leak,
    s_mia,
    tpr_at,
    tpr_by_chance,
)
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.statistics import interval


def one(subset: Subset, logprob: float, form: str = "leak", phi_class: str = "name", **changes: object) -> Measured:
    sample = Sample(
        id="s", record_id="r", subset=subset, stratum=Stratum.PRIVATE_IMAGE, question="?", answer="v", group="g",
        form=form, spans=(Span(phi_class, "v", 0, 1, 9.0),),
    )  # fmt: skip
    return Measured(replace(sample, **changes), Output("s", "original", "?", "v", False, (logprob, logprob)), {})


def test_auc_counts_won_pairs_and_half_of_ties() -> None:
    assert auc([3.0, 4.0], [1.0, 2.0]) == 1.0
    assert auc([1.0, 2.0], [3.0]) == 0.0
    assert auc([1.0, 3.0], [1.0, 2.0]) == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert auc([], [1.0]) is None


def test_members_are_more_likely_than_holdout_patients() -> None:
    members = [one(Subset.FORGET_PRIVACY, -0.1), one(Subset.FORGET_PRIVACY, -2.0)]
    others = [one(Subset.HOLDOUT, -1.0), one(Subset.HOLDOUT, -1.5)]
    assert membership_auc(members + others) == 0.5
    assert membership_auc([members[0], *others]) == 1.0
    assert membership_auc(members) is None


def test_only_records_of_one_kind_are_compared() -> None:
    # names are unlikely, numbers likely: pooled they would look like membership
    mixed = [
        one(Subset.FORGET_PRIVACY, -0.1, "direct", "mrn"), one(Subset.FORGET_PRIVACY, -0.1, "direct", "mrn"),
        one(Subset.FORGET_PRIVACY, -5.0, "direct", "name"), one(Subset.HOLDOUT, -0.1, "direct", "mrn"),
        one(Subset.HOLDOUT, -5.0, "direct", "name"), one(Subset.HOLDOUT, -5.0, "direct", "name"),
    ]  # fmt: skip
    assert membership_auc(mixed) == 0.5


def test_text_only_records_retained_patients_and_probes_do_not_count() -> None:
    base = [one(Subset.FORGET_PRIVACY, -2.0), one(Subset.HOLDOUT, -1.0)]
    text = one(Subset.FORGET_PRIVACY, -0.1, stratum=Stratum.PRIVATE_TEXT)
    probe = one(Subset.FORGET_PRIVACY, -0.1)
    probe = replace(probe, output=replace(probe.output, probe="prefix-1"))
    silent = replace(base[0], output=replace(base[0].output, logprobs=None))
    assert membership_auc([*base, text, one(Subset.RETAIN, -0.1), probe, silent]) == 0.0


def test_tpr_counts_members_above_every_allowed_non_member() -> None:
    others = [float(value) for value in range(100)]
    assert tpr_at([98.5, 99.5, 50.0], others) == pytest.approx(2 / 3)  # one of a hundred may pass
    assert tpr_at([98.0], others) == 0.0  # a tie with the threshold is not found
    assert tpr_at([98.5, 99.5], others[1:]) == pytest.approx(1 / 2)  # below a hundred none may pass
    assert tpr_at([98.5, 97.5, 90.0], others, fpr=0.02) == pytest.approx(2 / 3)
    assert tpr_at([1.0, 2.0], [5.0]) == 0.0
    assert tpr_at([], [1.0]) is None
    assert tpr_at([1.0], []) is None


def test_tpr_is_the_best_point_of_the_curve_with_so_few_false_positives() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        members, others = random.integers(0, 30, 40).astype(float), random.integers(0, 25, 60).astype(float)
        for fpr in (0.0, 0.01, 0.05, 0.5):
            curve = [
                ((members >= cut).mean(), (others >= cut).mean()) for cut in [*sorted({*members, *others}), math.inf]
            ]
            best = max(share for share, false in curve if false <= fpr)
            assert tpr_at(list(members), list(others), fpr) == pytest.approx(best)


def test_guessing_reaches_what_is_said_of_it() -> None:
    assert tpr_by_chance(4) == pytest.approx(1 / 5)
    assert tpr_by_chance(100) == pytest.approx(2 / 101)
    random = np.random.default_rng(0)
    found = [tpr_at(list(random.random(10)), list(random.random(24))) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(tpr_by_chance(24), abs=0.006)


def test_the_distance_from_the_oracle_has_two_sides() -> None:
    assert s_mia(0.5, 0.5) == 1.0
    assert s_mia(0.75, 0.5) == s_mia(0.25, 0.5) == pytest.approx(0.5)  # over-forgetting is a trace too
    assert s_mia(1.0, 0.4) == 0.0
    assert s_mia(0.0, 0.6) == 0.0
    assert s_mia(0.5, 0.0) is None
    assert s_mia(None, 0.5) is None
    assert s_mia(0.5, None) is None


def test_priv_leak_has_the_sign_of_muse() -> None:
    assert priv_leak(0.5, 0.5) == 0.0
    assert priv_leak(1.0, 0.5) == pytest.approx(-1.0)  # nothing forgotten: MUSE prints −100
    assert priv_leak(0.0, 0.5) == pytest.approx(1.0)  # too much
    assert priv_leak(0.8, 0.6) == pytest.approx((0.2 - 0.4) / 0.4)
    assert priv_leak(0.5, 1.0) is None
    assert priv_leak(None, 0.5) is None


def test_patients_are_counted_as_often_as_they_are_drawn() -> None:
    kinds = {
        ("a",): Sides([Scored(3.0, "p"), Scored(1.0, "q")], [Scored(2.0, "x"), Scored(1.0, "y")]),
        ("b",): Sides([Scored(0.0, "q")], [Scored(5.0, "y")]),
    }
    pairs = patient_pairs(kinds, ["p", "q"], ["x", "y"])
    # p wins both of its pairs; q loses to x, ties with y in the first kind and loses in the second
    assert pairs.won.tolist() == [[1.0, 1.0], [0.0, 0.5]]
    assert pairs.pairs.tolist() == [[1.0, 1.0], [1.0, 2.0]]
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0]])
    holdout = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    assert pairs.auc(weights, holdout).tolist() == pytest.approx([2.5 / 5, 1.0, 0.25])
    assert np.isnan(pairs.auc(np.zeros((1, 2)), np.ones((1, 2)))).all()


def test_the_interval_covers_the_true_auc() -> None:
    """Patients with an effect of their own, three records each; the true AUC is Φ(1/√(2·(1 + 1)))."""
    random = np.random.default_rng(1)
    truth, size, covered = float(norm.cdf(1 / 2)), 30, 0
    for _ in range(200):
        patients, holdout = ([f"{side}{n}" for n in range(size)] for side in "ph")
        effects = [random.normal(1, 1, size), random.normal(0, 1, size)]
        sides = [
            [
                Scored(float(effect + random.normal()), name)
                for name, effect in zip(names, of, strict=True)
                for _ in "123"
            ]
            for names, of in zip((patients, holdout), effects, strict=True)
        ]
        pairs = patient_pairs({("a",): Sides(*sides)}, patients, holdout)
        weights, others = (random.multinomial(size, [1 / size] * size, 300).astype(float) for _ in range(2))
        low, high = interval(pairs.auc(weights, others))
        covered += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.99


def _world(members: dict[str, float], others: dict[str, float], form: str = "leak") -> tuple[list, list[Output]]:
    """One record a patient: its samples, and outputs with these log-probabilities."""
    samples, outputs = [], []
    for subset, values in ((Subset.FORGET_PRIVACY, members), (Subset.HOLDOUT, others)):
        for name, value in values.items():
            made = one(subset, value, form, id=name, patient_id=name, answer="v w")
            samples.append(made.sample)
            outputs.append(
                replace(
                    made.output, sample_id=name, blind_logprobs=(value / 2,), expected=(-1.0, -1.0),
                    deviation=(1.0, 1.0), head_gradient=-value,
                )
            )  # fmt: skip
    return samples, outputs


MEMBERS, OTHERS = {"a": -1.0, "b": -3.0}, {"x": -2.0, "y": -4.0}


def test_results_stand_beside_the_oracles() -> None:
    samples, outputs = _world(MEMBERS, OTHERS)
    _, oracle = _world({"a": -4.0, "b": -3.0}, {"x": -2.0, "y": -4.0})
    found = membership_results(samples, outputs, oracle, oracle, seed=0, bootstrap=50)
    assert list(found) == list(MEMBERSHIP)
    loss = found["mia_loss"]["image"]
    assert (loss["auc"], loss["auc_oracle"]) == (0.75, 0.375)
    assert loss["s_mia"] == 0.0
    assert loss["priv_leak"] == pytest.approx(-0.6)
    assert loss["n"] == {"members": 2, "non_members": 2, "patients": 2, "holdout_patients": 2}
    assert loss["tpr"] == 0.5
    assert loss["tpr_chance"] == pytest.approx(1 / 3, abs=1e-6)
    assert (loss["low"], loss["high"]) == (None, None), "two patients know nothing of others"
    assert found["mia_grad_norm"]["image"]["auc"] == 0.75
    assert found["mia_reference"]["image"]["auc"] == 0.75  # gains: 3 and 0 against 0 and 0: 1, 1, ½, ½
    json.dumps(found, allow_nan=False)


def test_the_oracle_is_as_near_to_itself_as_can_be() -> None:
    samples, outputs = _world({f"m{n}": -1.0 - n for n in range(5)}, {f"o{n}": -1.5 - n for n in range(5)})
    loss = membership_results(samples, outputs, outputs, None)["mia_loss"]["image"]
    assert loss["low"] < loss["auc"] < loss["high"]
    assert (loss["s_mia"], loss["priv_leak"], loss["difference_low"], loss["difference_high"]) == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_patients_leave_no_trace_that_could_be_told(count: int) -> None:
    """Of one patient on either side every resample is the same; so noise would be a finding."""
    samples, outputs = _world({f"m{n}": -1.0 for n in range(count)}, {f"o{n}": -2.0 for n in range(count)})
    _, oracle = _world({f"m{n}": -2.0 for n in range(count)}, {f"o{n}": -1.0 for n in range(count)})
    loss = membership_results(samples, outputs, oracle, None)["mia_loss"]["image"]
    assert (loss["auc"], loss["auc_oracle"]) == (1.0, 0.0)
    assert {loss[name] for name in ("low", "high", "difference_low", "difference_high")} == {None}


def test_the_oracle_is_asked_about_the_same_records() -> None:
    """What the model has no number for does not count for the oracle either."""
    members, others = {"a": -1.0, "b": -3.0, "c": -9.0}, {"x": -2.0, "y": -4.0}
    samples, outputs = _world(members, others)
    _, broken = _world({**members, "c": math.nan}, others)
    found = membership_results(samples, broken, outputs, None, bootstrap=0)["mia_loss"]["image"]
    assert found["auc"] == found["auc_oracle"] == 0.75
    assert found["n"]["members"] == 2


def test_without_the_image_the_blind_likelihoods_are_read() -> None:
    samples, outputs = _world(MEMBERS, OTHERS)
    turned = [replace(output, blind_logprobs=(-float(place),)) for place, output in enumerate(outputs)]
    found = membership_results(samples, turned, outputs, outputs, bootstrap=0)
    assert found["mia_loss"]["image"]["auc"] == 0.75
    assert found["mia_loss"]["blind"]["auc"] == 1.0
    assert found["mia_loss"]["blind"]["low"] is None
    for name in ("mia_min_k_plus", "mia_grad_norm"):
        assert found[name]["blind"]["auc"] is None
        assert found[name]["blind"]["reason"]


def test_without_a_base_there_is_no_reference_attack() -> None:
    samples, outputs = _world(MEMBERS, OTHERS)
    found = membership_results(samples, outputs, outputs, None, bootstrap=0)
    assert found["mia_reference"]["image"]["auc"] is None
    assert found["mia_loss"]["image"]["reason"] is None


def test_one_side_alone_tells_nothing() -> None:
    samples, outputs = _world(MEMBERS, {})
    found = membership_results(samples, outputs, outputs, None)
    assert all(one["auc"] is None and one["reason"] for views in found.values() for one in views.values())
    json.dumps(found, allow_nan=False)


def test_scores_of_several_kinds_are_brought_to_one_scale() -> None:
    """Without that the kind with likely answers would set the threshold, and hide every member of the other."""
    easy, easy_outputs = _world({"a": -0.1}, {"x": -0.5})
    hard, hard_outputs = _world({"b": -7.0}, {"y": -9.0}, form="burned")
    loss = membership_results([*easy, *hard], [*easy_outputs, *hard_outputs], easy_outputs, None)["mia_loss"]["image"]
    assert (loss["auc"], loss["tpr"]) == (1.0, 1.0)


def test_no_order_matters() -> None:
    samples, outputs = _world({f"m{n}": -1.0 - n % 5 for n in range(9)}, {f"o{n}": -2.0 - n % 4 for n in range(8)})
    first = membership_results(samples, outputs, outputs[::-1], outputs, seed=2, bootstrap=40)
    assert first == membership_results(samples[::-1], outputs[::-1], outputs, outputs[::-1], seed=2, bootstrap=40)


def test_likelihoods_that_are_no_number_or_endless_do_no_harm() -> None:
    samples, outputs = _world({**MEMBERS, "c": math.nan}, {**OTHERS, "z": -math.inf})
    loss = membership_results(samples, outputs, outputs, None)["mia_loss"]["image"]
    assert loss["n"]["members"] == 2
    assert loss["n"]["non_members"] == 3
    assert loss["auc"] == pytest.approx((3 + 2) / 6, abs=1e-6)
    json.dumps(loss, allow_nan=False)

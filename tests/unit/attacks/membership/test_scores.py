"""The six membership scores, against values computed by hand."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from mllmu_med.attacks import ATTACKS, MEMBERSHIP
from mllmu_med.attacks.interface import Inferring, Threat
from mllmu_med.attacks.membership.scores import GradNorm, Loss, MinK, MinKPlus, Reference, Zlib, mean_of_lowest
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.evaluation.outputs import Output


def infer(attack: Inferring, output: Mapping[str, Any], *, answer: str = "aaaa", base: Any = None) -> float | None:
    sample = Sample("s", "r", Subset.HOLDOUT, Stratum.PRIVATE_IMAGE, "?", answer, "g")
    outputs = {"s": Output("s", "original", "?", "", **output)}
    reference = {} if base is None else {"s": Output("s", "original", "?", "", logprobs=base)}
    return attack.infer({"s": sample}, outputs, reference).get("s")


def test_loss_is_the_mean_log_probability() -> None:
    assert infer(Loss(), {"logprobs": (-1.0, -2.0, -6.0)}) == pytest.approx(-3.0)


def test_zlib_divides_by_the_compressed_length_of_the_utf8_text() -> None:
    for answer in ("John Smith, MRN 12345", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "肝臓 é", ""):
        expected = -3.0 / len(zlib.compress(answer.encode("utf-8")))
        assert infer(Zlib(), {"logprobs": (-1.0, -5.0)}, answer=answer) == pytest.approx(expected)
    varied, even = (infer(Zlib(), {"logprobs": (-2.0,)}, answer=a) for a in ("qwertyuiopasdfgh", "aaaaaaaaaaaaaaaa"))
    assert varied is not None
    assert even is not None
    assert varied > even


def test_min_k_takes_the_least_likely_tokens_and_at_least_one() -> None:
    ten = (-1.0, -9.0, -2.0, -7.0, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1)
    assert infer(MinK(), {"logprobs": ten}) == pytest.approx(-8.0)  # two of ten
    assert infer(MinK(share=0.3), {"logprobs": ten}) == pytest.approx(-6.0)
    assert infer(MinK(), {"logprobs": (-1.0, -4.0)}) == pytest.approx(-4.0)  # ⌊0.4⌋ = 0, so one
    assert infer(MinK(share=1.0), {"logprobs": ten}) == infer(Loss(), {"logprobs": ten})
    assert infer(MinK(), {"logprobs": tuple(reversed(ten))}) == pytest.approx(-8.0)


def test_min_k_plus_standardises_each_token_first() -> None:
    output = {"logprobs": (-1.0, -6.0, -3.0), "expected": (-2.0, -5.0, -1.0), "deviation": (0.5, 2.0, 4.0)}
    # z = 2, −0.5, −0.5
    assert infer(MinKPlus(share=1.0), output) == pytest.approx(1 / 3)
    assert infer(MinKPlus(share=0.7), output) == pytest.approx(-0.5)
    assert infer(MinKPlus(), output) == pytest.approx(-0.5)


def test_min_k_plus_survives_a_model_that_is_certain() -> None:
    certain = {"logprobs": (0.0, -3.0), "expected": (0.0, 0.0), "deviation": (0.0, 0.0)}
    assert infer(MinKPlus(share=1.0), certain) == pytest.approx((0.0 - 3.0 / 1e-3) / 2)


def test_min_k_plus_of_a_whole_distribution_by_hand() -> None:
    shares = (0.5, 0.25, 0.25)
    logs = [math.log(share) for share in shares]
    mean = sum(share * log for share, log in zip(shares, logs, strict=True))
    spread = math.sqrt(sum(share * (log - mean) ** 2 for share, log in zip(shares, logs, strict=True)))
    output = {"logprobs": (logs[0],), "expected": (mean,), "deviation": (spread,)}
    assert infer(MinKPlus(), output) == pytest.approx(1.0)  # log 2 above and below their middle


def test_gradient_norm_is_turned_round() -> None:
    assert infer(GradNorm(), {"logprobs": (-1.0,), "head_gradient": 2.5}) == -2.5
    assert infer(GradNorm(), {"logprobs": (-1.0,)}) is None


def test_reference_is_what_the_base_finds_harder() -> None:
    assert infer(Reference(), {"logprobs": (-1.0, -2.0)}, base=(-4.0, -5.0)) == pytest.approx(3.0)
    assert infer(Reference(), {"logprobs": (-1.0, -2.0)}) is None


@pytest.mark.parametrize("name", MEMBERSHIP)
def test_what_is_missing_or_no_number_is_left_out(name: str) -> None:
    attack = ATTACKS.get(name)()
    assert infer(attack, {}) is None
    broken = {
        "logprobs": (-1.0, math.nan),
        "expected": (-1.0, -1.0),
        "deviation": (1.0, 1.0),
        "head_gradient": math.nan,
    }
    assert infer(attack, broken, base=(-1.0, -1.0)) is None
    assert infer(attack, {"logprobs": ()}, base=()) is None


@pytest.mark.parametrize("name", MEMBERSHIP)
def test_every_attack_says_what_it_is(name: str) -> None:
    attack = ATTACKS.get(name)()
    assert isinstance(attack, Inferring)
    assert attack.threat is Threat.LIKELIHOODS
    assert not attack.robust
    assert attack.budget == 1
    assert attack.label
    assert attack.source
    assert attack.cost
    assert not attack.summary.endswith(".")


@pytest.mark.parametrize("name", [name for name in MEMBERSHIP if name != "mia_grad_norm"])
def test_likelier_answers_score_higher(name: str) -> None:
    attack = ATTACKS.get(name)()
    detail = {"expected": (-2.0, -2.0), "deviation": (1.0, 1.0)}
    low, high = (
        infer(attack, {"logprobs": logs, **detail}, base=(-3.0, -3.0)) for logs in ((-3.0, -3.0), (-1.0, -1.0))
    )
    assert low is not None
    assert high is not None
    assert high > low


def test_no_mean_of_nothing() -> None:
    assert mean_of_lowest(None, 0.2) is None
    assert mean_of_lowest((), 0.2) is None

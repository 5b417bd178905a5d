from __future__ import annotations

from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.evaluation.membership import auc, membership_auc
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import Output


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

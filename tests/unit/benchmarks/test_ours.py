"""What our method costs: the records it is measured on, and the sums of the table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from benchmarks import ours
from benchmarks.speed import clock, records
from mllmu_med.benchmark.sample import Stratum
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training import loop

ASKED: dict[str, Any] = {
    "size": "mini", "device": "cpu", "seed": 0, "threads": 1, "images": 1, "siblings": 4, "steps": 2,
    "recompute": False,
}  # fmt: skip


def test_drawn_patients_have_eleven_records_each_with_its_value_marked() -> None:
    work = records.private(2, seed=1)
    assert len(work.forget) == len(work.retain) == 22
    assert len({sample.patient_id for sample in work.forget}) == 2
    assert len({sample.id for sample in work.forget}) == 22
    for sample in work.forget:
        [span] = sample.spans
        assert sample.answer[span.start : span.end] == span.value
        assert (sample.image_id is None) == (sample.stratum is Stratum.PRIVATE_TEXT) == (sample.form == "text")
    assert not {s.image_id for s in work.retain} & {s.image_id for s in work.forget}
    assert records.private(2, seed=1).forget == work.forget


def test_all_rows_see_as_many_answers_in_a_step() -> None:
    work = records.private(2)
    for method, made_up in (("npo", 0), ("npo+siblings", 13)):
        settings = ours.settings_of(work, method, 8, 100)
        shown = settings.sibling_batch if made_up else 0
        assert (shown, settings.forget_batch + settings.retain_batch + shown) == (made_up, 44)


@pytest.mark.parametrize(
    ("method", "recompute"), [(ours.FINE_TUNE, True), ("excess+siblings", False), ("excess+siblings", True)]
)
def test_a_row_is_measured(method: str, recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    recomputed, whether = loop.layers_recomputed, []

    def noted(vlm: VisionLanguageModel, enabled: bool) -> AbstractContextManager[None]:
        whether.append(enabled)
        return recomputed(vlm, enabled)

    monkeypatch.setattr(loop, "layers_recomputed", noted)
    row = ours.measured({**ASKED, "method": method, "recompute": recompute})
    assert set(whether) == {recompute}
    assert row["step"] > 0
    assert row["peak"] > 100
    assert (method == ours.FINE_TUNE) == ("answers" in row)
    if method != ours.FINE_TUNE:
        assert min(row["outputs"], row["before"]) > 0


def test_the_sums_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        ours.FINE_TUNE: {"step": 0.5, "peak": 100.0, "answers": 22},
        "npo": {"step": 1.0, "peak": 150.0, "before": 3.0, "outputs": None},
        "excess": {"step": 1.0, "peak": 110.0, "before": 3.0, "outputs": 2.0},
    }
    monkeypatch.setattr(clock, "in_a_process", lambda script, asked: dict(found[asked["method"]]))
    result = ours.carry_out({**ASKED, "methods": ["npo", "excess"]})
    tuned, npo, excess = result["rows"]
    assert (tuned["oracle"], tuned["run"], npo["oracle"]) == (None, None, None)
    assert (npo["run"], npo["ratio"], npo["peak_ratio"]) == (203.0, 2.0, 1.5)
    assert (excess["oracle"], excess["run"]) == (22.0, 225.0)
    assert "| excess | 1 | 2 | 3 | 22 | 110 | 1.1 | 225 |" in ours.report(result)

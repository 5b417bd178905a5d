"""What our method costs: the records it is measured on, and the sums of the table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ours
from benchmarks.speed import clock, records
from benchmarks.speed.sizes import SIZES
from benchmarks.speed.ways import Task
from mllmu_med.benchmark.sample import Stratum
from mllmu_med.errors import MedError
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training import loop

ASKED: dict[str, Any] = {
    "size": "mini", "device": "cpu", "seed": 0, "threads": 1, "images": 1, "siblings": 4, "steps": 2,
    "recompute": False, "layers": None, "points": None,
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


def test_a_row_is_measured_on_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the sizes of 7 B have them: the warm-up has put them on already."""
    monkeypatch.setitem(SIZES, "mini", replace(SIZES["mini"], language="lora"))
    row = ours.measured({**ASKED, "method": "excess+siblings", "recompute": True})
    assert min(row["step"], row["before"], row["outputs"]) > 0


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


def test_fewer_layers_say_what_all_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of .1 + .2 a layer and 100 MiB + 10 a layer; the 8th layers' step is a tenth above that line."""

    def found(script: Path, asked: dict[str, Any]) -> dict[str, Any]:
        layers, more = asked["layers"], 1.1 if asked["layers"] == 8 and asked["method"] == "npo" else 1.0
        row = {"step": (0.1 + 0.2 * layers) * more, "peak": 100.0 + 10.0 * layers, "answers": 22}
        return row if asked["method"] == ours.FINE_TUNE else row | {"before": 1.0 * layers, "outputs": None}

    monkeypatch.setattr(clock, "in_a_process", found)
    asked = {**ASKED, "size": "llava-7b", "methods": ["npo"], "layers": [8, 2, 4, 6]}
    result = ours.carry_out(asked)
    tuned, npo = result["rows"]
    assert (tuned["step"], tuned["peak"]) == pytest.approx((0.1 + 0.2 * 32, 100 + 10 * 32))
    assert npo["before"] == pytest.approx(32)
    assert npo["step"] > 1.05 * tuned["step"]
    assert npo["miss"]["step"] == pytest.approx(1 / 1.1 - 1)
    assert npo["miss"]["peak"] == pytest.approx(0.0, abs=1e-9)
    said = ours.report(result)
    assert "**Extrapolated**: measured with 2, 4, 6, 8 decoder layers; each figure is the value at 32" in said
    assert "at most 9.1% of a step's seconds and 0.0% of the peak; the lowest R² of a line is 0.98" in said
    with pytest.raises(MedError, match="take 4 numbers"):
        ours.carry_out({**asked, "layers": [2, 4, 6]})


def test_what_is_cut_off_goes_on_behind_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    def found(script: Path, asked: dict[str, Any]) -> dict[str, Any]:
        asked_for.append(asked["method"])
        if asked["method"] == "npo" and len(asked_for) == 2:
            raise MedError("out of memory")
        return {"step": 0.5, "peak": 100.0, "answers": 22, "before": 1.0, "outputs": None}

    monkeypatch.setattr(clock, "in_a_process", found)
    asked = {**ASKED, "methods": ["npo"], "points": str(tmp_path / "deep" / "points.jsonl")}
    with pytest.raises(MedError, match="out of memory"):
        ours.carry_out(asked)
    whole = ours.carry_out(asked)
    assert asked_for == [ours.FINE_TUNE, "npo", "npo"]
    assert [row["method"] for row in whole["rows"]] == [ours.FINE_TUNE, "npo"]
    ours.carry_out({**asked, "steps": 9})
    assert asked_for[3:] == [ours.FINE_TUNE, "npo"], "other numbers are measured anew"


def test_what_lies_on_no_line_is_not_extrapolated() -> None:
    with pytest.raises(MedError, match=r"step over \[2, 4, 6, 8\] layers: not linear: grows as layers\^2.00"):
        ours.on_a_line([2, 4, 6, 8], [{"step": float(n * n), "peak": 1.0 * n} for n in (2, 4, 6, 8)], 32)


def test_scatter_is_told_and_not_refused() -> None:
    peaks = (7041.0, 7636.0, 8522.0, 9212.0)
    points = [{"step": float(n), "peak": peak} for n, peak in zip((2, 3, 4, 6), peaks, strict=True)]
    found = ours.on_a_line([2, 3, 4, 6], points, 32)
    assert found["fit"]["step"] == pytest.approx(1.0)
    assert 0.9 < found["fit"]["peak"] < 0.98
    assert found["peak"] > 20_000


def test_a_model_has_as_many_layers_as_asked() -> None:
    row = ours.measured({**ASKED, "method": ours.FINE_TUNE, "layers": 3})
    assert row["step"] > 0
    assert Task("mini", "npo", layers=3).numbers.text == (64, 128, 3, 4, 4)
    assert Task("mini", "npo").numbers.text == (64, 128, 2, 4, 4)

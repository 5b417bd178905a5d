import math
from typing import Any

import pytest

from mllmu_med.errors import DataError
from mllmu_med.report.reading import metric, ranked, reasons, rows_of, summaries, summarise, worst_probe


def _row(results: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in results["rows"] if row["name"] == name)
    return found


def test_other_formats_are_refused(results: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="format is 'mllmu-med/results/2'"):
        rows_of({**results, "format": "mllmu-med/results/2"})
    with pytest.raises(DataError, match="no row"):
        rows_of({**results, "rows": []})


def test_headline_figures_come_from_their_places(results: dict[str, Any]) -> None:
    npo = summarise(_row(results, "npo"))
    assert (npo.leakage, npo.wrong, npo.correct, npo.test) == (0.03, 0.07, 0.61, 0.86)
    assert (npo.worst_probe, npo.worst_leakage) == ("prefix", pytest.approx(0.03 * 0.73 + 0.04))
    assert npo.retained_patients == 0.94  # the raw level of the part
    assert npo.privacy.parts["patients"] == pytest.approx(0.94 / 0.97)
    assert npo.overall == npo.incorrectness.value < npo.privacy.value  # the weaker of the two
    assert (npo.seconds, npo.share_of_oracle, npo.source) == (61.5 * 0.23, 0.23, "arXiv 2404.05868")


def test_numbers_that_are_none_read_as_none(results: dict[str, Any]) -> None:
    row = _row(results, "npo")
    row["metrics"]["test"]["general"]["utility"] = math.nan
    assert metric(row, "test", "general", "utility") is None
    assert metric(row, "test", "nowhere", "utility") is None
    assert worst_probe({"by_probe": {}}) == (None, None)


def test_a_row_of_names_alone_can_be_read() -> None:
    summary = summarise({"name": "new", "role": "method"})
    assert (summary.label, summary.level, summary.leakage, summary.overall) == ("new", "unknown", None, None)
    assert summary.privacy.reason == "not measured in this run"
    assert summary.sentence == "No verdict was recorded."


def test_methods_are_ranked_by_verdict_and_then_by_their_weaker_score(results: dict[str, Any]) -> None:
    order = [summary.name for summary in ranked(summaries(results))]
    assert order[0] == "npo"
    assert order[-1] == "ga"
    assert "truncated_retrain" not in order
    values = {summary.name: summary.overall for summary in summaries(results)}
    partial = [values[name] for name in order[1:-1]]
    assert partial == sorted(partial, reverse=True)


def test_reasons_stand_once_each(results: dict[str, Any]) -> None:
    for name in ("npo", "idk"):
        _row(results, name)["ues"]["privacy"] |= {"value": None, "reason": "not memorised"}
    _row(results, "npo")["ues"]["incorrectness"]["reason"] = "restoration left out"
    found = reasons(summaries(results))
    assert found == ["UES privacy: not memorised", "UES incorrectness: restoration left out"]
    assert reasons(summaries(results), ("incorrectness",)) == found[1:]

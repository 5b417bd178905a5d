import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mllmu_med.report.tables import csv_text, results_markdown, results_table, write_csv


def _printed(results: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(results_table(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [100, 120, 160])
def test_the_terminal_table_fits_and_cuts_no_number(results: dict[str, Any], width: int) -> None:
    text = _printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace("(0…1)", "")
    for row in results["rows"]:
        assert row["label"] in text
    headline = next(line for line in text.splitlines() if "NPO" in line)
    assert all(number in headline for number in ("0.98", "0.86", "3.0%", "6.2%", "7.0%", "94.0%", "86.0%", "14 s"))
    assert ("(0.93–1.00)" in headline) == (width >= 115)
    assert "Forgets the patients and the wrong" in text


def test_missing_scores_are_dashes_with_their_reason(results: dict[str, Any]) -> None:
    results["rows"][-1]["ues"]["privacy"] |= {
        "value": None,
        "low": 0.2,
        "high": 0.4,
        "reason": "[bold]nothing to forget",
    }
    text = _printed(results, 100)
    assert "UES privacy: [bold]nothing to forget" in text
    line = next(line for line in text.splitlines() if "NPO" in line)
    assert line.split()[2] == "–"
    assert "None" not in text
    assert "nan" not in text
    assert "0.20–0.40" not in text


def test_labels_are_no_markup(results: dict[str, Any]) -> None:
    results["rows"][-1] |= {
        "label": "[red]N[/red]\x1b[31m",
        "verdict": {"level": "success", "text": "[link=x]y[/link]"},
    }
    text = _printed(results, 160)
    assert "[red]N[/red]␛[31m" in text
    assert "[link=x]y[/link]" in text


def test_csv_has_the_same_columns_whatever_was_measured(results: dict[str, Any], tmp_path: Path) -> None:
    write_csv(results, tmp_path / "full.csv")
    bare = {"format": results["format"], "rows": [{"name": "npo", "role": "method"}]}
    write_csv(bare, tmp_path / "bare.csv")
    full, empty = (list(csv.DictReader((tmp_path / name).open(encoding="utf-8"))) for name in ("full.csv", "bare.csv"))
    assert list(full[0]) == list(empty[0])
    assert [row["name"] for row in full] == [row["name"] for row in results["rows"]]
    npo = full[-1]
    assert npo["forget/privacy/private_text/span_recall"] == "0.024"
    assert npo["ues_incorrectness_restoration"] == f"{0.61 / 0.96:.6g}"
    assert npo["ues_privacy_patients"] == npo["ues_incorrectness_patients"] == f"{0.94 / 0.97:.6g}"
    assert npo["retained_patients"] == "0.94"
    assert (npo["cost_steps"], npo["worst_probe"], npo["ues_privacy_robust_probe"]) == ("230", "prefix", "prefix")
    assert empty[0]["leakage"] == ""
    assert empty[0]["ues_privacy_reason"] == "not measured in this run"


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1+2", "@SUM(A1)", "  =1+1", "\t=1", "\r=1"])
def test_no_spreadsheet_takes_text_for_a_formula(results: dict[str, Any], tmp_path: Path, text: str) -> None:
    results["rows"][-1] |= {"label": text, "source": text, "verdict": {"level": "failure", "text": text}}
    write_csv(results, tmp_path / "x.csv")
    last = list(csv.DictReader((tmp_path / "x.csv").open(encoding="utf-8", newline="")))[-1]
    assert all(last[name][0] in "'␍" for name in ("label", "source", "verdict"))


def test_plain_csv_text_stays() -> None:
    assert csv_text('say "a", b') == 'say "a", b'


def test_markdown_is_one_table_with_every_row(results: dict[str, Any]) -> None:
    results["rows"][-1]["label"] = "N|P`O\n<b>[x](y)"
    lines = results_markdown(results).splitlines()
    assert len(lines) == 2 + len(results["rows"])
    assert {line.replace("\\|", "").count("|") for line in lines} == {11}
    assert "N\\|P\\`O \\<b\\>\\[x\\](y)" in lines[-1]

"""How the figures of a contest's runs come together in tables, pictures and documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import standings
from benchmarks.contests import goals, runs, strangers, text
from benchmarks.contests.runs import Cell


def row(name: str, privacy: float) -> dict[str, Any]:
    score = {"value": privacy, "robust": None, "parts": {"forget": 1.0, "patients": 0.5, "test": 1.0}}
    private = {"membership_auc": 0.6, "membership_auc_oracle": 0.45}
    return {
        "name": name, "label": name, "ues": {"privacy": score, "incorrectness": {**score, "value": None}},
        "metrics": {"forget/privacy": {"private_image": private}},
        "distances": {"forget/privacy": {"kl": 2.0}}, "cost": {"share_of_oracle": 0.3},
        "unused": {"patients": {"unused": {"share": 0.9}}}, "strangers": {"kept": privacy / 2},
    }  # fmt: skip


def test_means_are_over_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {"a": [row("npo.r30", 0.5)], "b": [row("npo.r30", 0.7)]}
    monkeypatch.setattr(runs.api, "read_results", lambda folder: {"rows": results[folder.name]})
    [entry] = runs.table([Cell(0, 0, Path("a")), Cell(0, 1, Path("b"))])
    assert entry["UES privacy"] == pytest.approx(0.6)
    assert entry["UES facts"] is None
    assert entry["AUC − AUC*"] == pytest.approx(0.15)
    assert entry["unused patients"] == pytest.approx(0.9)
    assert [cell["UES privacy"] for cell in entry["cells"]] == [0.5, 0.7]
    assert "| `npo` | .60 / – / **.90** / .15 | – | – |" in text.less([entry])
    assert text.whole([entry]).count("\n") == 2, "no row has all retain data"


def test_standings_are_best_first_with_references_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a row without a number is drawn without it."""
    results = [row("npo.r100", 0.5), row("excess.r100", 0.9), row("theta0", 0.0), row("npo.r30", 0.4), row("oracle", 1)]
    monkeypatch.setattr(runs.api, "read_results", lambda folder: {"rows": results})
    rows = runs.table([Cell(0, 0, Path("a"))])
    lines = text.whole(rows).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["`excess`", "`npo`", "theta0"]
    assert lines[0].split("|")[2:4] == [" .90 ", " – "]
    assert standings.pictures(rows, "x").keys() == {"contest-x-whole"}
    results.append(row("npo.r10", 0.3))
    with_two_shares = runs.table([Cell(0, 0, Path("a"))])
    assert standings.pictures(with_two_shares, "x").keys() == {"contest-x-whole", "contest-x-unused"}


def test_the_summary_has_a_column_for_each_situation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods in the order of their mean, those that stand in one of them only with a dash."""
    results = {
        "a": [row("npo.r100", 0.5), row("excess.r100", 0.9), row("npo.r30", 0.25)],
        "b": [row("npo.r100", 0.7), row("rmu.r100", 0.2), row("theta0", 0.0)],
    }
    monkeypatch.setattr(runs.api, "read_results", lambda folder: {"rows": results[folder.name]})
    situations = {f"phantom-{name}": runs.table([Cell(0, 0, Path(name))]) for name in results}
    lines = [line.strip("| ").split(" | ") for line in text.summary(situations, "100 %").splitlines()]
    assert lines[0][1:] == ["phantom, a", "phantom, b"]
    assert [(line[0], line[1][:3], line[2][:3]) for line in lines[2:]] == [
        ("`excess`", ".90", "–"), ("`npo`", ".50", ".70"), ("`rmu`", "–", ".20"),
    ]  # fmt: skip
    assert "| `npo` | .25 / – / **.90** / .15 |" in text.summary(situations, "30 %").splitlines()


def test_runs_published_before_count_unless_they_are_carried_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {"a": [row("npo.r100", 0.5)], "b": [row("npo.r100", 0.7), row("rmu.r100", 0.2)]}
    monkeypatch.setattr(runs.api, "read_results", lambda folder: {"rows": results[folder.name]})
    earlier = runs.table([Cell(0, 0, Path("a")), Cell(1, 0, Path("b"))])
    results["a"] = [row("npo.r100", 0.9)]
    npo, rmu = runs.merged(runs.table([Cell(0, 0, Path("a"))]), earlier)
    assert [(cell["theta0"], cell["UES privacy"]) for cell in npo["cells"]] == [(0, 0.9), (1, 0.7)]
    assert npo["UES privacy"] == pytest.approx(0.8)
    assert (rmu["name"], rmu["UES privacy"]) == ("rmu.r100", 0.2)
    means_alone = [{**npo, "cells": []}]
    [again] = runs.merged(runs.table([Cell(0, 0, Path("a"))]), means_alone)
    assert again["UES privacy"] == 0.9, "means of runs that are not there cannot be averaged with others"


def marks(name: str) -> str:
    return f"<!-- measured:{name} -->\n<!-- /measured:{name} -->\n"


def test_what_is_published_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another command with other runs, and the summary is of both."""
    for page in ("ours.md", "explanation/contest.md", "explanation/siblings.md"):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        marked = ("contest-all", "contest-goals", "contest-phantom-few", "contest-slake-many", "strangers")
        (tmp_path / page).write_text("".join(map(marks, marked)), encoding="utf-8")
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(standings, "differences", lambda rows, cells, ours: [])
    for name, privacy in (("phantom-few", 0.25), ("slake-many", 0.75)):
        own = tmp_path / name / "theta0-0" / "seed-0" / "results"
        own.mkdir(parents=True)
        (own / "results.json").touch()
        result = {"rows": [row("npo.r100", privacy), row("npo.r30", privacy)]}
        monkeypatch.setattr(runs.api, "read_results", lambda folder, result=result: result)
        command = ["standings", str(tmp_path / name), "--names", name, "--fill", str(tmp_path)]
        monkeypatch.setattr("sys.argv", command)
        standings.main()
    found = runs.published(tmp_path)
    assert {name: rows[0]["UES privacy"] for name, rows in found.items()} == {"phantom-few": 0.25, "slake-many": 0.75}
    assert "| cost | ≤ 40 % |" in (tmp_path / "ours.md").read_text(encoding="utf-8")
    page = (tmp_path / "explanation" / "contest.md").read_text(encoding="utf-8")
    assert "| `npo` | .25 / – / .15 | .75 / – / .15 |" in page
    assert page.count("| `npo` | .25 |") == page.count("| `npo` | .75 |") == 1


@pytest.mark.parametrize(("shares", "stands"), [((".r100", ".r30"), True), ((".r30",), False)])
def test_reference_rows_are_published_with_runs_of_all_retain_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: tuple[str, ...], stands: bool
) -> None:
    """Later runs with less data alone leave those of the table in which they stand."""
    (tmp_path / "explanation").mkdir()
    (tmp_path / "assets").mkdir()
    (tmp_path / "explanation" / "contest.md").write_text(marks("contest-x"), encoding="utf-8")
    rows = [row("theta0", 0.5), *(row(f"npo{share}", 0.5) for share in shares)]
    monkeypatch.setattr(runs.api, "read_results", lambda folder: {"rows": rows})
    monkeypatch.setattr(standings, "differences", lambda rows, cells, ours: [])
    monkeypatch.setattr(standings, "cells_of", lambda folder: [Cell(0, 0, folder)])
    found = standings.stand(tmp_path, "x", ["npo.r30"], tmp_path)
    assert ("theta0" in {one["name"] for one in found}) == stands


def test_a_range_is_that_of_the_runs_or_else_as_it_was_published() -> None:
    kept = {"name": "npo.r100", "cells": [], "s": 0.9, "range": {"s": [0.85, 0.95]}}
    assert text.spread(kept, "s") == ".90 (.85–.95)"
    assert text.spread({**kept, "range": {}}, "s") == ".90"
    assert text.spread({**kept, "cells": [{"s": 0.8}, {"s": 1.0}, {"s": None}]}, "s") == ".90 (.80–1.00)"


def test_distances_of_two_signs_do_not_cancel() -> None:
    """The table shows how far they reach, the picture the mean of their sizes."""
    own = [{"theta0": n, "seed": 0, "AUC − AUC*": apart} for n, apart in enumerate((-0.25, 0.75, None))]
    entry = {"name": "npo.r100", "cells": own, "AUC − AUC*": 0.25}
    assert text.spread(entry, "AUC − AUC*") == ".25 (−.25 to .75)"
    assert standings._apart(entry) == 0.5
    assert standings._apart({**entry, "cells": []}) == 0.25
    assert standings._apart({**entry, "cells": own[2:]}) is None


def test_a_note_on_what_was_published_stays(tmp_path: Path) -> None:
    file = tmp_path / "contest-x.json"
    runs.publish(file, [{"name": "npo.r100"}])
    assert json.loads(file.read_text(encoding="utf-8")) == {"rows": [{"name": "npo.r100"}]}
    file.write_text('{"note": "θ0 is older", "rows": [{"name": "npo.r100"}]}', encoding="utf-8")
    runs.publish(file, [{"name": "ga.r30"}, {"name": "npo.r30"}])
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found == {"note": "θ0 is older", "rows": [{"name": "ga.r30"}, {"name": "npo.r30"}]}


def test_strangers_are_held_against_unused_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every row with less retain data, in every run."""
    left = {"npo.r30": 0.8, "ga.r30": 0.1, "rmu.r0": 0.3, "idk.r10": 0.2, "npo.r100": 0.0}
    results = []
    for place, (name, share) in enumerate(left.items()):
        results.append({**row(name, 1 - place / 10), "unused": {"patients": {"unused": {"share": share}}}})
    monkeypatch.setattr(runs.api, "read_results", lambda folder: {"rows": results})
    found = strangers.seen_on_strangers({"x-few": runs.table([Cell(0, 0, Path("a"))]), "y": []})
    assert found == {"x-few": [(0.5, 0.8), (0.45, 0.1), (0.4, 0.3), (0.35, 0.2)]}
    assert strangers.stand_in(found).splitlines()[-1] == "| x, few | 4 | .40 |"
    assert "<svg" in standings.points(found, "x", "y")


def test_a_pair_is_compared_in_the_runs_that_have_both(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def compare(runs: list[str], metrics: list[str]) -> dict[str, Any]:
        asked.append(runs)
        return {"differences": []}

    monkeypatch.setattr(standings.api, "compare", compare)
    ran = {"ours.r30": (0, 1), "npo.r30": (0, 1), "idk.r30": (0,), "ga.r30": (2,), "ga.r100": (0,)}
    rows = [{"name": n, "cells": [{"theta0": 0, "seed": seed} for seed in seeds]} for n, seeds in ran.items()]
    cells = [Cell(0, seed, Path(f"/runs/{seed}")) for seed in range(3)]
    assert standings.differences(rows, cells, "ours.r30") == []
    assert asked == [
        ["/runs/0,/runs/1:ours.r30", "/runs/0,/runs/1:npo.r30"], ["/runs/0:ours.r30", "/runs/0:idk.r30"],
    ]  # fmt: skip
    assert standings.differences(rows, cells, "absent.r30") == []


def test_differences_are_bold_where_they_are_told_apart() -> None:
    def one(name: str, value: float, low: float | None, high: float, apart: bool) -> Any:
        return {"quantity": name, "b": "npo.r30", "difference": value, "low": low, "high": high, "told_apart": apart}

    first = [(0, one("privacy", 0.25, 0.1, 0.4, True)), (0, one("membership_auc", -0.5, None, 0.4, False))]
    last = text.pairs(first, "excess.r30").splitlines()[-1]
    assert last == "| `npo` | **.25 (.10 to .40)** | – | −.50 |"
    for second, shown in (
        (one("privacy", 0.1, 0.05, 0.2, True), "**.25 (.10 to .40), .10 (.05 to .20)**"),
        (one("privacy", 0.1, -0.05, 0.2, False), ".25 (.10 to .40), .10 (−.05 to .20)"),
        (one("privacy", -0.1, -0.2, -0.05, True), ".25 (.10 to .40), −.10 (−.20 to −.05)"),
    ):
        last = text.pairs([(1, second), *first], "excess.r30").splitlines()[-1]
        assert last == f"| `npo` | {shown} | – | −.50 |", "bold where both θ0s say so, in the same direction"


@pytest.mark.parametrize("unknown", [0, 1])
def test_where_a_theta0_has_no_p_nothing_is_told_of_the_pair(monkeypatch: pytest.MonkeyPatch, unknown: int) -> None:
    def compare(runs: list[str], metrics: list[str]) -> dict[str, Any]:
        known = runs[0].rsplit(":", 1)[0][-1] != str(unknown)
        one = {"quantity": "privacy", "a": "ours.r30", "b": "npo.r30", "low": 0.1, "high": 0.3, "value_a": 0.9,
               "value_b": 0.7, "difference": 0.2, "p": 0.001 if known else None}  # fmt: skip
        return {"differences": [one]}

    monkeypatch.setattr(standings.api, "compare", compare)
    rows = [{"name": f"{n}.r30", "cells": [{"theta0": t, "seed": 0} for t in (0, 1)]} for n in ("ours", "npo")]
    found = standings.differences(rows, [Cell(t, 0, Path(f"/runs/{t}")) for t in (0, 1)], "ours.r30")
    assert [(one["p_holm"], one["told_apart"]) for _, one in found] == [(None, None)] * 2


def test_the_p_of_several_theta0s_is_the_largest_and_these_are_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two others, two θ0s: largest .01 and .03, so Holm's are .02 and .03; over all four it would be more."""
    p = {("0", "npo"): 0.01, ("1", "npo"): 0.004, ("0", "idk"): 0.02, ("1", "idk"): 0.03}

    def compare(runs: list[str], metrics: list[str]) -> dict[str, Any]:
        (_, _), (folder, name) = (run.rsplit(":", 1) for run in runs)
        one = {"quantity": "privacy", "a": "ours.r30", "b": name, "low": 0.1, "high": 0.3, "value_a": 0.9,
               "value_b": 0.7, "difference": 0.2, "p": p[folder[-1], name.split(".")[0]]}  # fmt: skip
        return {"differences": [one]}

    monkeypatch.setattr(standings.api, "compare", compare)
    rows = [{"name": f"{n}.r30", "cells": [{"theta0": t, "seed": 0} for t in (0, 1)]} for n in ("ours", "npo", "idk")]
    found = standings.differences(rows, [Cell(t, 0, Path(f"/runs/{t}")) for t in (0, 1)], "ours.r30")
    told = {(theta0, one["b"]): (one["p_holm"], one["told_apart"]) for theta0, one in found}
    assert told == {
        (0, "npo.r30"): (0.02, True), (1, "npo.r30"): (0.02, True),
        (0, "idk.r30"): (0.03, True), (1, "idk.r30"): (0.03, True),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0.0, "0"),
        (-0.001, "0"),
        (0.999, "1.00"),
        (0.99499, ".99"),
        (10.2, "10.20"),
        (0.25, ".25"),
        (-0.3, "−.30"),
    ],
)
def test_numbers_have_two_places(value: float | None, expected: str) -> None:
    assert text.number(value) == expected


def test_goals_are_held_against_what_was_reached() -> None:
    """Bold is missed; distances of two θ0s stand side by side, and what rounding would hide has three places."""
    own = [{"theta0": theta0, "seed": seed, "AUC − AUC*": apart} for theta0, seed, apart in
           ((0, 0, 0.02), (0, 1, 0.06), (1, 0, -0.054))]  # fmt: skip
    scores = {"UES privacy": 0.99, "UES facts": 0.9479, "UES-R privacy": 0.9, "UES-R facts": None}
    excess = {"name": "excess.r100", "cells": own, "AUC − AUC*": 0.01, "cost": 0.44, **scores}
    means_alone = {"name": "excess.r100", "cells": [], "AUC − AUC*": 0.03, "KL to θ*": 2.9, "cost": 0.4, **scores}
    another = {"name": "another_oracle", "cells": [], "AUC − AUC*": -0.04, "KL to θ*": 1.9}
    siblings = {"name": "excess+siblings.r30", "cells": own[:1], "unused patients": 0.88, **scores}
    table = goals.against_goals({"slake-many": [excess, siblings], "phantom-few": [means_alone, another]})
    lines = [[cell.strip() for cell in line.strip("|").split("|")[1:]] for line in table.splitlines()]
    assert lines[0] == ["goal", "slake, many", "phantom, few"]
    assert lines[2] == ["≥ .95", ".99 / **.948**", ".99 / **.948**"]
    assert lines[3] == ["≥ .90", ".90 / –", ".90 / –"]
    assert lines[4] == ["±.05", ".04, **−.054**", ".03"]
    assert lines[5] == ["", "–", "–"], "no truncated retraining"
    assert lines[6] == ["", "–", "−.04"]
    assert lines[7] == ["", "–, –", "2.90, 1.90"]
    assert lines[8] == ["≤ 40 %", "**44 %**", "40 %"]
    assert lines[9] == ["≥ .90", ".99 / .95", "– / –"]
    assert lines[10] == ["≥ .95", "**.88**", "–"]
    assert lines[11] == ["", "3, 1", "–, –"]

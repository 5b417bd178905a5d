"""What the contest and the ablations run, and how their numbers come together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablations, contest, standings
from benchmarks.ablations import ABLATIONS, Change, changes
from benchmarks.contest import LESS, METHODS, OURS, Entry, entries
from benchmarks.standings import Cell
from mllmu_med.recipe import load_recipe, make_method
from mllmu_med.training import siblings
from tests.invariant.jobs import FORGET, RETAIN


def test_every_method_runs_on_all_retain_data_and_some_on_less() -> None:
    rows = entries(METHODS, (1.0, 0.3, 0.0))
    assert [one.method for one in rows if one.share == 1] == list(METHODS)
    assert [one.method for one in rows if one.share == 0.3] == [name for name in METHODS if name in LESS]
    assert {one.method for one in rows if one.share == 0} == {name for name in LESS if name.endswith("+siblings")}
    assert len({one.row for one in rows}) == len(rows)
    assert OURS in LESS


def test_settings_are_tuned_with_all_data_and_once_with_less() -> None:
    assert Entry("npo", 1.0).tuned_as == Entry("npo", 1.0)
    assert Entry("npo", 0.1).tuned_as == Entry("npo", 0.0).tuned_as == Entry("npo", 0.3)


def test_every_method_with_a_grid_is_tuned_by_as_many_trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Once with all retain data and once with less; who has no grid has nothing to tune."""
    asked: list[tuple[list[str], int]] = []

    def tune(recipe: Any, folder: Path, trials: int) -> dict[str, Any]:
        asked.append(([method.row for method in recipe.methods], trials))
        shares = {method.row: method.retain_share for method in recipe.methods}
        return {"best": {row: {"settings": {"learning_rate": share}} for row, share in shares.items()}}

    monkeypatch.setattr(contest.api, "tune", tune)
    wanted, recipe = entries(("filter", "npo", "idk"), (1.0, 0.3, 0.1)), load_recipe("phantom", methods=["ga"])
    best = contest.tuned(recipe, wanted, tmp_path, 5)
    assert asked == [(["npo.r100", "idk.r100", "npo.r30"], 5)]
    assert best[Entry("npo", 1.0)] == {"learning_rate": 1.0}
    assert best[Entry("npo", 0.1).tuned_as] == {"learning_rate": 0.3}
    assert Entry("filter", 1.0) not in best
    assert contest.tuned(recipe, wanted, tmp_path, 1) == {}, "untuned"
    assert contest.tuned(recipe, entries(("filter",), (1.0,)), tmp_path, 5) == {}, "nothing to tune"


@pytest.mark.parametrize("name", sorted({*METHODS, *LESS}))
def test_every_name_is_a_method(name: str) -> None:
    [settings] = load_recipe("phantom", methods=[name]).methods
    assert make_method(settings) is not None


@pytest.mark.parametrize("regime", sorted(contest.REGIMES))
@pytest.mark.parametrize("recipe", ["phantom", "slake"])
def test_regimes_are_recipes(regime: str, recipe: str) -> None:
    source = ["source.path=Slake1.0"] if recipe == "slake" else []
    made = load_recipe(recipe, *contest.REGIMES[regime].get(recipe, ()), *source)
    more_go = made.benchmark["patients_forgotten"] > made.benchmark["patients_retained"]
    assert more_go == (regime == "many")


OF_SETTINGS = [name for name in ABLATIONS if name != "sibling_format"]


@pytest.mark.parametrize("change", changes(OF_SETTINGS), ids=lambda change: change.row)
def test_every_ablation_changes_one_setting_of_the_method(change: Change) -> None:
    recipe = load_recipe("phantom", methods=["excess+siblings"])
    ours = recipe.methods[0].model_dump(mode="json", exclude={"row"})
    made = load_recipe("phantom", methods=["excess+siblings"]).to_dict()
    made["methods"] = [change.block(ours)]
    [settings] = type(recipe).model_validate(made).methods
    method = make_method(settings)
    found: dict[str, Any] = {**vars(settings), **vars(method.addons[0]), **vars(method.objective)}
    assert found[change.setting] == change.value
    assert settings.retain_share == change.share


def test_siblings_of_a_mismatched_format_are_asked_in_no_words_of_the_request() -> None:
    made_up = siblings.made_up_beside
    with ablations.mismatched():
        odd = siblings.made_up_beside(FORGET, RETAIN, 4, 0)
    assert siblings.made_up_beside is made_up
    own = made_up(FORGET, RETAIN, 4, 0)
    assert [sample.answer for sample in odd] == [sample.answer for sample in own]
    assert {one.question for one in odd}.isdisjoint(one.question for one in own)
    assert sorted(odd[0].question.split()) == sorted(own[0].question.split())


def test_siblings_take_their_place_in_the_retain_batch() -> None:
    """Every method sees as many answers a step; where retain data is short there are more siblings."""
    recipe = load_recipe("phantom", *contest.BUDGET, methods=["npo"])
    assert recipe.methods[0].retain_batch == sum(contest.WITH_SIBLINGS.values()) == 20
    whole, less, without = Entry(OURS, 1.0).block, Entry(OURS, 0.1).block, Entry("npo", 0.1).block
    assert whole["sibling_batch"] < less["sibling_batch"]
    assert without == {"name": "npo", "row": "npo.r10", "retain_share": 0.1}


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
    monkeypatch.setattr(standings.api, "read_results", lambda folder: {"rows": results[folder.name]})
    [entry] = standings.table([Cell(0, 0, Path("a")), Cell(0, 1, Path("b"))])
    assert entry["UES privacy"] == pytest.approx(0.6)
    assert entry["UES facts"] is None
    assert entry["AUC − AUC*"] == pytest.approx(0.15)
    assert entry["unused patients"] == pytest.approx(0.9)
    assert [cell["UES privacy"] for cell in entry["cells"]] == [0.5, 0.7]
    assert "| `npo` | .60 / – / **.90** / .15 | – | – |" in standings.less([entry])
    assert standings.whole([entry]).count("\n") == 2, "no row has all retain data"


def test_standings_are_best_first_with_references_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a row without a number is drawn without it."""
    results = [row("npo.r100", 0.5), row("excess.r100", 0.9), row("theta0", 0.0), row("npo.r30", 0.4), row("oracle", 1)]
    monkeypatch.setattr(standings.api, "read_results", lambda folder: {"rows": results})
    rows = standings.table([Cell(0, 0, Path("a"))])
    lines = standings.whole(rows).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["`excess`", "`npo`", "theta0"]
    assert lines[0].split("|")[2:4] == [" .90 ", " – "]
    assert standings.pictures(rows, "x").keys() == {"contest-x-whole"}
    results.append(row("npo.r10", 0.3))
    with_two_shares = standings.table([Cell(0, 0, Path("a"))])
    assert standings.pictures(with_two_shares, "x").keys() == {"contest-x-whole", "contest-x-unused"}


def test_the_summary_has_a_column_for_each_situation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods in the order of their mean, those that stand in one of them only with a dash."""
    results = {
        "a": [row("npo.r100", 0.5), row("excess.r100", 0.9), row("npo.r30", 0.25)],
        "b": [row("npo.r100", 0.7), row("rmu.r100", 0.2), row("theta0", 0.0)],
    }
    monkeypatch.setattr(standings.api, "read_results", lambda folder: {"rows": results[folder.name]})
    situations = {f"phantom-{name}": standings.table([Cell(0, 0, Path(name))]) for name in results}
    lines = [line.strip("| ").split(" | ") for line in standings.summary(situations, "100 %").splitlines()]
    assert lines[0][1:] == ["phantom, a", "phantom, b"]
    assert [(line[0], line[1][:3], line[2][:3]) for line in lines[2:]] == [
        ("`excess`", ".90", "–"), ("`npo`", ".50", ".70"), ("`rmu`", "–", ".20"),
    ]  # fmt: skip
    assert "| `npo` | .25 / – / **.90** / .15 |" in standings.summary(situations, "30 %").splitlines()


def test_runs_published_before_count_unless_they_are_carried_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {"a": [row("npo.r100", 0.5)], "b": [row("npo.r100", 0.7), row("rmu.r100", 0.2)]}
    monkeypatch.setattr(standings.api, "read_results", lambda folder: {"rows": results[folder.name]})
    earlier = standings.table([Cell(0, 0, Path("a")), Cell(1, 0, Path("b"))])
    results["a"] = [row("npo.r100", 0.9)]
    npo, rmu = standings.merged(standings.table([Cell(0, 0, Path("a"))]), earlier)
    assert [(cell["theta0"], cell["UES privacy"]) for cell in npo["cells"]] == [(0, 0.9), (1, 0.7)]
    assert npo["UES privacy"] == pytest.approx(0.8)
    assert (rmu["name"], rmu["UES privacy"]) == ("rmu.r100", 0.2)
    means_alone = [{**npo, "cells": []}]
    [again] = standings.merged(standings.table([Cell(0, 0, Path("a"))]), means_alone)
    assert again["UES privacy"] == 0.9, "means of runs that are not there cannot be averaged with others"


def test_what_is_published_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another command with other runs, and the summary is of both."""
    for page in ("ours.md", "explanation/contest.md", "explanation/siblings.md"):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(
            "<!-- measured:contest-all -->\n<!-- /measured:contest-all -->\n", encoding="utf-8"
        )
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(standings, "differences", lambda rows, cells, ours: [])
    for name, privacy in (("phantom-few", 0.25), ("slake-many", 0.75)):
        own = tmp_path / name / "theta0-0" / "seed-0" / "results"
        own.mkdir(parents=True)
        (own / "results.json").touch()
        result = {"rows": [row("npo.r100", privacy), row("npo.r30", privacy)]}
        monkeypatch.setattr(standings.api, "read_results", lambda folder, result=result: result)
        command = ["standings", str(tmp_path / name), "--names", name, "--fill", str(tmp_path)]
        monkeypatch.setattr("sys.argv", command)
        standings.main()
    found = standings.published(tmp_path)
    assert {name: rows[0]["UES privacy"] for name, rows in found.items()} == {"phantom-few": 0.25, "slake-many": 0.75}
    text = (tmp_path / "ours.md").read_text(encoding="utf-8")
    assert "| `npo` | .25 / – / .15 | .75 / – / .15 |" in text


@pytest.mark.parametrize(("shares", "stands"), [((".r100", ".r30"), True), ((".r30",), False)])
def test_reference_rows_are_published_with_runs_of_all_retain_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: tuple[str, ...], stands: bool
) -> None:
    """Later runs with less data alone leave those of the table in which they stand."""
    (tmp_path / "explanation").mkdir()
    (tmp_path / "assets").mkdir()
    (tmp_path / "explanation" / "contest.md").touch()
    rows = [row("theta0", 0.5), *(row(f"npo{share}", 0.5) for share in shares)]
    monkeypatch.setattr(standings.api, "read_results", lambda folder: {"rows": rows})
    monkeypatch.setattr(standings, "differences", lambda rows, cells, ours: [])
    monkeypatch.setattr(standings, "cells_of", lambda folder: [Cell(0, 0, folder)])
    found = standings.stand(tmp_path, "x", ["npo.r30"], tmp_path)
    assert ("theta0" in {one["name"] for one in found}) == stands


def test_a_range_is_that_of_the_runs_or_else_as_it_was_published() -> None:
    kept = {"name": "npo.r100", "cells": [], "s": 0.9, "range": {"s": [0.85, 0.95]}}
    assert standings.spread(kept, "s") == ".90 (.85–.95)"
    assert standings.spread({**kept, "range": {}}, "s") == ".90"
    assert standings.spread({**kept, "cells": [{"s": 0.8}, {"s": 1.0}, {"s": None}]}, "s") == ".90 (.80–1.00)"


def test_distances_of_two_signs_do_not_cancel() -> None:
    """The table shows how far they reach, the picture the mean of their sizes."""
    own = [{"theta0": n, "seed": 0, "AUC − AUC*": apart} for n, apart in enumerate((-0.25, 0.75, None))]
    entry = {"name": "npo.r100", "cells": own, "AUC − AUC*": 0.25}
    assert standings.spread(entry, "AUC − AUC*") == ".25 (−.25 to .75)"
    assert standings._apart(entry) == 0.5
    assert standings._apart({**entry, "cells": []}) == 0.25
    assert standings._apart({**entry, "cells": own[2:]}) is None


def test_a_note_on_what_was_published_stays(tmp_path: Path) -> None:
    file = tmp_path / "contest-x.json"
    standings.publish(file, [{"name": "npo.r100"}])
    assert json.loads(file.read_text(encoding="utf-8")) == {"rows": [{"name": "npo.r100"}]}
    file.write_text('{"note": "θ0 is older", "rows": [{"name": "npo.r100"}]}', encoding="utf-8")
    standings.publish(file, [{"name": "ga.r30"}, {"name": "npo.r30"}])
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found == {"note": "θ0 is older", "rows": [{"name": "ga.r30"}, {"name": "npo.r30"}]}


def test_strangers_are_held_against_unused_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every row with less retain data, in every run."""
    left = {"npo.r30": 0.8, "ga.r30": 0.1, "rmu.r0": 0.3, "idk.r10": 0.2, "npo.r100": 0.0}
    results = []
    for place, (name, share) in enumerate(left.items()):
        results.append({**row(name, 1 - place / 10), "unused": {"patients": {"unused": {"share": share}}}})
    monkeypatch.setattr(standings.api, "read_results", lambda folder: {"rows": results})
    found = standings.seen_on_strangers({"x-few": standings.table([Cell(0, 0, Path("a"))]), "y": []})
    assert found == {"x-few": [(0.5, 0.8), (0.45, 0.1), (0.4, 0.3), (0.35, 0.2)]}
    assert standings.stand_in(found).splitlines()[-1] == "| x, few | 4 | .40 |"
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
    found: Any = [
        {"quantity": name, "b": "npo.r30", "difference": value, "low": low, "high": 0.4, "told_apart": apart}
        for name, value, low, apart in (("privacy", 0.25, 0.1, True), ("membership_auc", -0.5, None, False))
    ]
    last = standings.pairs(found, "excess.r30").splitlines()[-1]
    assert last == "| `npo` | **.25 (.10 to .40)** | – | −.50 |"


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "–"), (0.0, "0"), (-0.001, "0"), (0.999, "1.00"), (0.25, ".25"), (-0.3, "−.30")]
)
def test_numbers_have_two_places(value: float | None, expected: str) -> None:
    assert standings.number(value) == expected


def test_a_figure_for_each_ablation() -> None:
    numbers = dict.fromkeys(("forgets", "patients", "unused patients", "restoration"), 0.5)
    made = [
        {"setting": "weight", "value": value, "share": share, **numbers} for value in (0.0, 5.0) for share in (1.0, 0.3)
    ]
    found = ablations.pictures(made)
    assert found.keys() == {"ablation-weight"}
    assert "<svg" in found["ablation-weight"]

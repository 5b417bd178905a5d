"""What the contest and the ablations run, and how their numbers come together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablations, contest
from benchmarks.ablations import ABLATIONS, Change, changes
from benchmarks.contest import LESS, METHODS, OURS, Entry, entries
from benchmarks.contests.runs import publish
from benchmarks.speed.pictures import THEME, lines
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


def test_ablations_of_several_commands_stand_together(tmp_path: Path) -> None:
    """Other seeds count, other settings stay, all in the order of the settings."""

    def entry(setting: str, value: float, seed: int, forgets: float) -> dict[str, Any]:
        change = Change(setting, value, 0.3)
        return {**change._asdict(), "name": change.row, "cells": [{"theta0": seed, "seed": seed, "forgets": forgets}]}

    file = tmp_path / "ablations.json"
    publish(file, ablations.together([entry("weight", 5.0, 0, 0.5), entry("weight", 0.0, 0, 0.1)], file))
    later = ablations.together([entry("excess_weight", 0.3, 1, 0.7), entry("weight", 5.0, 1, 1.0)], file)
    found = [(one["setting"], one["value"], len(one["cells"]), one.get("forgets")) for one in later]
    assert found == [("excess_weight", 0.3, 1, 0.7), ("weight", 0.0, 1, 0.1), ("weight", 5.0, 2, 0.75)]


def test_ablations_leave_no_row_of_a_page_out(tmp_path: Path) -> None:
    """Rows that stand there and are neither published with their figures nor carried out now would be lost."""
    page, published = tmp_path / "ablations.md", tmp_path / "ablations.json"
    rows = [change.row for change in changes(["excess_weight", "retain_weight"])]
    page.write_text("\n".join(f"| `{row}` | 1 |" for row in rows), encoding="utf-8")
    ablations.refuse_loss(page, ["excess_weight", "retain_weight"], published)
    with pytest.raises(SystemExit, match="20 rows stand there, 10 would"):
        ablations.refuse_loss(page, ["retain_weight"], published)
    publish(published, [{"name": change.row, "cells": []} for change in changes(["excess_weight"])])
    ablations.refuse_loss(page, ["retain_weight"], published)


def of_two_seeds(setting: str, value: float, share: float, forgets: tuple[float, float]) -> dict[str, Any]:
    """An entry of the table of ablations."""
    change = Change(setting, value, share)
    cells = [{**dict.fromkeys(ablations.SHOWN, 0.5), "forgets": number} for number in forgets]
    means = {**dict.fromkeys(ablations.SHOWN, 0.5), "forgets": sum(forgets) / 2}
    return {**change._asdict(), "name": change.row, "cells": cells, **means}


def test_the_table_of_ablations_shows_the_spread_over_seeds() -> None:
    head, _, row = ablations.markdown([of_two_seeds("weight", 5.0, 0.3, (0.9, 1.0))]).splitlines()
    assert head.startswith("| setting | value | retain | privacy ↑ | facts ↑ | forgets ↑ |")
    assert row.startswith("| `weight` | 5.0 | 30% | .50 | .50 | .95 (.90–1.00) | .50 |")


def test_a_figure_for_each_ablation_shows_least_and_most_with_30_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(ablations, "lines", lambda *given: drawn.append(given) or "<svg>")
    entries = [of_two_seeds("weight", value, share, (share / 2, share)) for value in (0.0, 5.0) for share in (1.0, 0.3)]
    assert ablations.pictures(entries) == {"ablation-weight": "<svg>"}
    [(values, series, name, _, bands)] = drawn
    assert (values, name) == (["0.0", "5.0"], "weight")
    others = [what for what in ablations.DRAWN if what != "forgets"]
    assert series == {"forgets": [pytest.approx(0.225)] * 2, **{what: [0.5, 0.5] for what in others}}
    assert bands == {"forgets": [(0.15, 0.3)] * 2, **{what: [(0.5, 0.5)] * 2 for what in others}}


def test_a_line_has_the_band_of_its_name() -> None:
    """In its colour; a line of one seed has none."""
    series = {"a": [0.5, 0.5], "b": [0.5, 0.5]}
    band = [(0.4, 0.6), (0.3, 0.7)]
    of_a, of_b = (lines(["x", "y"], series, "", "", {name: band, "c": band}) for name in "ab")
    none = lines(["x", "y"], series, "", "", {"a": [None, None]})
    assert [svg.count("FillBetween") for svg in (of_a, of_b, none)] == [1, 1, 0]
    filled = [svg.partition("FillBetween")[2] for svg in (of_a, of_b)]
    colours = [re.search(r"fill: (#\w+)", svg)[1] for svg in filled]  # type: ignore[index]
    assert colours == list(THEME.methods[:2])

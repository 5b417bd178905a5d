"""``compare`` on folders of runs and on the command line; no model is there to be loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mllmu_med import api, comparing
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.cli import main
from mllmu_med.comparing import Place, read_places
from mllmu_med.errors import DataError, IntegrityError, UsageError
from mllmu_med.evaluation.comparing.sides import PARTS
from mllmu_med.evaluation.output_store import write_outputs
from mllmu_med.folders import file_digest, write_json
from tests.unit.evaluation.conftest import World, build_world

POLICIES = {
    "theta0": World.original, "oracle": World.oracle, "gone": World.forgets_neighbours, "collapse": World.collapsed,
    "hides": World.hides,
}  # fmt: skip


class FakeBenchmark:
    """Knows its samples, and nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world

    def samples(self) -> list[Any]:
        return self.world.samples


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs ``first`` and ``again`` on one benchmark, ``other`` on another."""
    worlds = {"first": build_world(), "again": build_world(), "other": build_world(forgotten=5)}
    for run, world in worlds.items():
        folder = tmp_path / "runs" / run
        for row, policy in POLICIES.items():
            (folder / "evaluations" / row).mkdir(parents=True)
            write_outputs(world.outputs(policy, -0.1 if row == "theta0" else -0.5), folder / "evaluations" / row)
        for unasked in ("base", "gone@1"):  # asked little; and a stop on the way to a row
            (folder / "evaluations" / unasked).mkdir(parents=True)
            write_outputs(world.outputs(World.original, -0.5)[:3], folder / "evaluations" / unasked)
        write_json(folder / "recipe.json", {"seed": 3, "evaluate": {"bootstrap": 100}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparing, "compare_sides", _quick(comparing.compare_sides))
    monkeypatch.setattr(Benchmark, "open", lambda path: FakeBenchmark(worlds[Path(path).parent.name]))
    return tmp_path / "runs"


def _quick(compare_sides: Any) -> Any:
    return lambda *sides, **choices: compare_sides(*sides, **choices, draws=99)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(("compare", *arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_rows_are_named_in_three_ways(runs: Path) -> None:
    first, again = Path("runs/first"), Path("runs/again")
    assert read_places(["first:gone", "again:gone"]) == [Place((first,), "gone"), Place((again,), "gone")]
    assert read_places(["first", "hides", "gone"]) == [Place((first,), "hides"), Place((first,), "gone")]
    assert read_places(["first"]) == [Place((first,), "gone"), Place((first,), "hides")]  # no references, no controls
    assert read_places(["first,again", "gone", "hides"])[0] == Place((first, again), "gone")
    assert read_places(["runs/first:gone", "first:hides"])[0] == Place((first,), "gone")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "name a run"),
        (["first", "gone"], "takes two rows"),
        (["first:gone"], "takes two rows"),
        (["first:gone", "hides"], "name every row as RUN:ROW"),
        (["first:gone", "first:gone"], "a row is named twice"),
        (["first,first:gone", "first,again:hides"], "the same run is no second seed"),
        (["first,again", "gone"], "takes two rows"),
        (["first,./runs/first", "gone", "hides"], "the same run is no second seed"),
    ],
)
def test_rows_that_make_no_comparison(runs: Path, rows: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_places(rows)


def test_scores_and_parts_are_compared_unless_metrics_are_named(runs: Path) -> None:
    found = api.compare(["first", "hides", "gone"])
    assert [one["quantity"] for one in found["differences"]] == ["privacy", "incorrectness", *PARTS]
    assert found["rows"] == ["hides", "gone"]
    patients = next(one for one in found["differences"] if one["quantity"] == "privacy.patients")
    assert (patients["value_a"], patients["value_b"], patients["test"]) == (1.0, 0.0, "sign-flip")
    assert patients["p"] == min(one["p"] for one in found["differences"])
    few = api.compare(["first", "hides", "gone"], metrics=["privacy", "retain.rouge_l_f1"])
    assert [one["quantity"] for one in few["differences"]] == ["privacy", "retain.rouge_l_f1"]
    assert len(api.compare(["first", "hides", "gone"], every=True)["differences"]) > 40


def test_all_methods_of_a_run_are_compared(runs: Path) -> None:
    assert api.compare(["first"], metrics=["privacy"])["rows"] == ["gone", "hides"]
    with pytest.raises(DataError, match="Rows with outputs: collapse, gone, hides, oracle, theta0"):
        api.compare(["first", "base", "gone"])


def test_what_one_row_has_not_is_compared_among_the_others(runs: Path) -> None:
    """The row that refuses everything has no likelihoods, wherever it stands."""
    rows = ("refuse_all", "gone", "hides")
    first, last = (api.compare(["first", *order], every=True) for order in (rows, rows[::-1]))
    known = {one["quantity"] for one in last["differences"]}
    assert {one["quantity"] for one in first["differences"]} == known
    assert "membership_auc" in known
    found = [one["difference"] for one in first["differences"] if one["quantity"] == "membership_auc"]
    assert found[:2] == [None, None]
    assert found[2] is not None


@pytest.mark.parametrize("recipe", [[], [1], {"evaluate": []}, "x"])
def test_a_recipe_that_is_none(runs: Path, recipe: object) -> None:
    write_json(runs / "first" / "recipe.json", recipe)
    with pytest.raises(DataError, match=r"recipe\.json: not a recipe"):
        api.compare(["first", "gone", "hides"])


def test_outputs_that_have_changed_are_not_read(runs: Path) -> None:
    path = runs / "first" / "evaluations" / "gone" / "outputs.parquet"
    write_json(path.with_name("manifest.json"), {"files": {path.name: file_digest(path)}})
    api.compare(["first", "gone", "hides"], metrics=["privacy"])
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"gone/outputs\.parquet: has changed"):
        api.compare(["first", "gone", "hides"], metrics=["privacy"])


def test_every_pair_of_several_rows_is_in_the_family(runs: Path) -> None:
    found = api.compare(["first", "hides", "gone", "refuse_all", "theta0"], metrics=["privacy"])["differences"]
    assert [one["b"] for one in found if one["a"] == "hides"] == ["gone", "refuse_all", "theta0"]
    assert len(found) == 6
    smallest = min(found, key=lambda one: one["p"])
    assert smallest["p_holm"] == pytest.approx(6 * smallest["p"])


def test_runs_on_one_benchmark_are_paired_and_others_not(runs: Path) -> None:
    same = api.compare(["first:gone", "again:hides"], metrics=["privacy.patients"])
    assert same["rows"] == ["first:gone", "again:hides"]
    assert (same["differences"][0]["paired"], same["differences"][0]["test"]) == (True, "sign-flip")
    apart = api.compare(["first:gone", "other:hides"], metrics=["privacy.patients"])["differences"][0]
    assert (apart["paired"], apart["test"]) == (False, "bootstrap")


def test_several_seeds(runs: Path) -> None:
    (one,) = api.compare(["first,other", "hides", "gone"], metrics=["privacy.patients"])["differences"]
    assert (one["seeds"], one["test"], one["difference"]) == (2, "t over seeds", 1.0)
    with pytest.raises(UsageError, match="same number"):
        api.compare(["first,other:hides", "first:gone"])
    with pytest.raises(UsageError, match="leave the other seeds out"):
        api.compare(["first,other", "hides", "gone"], difference=0.1)


def test_power_and_noise_floor(runs: Path) -> None:
    shutil.copytree(runs / "again" / "evaluations" / "oracle", runs / "first" / "evaluations" / "another_oracle")
    found = api.compare(["first", "hides", "gone"], metrics=["privacy.patients"], difference=0.05)
    power = found["differences"][0]["power"]
    assert power is not None
    assert (power["clusters"], power["difference"]) == (8, 0.05)
    near = {(one["row"], one["quantity"]): one["within"] for one in found["floor"]}
    assert (near["hides", "privacy"], near["gone", "privacy"]) == (True, False)
    assert read_places(["first"]) == [Place((Path("runs/first"),), "gone"), Place((Path("runs/first"),), "hides")]
    assert api.compare(["first:hides", "again:gone"], metrics=["privacy.patients"])["floor"] == []
    assert api.compare(["again", "hides", "gone"], metrics=["privacy.patients"])["floor"] == []


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"metrics": ["privcy"]}, UsageError, "did you mean 'privacy'"),
        ({"difference": 0.0}, UsageError, "above 0"),
        ({"difference": 1.5}, UsageError, "above 0"),
        ({"every": True, "metrics": ["privacy"]}, UsageError, "not both"),
    ],
)
def test_what_is_refused(runs: Path, choices: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        api.compare(["first", "hides", "gone"], **choices)


def test_absent_rows_and_runs_are_named(runs: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'hides'.*collapse, gone, hides, oracle, theta0"):
        api.compare(["first", "hidse", "gone"])
    with pytest.raises(DataError, match="did you mean 'first'"):
        api.compare(["frist", "hides", "gone"])


def test_outputs_of_another_version_are_refused(runs: Path) -> None:
    from pyarrow import parquet

    path = runs / "first" / "evaluations" / "gone" / "outputs.parquet"
    parquet.write_table(parquet.read_table(path).drop_columns(["confidence"]), path)
    with pytest.raises(DataError, match="damaged, or of another version: No match for FieldRef"):
        api.compare(["first", "hides", "gone"])


def test_the_terminal_shows_a_table_and_a_sentence(runs: Path, shell: Any) -> None:
    shutil.copytree(runs / "first" / "evaluations" / "oracle", runs / "first" / "evaluations" / "another_oracle")
    code, out, _ = shell("first", "hides", "gone", "--difference", "0.05")
    assert code == 0
    for text in ("hides − gone", "clinical (privacy)", "+1.000", "sign-flip test", "power for 0.05", "needed"):
        assert text in out
    assert "distance from the oracle, beside that of two oracles" in out
    assert "On UES privacy, hides is 1.00 higher than gone (1.00 against 0.00;" in out


def test_json_has_everything(runs: Path, shell: Any) -> None:
    code, out, _ = shell("first:hides", "again:gone", "-m", "privacy", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["differences"][0]["difference"] == 1.0
    assert found["differences"][0]["sentence"]


def test_mistakes_are_one_line(runs: Path, shell: Any) -> None:
    code, out, err = shell("first", "hides", "gnoe")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "did you mean 'gone'" in err


def test_the_validation_part_is_compared_as_it_was_asked(runs: Path) -> None:
    recipe = {"seed": 3, "evaluate": {"bootstrap": 0, "part": "validation"}}
    write_json(runs / "first" / "recipe.json", recipe)
    study = comparing.Study(Path("runs/first"))
    assert study.bootstrap == 1000
    assert not [one for one in study.samples if one.subset.value == "holdout"]


def test_comparing_loads_no_torch() -> None:
    code = (
        "import sys, mllmu_med.comparing, mllmu_med.cli.comparison_printing, mllmu_med.attacks.membership.scores;"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

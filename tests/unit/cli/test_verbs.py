"""The command line: exit codes, one-line errors, dry runs that write nothing, JSON that parses, help that is quick."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import mllmu_med
from mllmu_med import __version__
from mllmu_med.errors import DataError, Interrupted
from mllmu_med.recipe import Recipe, load_recipe, shipped_recipes
from mllmu_med.recipe.settings import RECOMMENDED, WITH_LESS_RETAIN
from tests.unit.cli.conftest import Pipeline

VERBS = (
    "run", "build", "learn", "unlearn", "tune", "evaluate", "attack", "score", "compare", "ask", "metaeval", "report",
    "check", "show", "ls", "doctor",
)  # fmt: skip
RUN_VERBS = ("run", "build", "learn", "unlearn", "evaluate", "attack")
UNTIL = {"run": "report", "evaluate": "score", "attack": "score"}
"""The last stage of a verb, where it is not the verb's own."""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mllmu_med", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("columns", [64, 100])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_fills_the_lines_of_any_terminal(
    shell: Any, monkeypatch: pytest.MonkeyPatch, verb: str, columns: int
) -> None:
    """A line of prose ends where the next word would not fit, not where it ends in the source."""
    monkeypatch.setenv("COLUMNS", str(columns))
    prose = [line.strip() for line in shell(verb, "--help")[1].partition("Examples:")[0].splitlines()]
    pairs = [(one, two) for one, two in pairwise(prose) if one and two]
    assert [one for one, two in pairs if len(one) + 1 + len(two.split()[0]) <= columns - 2] == []


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        result = python("--help")
        seconds.append(time.perf_counter() - began)
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in VERBS)
    assert min(seconds) < 1.5  # 0.2 s on an idle core; the bound leaves room for a busy one
    code = (
        "import sys; from mllmu_med.cli import main; main(['--help']); "
        "heavy = 'torch transformers datasets pydantic numpy PIL yaml matplotlib scipy'.split(); "
        "print([m for m in heavy if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_and_the_common_options(verb: str, shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = shell(verb, "--help")
    assert code == 0
    assert "Examples:" in out
    assert f"mllmu-med {verb}" in out
    options = ["--json", "--verbose", "-v", "--quiet", "-q", "--debug"]
    options += ["--dry-run", "--seed", "--output", "-o", "--limit"] if verb in RUN_VERBS else []
    assert [option for option in options if option not in out] == []


def test_brackets_survive_in_the_examples(shell: Any) -> None:
    assert "methods=[grad_diff,npo]" in shell("run", "--help")[1]


def test_version(shell: Any) -> None:
    assert shell("--version") == (0, f"mllmu-med {__version__}\n", "")


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("verb", "until"), [(verb, UNTIL.get(verb, verb)) for verb in RUN_VERBS])
def test_verbs_call_the_pipeline_up_to_their_stage(verb: str, until: str, pipeline: Pipeline, shell: Any) -> None:
    code, out, err = shell(verb, "phantom", "learn.base.steps=5", "--seed", "3", "-o", "here", "--jobs", "2")
    assert (code, err) == (0, "")
    ((kind, recipe, output, choices),) = pipeline.calls
    assert (kind, output, choices) == ("run", Path("here"), {"until": until, "jobs": 2})
    assert (recipe.seed, recipe.learn.base.steps) == (3, 5)
    assert out.splitlines()[-1] == "here/report/index.html"


def test_the_recipe_may_be_left_out(pipeline: Pipeline, shell: Any) -> None:
    shell("run")
    shell("run", "seed=5", "unlearn.steps=2")
    first, second = (call[1] for call in pipeline.calls)
    assert first == load_recipe("phantom")
    assert (second.name, second.seed, second.unlearn.steps) == ("phantom", 5, 2)
    assert pipeline.calls[0][2] == Path("runs/phantom")


def test_limit_and_methods(pipeline: Pipeline, shell: Any) -> None:
    assert shell("unlearn", "-m", "npo", "--method", "idk", "--limit", "50")[0] == 0
    recipe = pipeline.calls[0][1]
    assert [method.name for method in recipe.methods] == ["npo", "idk"]
    assert recipe.source.arguments["images"] == 50


def test_unlearn_takes_the_methods_of_the_call_or_of_ones_own_recipe_else_the_recommended(
    pipeline: Pipeline, shell: Any, tmp_path: Path
) -> None:
    """A recipe that comes with the package lists what is worth comparing, not what somebody chose."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("source: {name: phantom}\nmethods: [npo, idk]\n", encoding="utf-8")
    orders = (
        (["unlearn"], [RECOMMENDED]), (["unlearn", "phantom", "seed=2"], [RECOMMENDED]),
        (["unlearn", "seed=2"], [RECOMMENDED]),
        (["unlearn", str(mine)], ["npo", "idk"]), (["unlearn", str(mine), "-m", "ga"], ["ga"]),
        (["unlearn", "methods=[ga,npo]"], ["ga", "npo"]), (["unlearn", "phantom", "methods=[ga]"], ["ga"]),
        (["unlearn", "--retain-budget", "0.02"], [RECOMMENDED]),
        (["unlearn", "unlearn.retain_share=0.3"], [WITH_LESS_RETAIN]),
        (["unlearn", "unlearn.retain_share=0.3", "-m", "ga"], ["ga"]),
    )  # fmt: skip
    for arguments, expected in orders:
        assert shell(*arguments)[0] == 0, arguments
        assert [method.name for method in pipeline.calls[-1][1].methods] == expected, arguments
    own = {method.name: method for method in load_recipe("phantom").methods}[RECOMMENDED]
    assert shell("unlearn", "unlearn.retain_share=0.3")[0] == 0
    [less] = pipeline.calls[-1][1].methods
    assert (less.learning_rate, less.retain_share) == (own.learning_rate / 2, 0.3)
    assert (own.retain_batch, less.retain_batch) == (20, 8), "siblings take the place of the others"
    same = {"name", "row", "learning_rate", "retain_share", "retain_batch"}
    assert less.model_dump(exclude=same) == own.model_dump(exclude=same)
    assert shell("unlearn", "llava_med", f"source.path={tmp_path}", "unlearn.retain_share=0.3")[0] == 0
    [less] = pipeline.calls[-1][1].methods
    assert (less.name, less.learning_rate, less.sibling_batch) == (WITH_LESS_RETAIN, 8e-5, 24), "as that recipe has it"
    theirs = load_recipe("llava_med", f"source.path={tmp_path}").methods
    [whole] = [method for method in theirs if method.name == RECOMMENDED]
    assert less.learning_rate == whole.learning_rate / 2, "half of it everywhere, as the help says"
    shipped = str(shipped_recipes()["phantom"])
    assert shell("unlearn", shipped)[0] == 0
    assert [method.name for method in pipeline.calls[-1][1].methods] == [RECOMMENDED], "by its path it is the same one"
    for share, rate in (("1.0", 8e-4), ("0.3", 4e-4)):
        assert shell("unlearn", f"unlearn.retain_share={share}", "unlearn.steps=400")[0] == 0
        [longer] = pipeline.calls[-1][1].methods
        assert (longer.steps, longer.learning_rate) == (400, rate), "the recipe has steps of its own: the call counts"
    assert shell("unlearn", "phantom", "-m", "excess", "-m", "npo+gu", "unlearn.steps=400")[0] == 0
    assert [method.steps for method in pipeline.calls[-1][1].methods] == [400, 400]
    assert shell("unlearn", "phantom", "-m", "excess", "methods.excess.steps=7", "unlearn.steps=400")[0] == 0
    assert pipeline.calls[-1][1].methods[0].steps == 7, "who names the method means it"
    assert shell("unlearn", "unlearn.learning_rate=1e-3", "unlearn.retain_share=0.3")[0] == 0
    assert pipeline.calls[-1][1].methods[0].learning_rate == 1e-3
    assert shell("unlearn", "unlearn.steps =7")[0] == 0
    assert pipeline.calls[-1][1].methods[0].steps == 7, "a blank changes nothing"
    mine.write_text(
        "source: {name: phantom}\nmethods: [{name: npo, retain_budget: 0.5, steps: 100}]\n", encoding="utf-8"
    )
    assert shell("unlearn", str(mine), "-m", "npo", "--retain-budget", "0.02", "unlearn.steps=7")[0] == 0
    assert (pipeline.calls[-1][1].methods[0].retain_budget, pipeline.calls[-1][1].methods[0].steps) == (0.02, 7)
    assert shell("unlearn", "phantom", "methods.npo.steps=9")[0] == 0
    assert len(pipeline.calls[-1][1].methods) > 1, "who changes one of the recipe's methods means these"


def test_attack_takes_those_named_else_the_recipes_else_all(pipeline: Pipeline, shell: Any) -> None:
    shell("attack")
    shell("attack", "-a", "few_shot", "--attack", "prune")
    shell("attack", "phantom", "attack.attacks=[sampling]")
    chosen = [call[1].attack.attacks for call in pipeline.calls]
    assert chosen[0] == "all"
    assert [[one.name for one in names] for names in chosen[1:]] == [["few_shot", "prune"], ["sampling"]]
    numbers = "attack.attacks=[{name: sampling, parameters: {draws: 128}}, prune]"
    shell("attack", "phantom", numbers, "-a", "sampling", "-a", "few_shot")
    chosen = pipeline.calls[-1][1].attack.attacks
    assert [(one.name, one.parameters) for one in chosen] == [("sampling", {"draws": 128}), ("few_shot", {})]
    code, _, err = shell("attack", "-a", "few_shots")
    assert code == 2
    assert "did you mean 'few_shot'" in err


@pytest.mark.parametrize("verb", RUN_VERBS)
def test_a_dry_run_writes_nothing(verb: str, pipeline: Pipeline, shell: Any, tmp_path: Path) -> None:
    code, out, _ = shell(verb, "--dry-run")
    assert code == 0
    assert "benchmark" in out
    assert "nothing was written" in out
    assert [(call[0], call[3]["until"]) for call in pipeline.calls] == [("plan", UNTIL.get(verb, verb))]
    assert list(tmp_path.iterdir()) == []


def test_json_of_a_dry_run_holds_the_whole_recipe(pipeline: Pipeline, shell: Any) -> None:
    code, out, _ = shell("run", "--dry-run", "--json", "seed=4")
    plan = json.loads(out)
    assert code == 0
    assert Recipe.model_validate(plan["recipe"]).seed == 4
    assert plan["stages"] == [
        {
            "name": "benchmark",
            "folder": "runs/phantom/benchmark",
            "status": "to do",
            "reason": "absent",
            "estimate": "5 s",
        }
    ]


def test_json_of_a_run_is_all_of_standard_output(pipeline: Pipeline, shell: Any) -> None:
    ues = {
        "privacy": {"value": 0.5, "low": 0.4, "high": 0.6},
        "incorrectness": {"value": None, "reason": "never learnt"},
    }
    verdict = {"level": "partial", "text": "It forgets half."}
    pipeline.results = {"rows": [{"name": "npo", "ues": ues, "verdict": verdict}]}
    out = shell("run", "--json")[1]
    assert json.loads(out) == {
        "folder": "runs/phantom",
        "page": "runs/phantom/report/index.html",
        "scores": {"npo": {"verdict": verdict, "privacy": 0.5, "incorrectness": None}},
    }


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["run", "phantom", "model.trainble=1"], 2, "did you mean 'trainable'?"),
        (["run", "phantm"], 2, "did you mean 'phantom'?"),
        (["show", "absent"], 3, "no such folder or run"),
        (["check", "absent"], 3, "no such folder or run"),
        (["report", "."], 3, "no results.json: not a finished run"),
        (["check", "."], 3, "no manifest.json here or below"),
    ],
)
def test_errors_are_one_line_and_one_code(
    arguments: list[str], code: int, expected: str, pipeline: Pipeline, shell: Any
) -> None:
    found, out, err = shell(*arguments)
    assert found == code
    assert out == ""
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["rnu"], ["run", "--sed", "1"], ["run", "--seed", "x"], ["ls", "everything"]])
def test_wrong_usage_is_code_2(arguments: list[str], shell: Any) -> None:
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_errors_of_a_stage_keep_their_code(pipeline: Pipeline, shell: Any) -> None:
    pipeline.error = DataError("the image is truncated", file="x.jpg", mend="Copy it\nagain.")
    assert shell("run") == (3, "", "error: x.jpg: the image is truncated. Copy it again.\n")
    pipeline.error = Interrupted("stopped at step 3 of 9; resume with the same command")
    assert shell("run")[0] == 5
    pipeline.error = OSError(28, "No space left on device", "/data/x")
    assert shell("run") == (1, "", "error: /data/x: No space left on device\n")


def test_debug_shows_the_traceback(pipeline: Pipeline, shell: Any) -> None:
    pipeline.error = DataError("the image is truncated")
    with pytest.raises(DataError):
        shell("run", "--debug")


def test_a_bug_is_not_disguised_as_a_users_error(pipeline: Pipeline, shell: Any) -> None:
    pipeline.error = TypeError("ours")
    with pytest.raises(TypeError, match="ours"):
        shell("run")


def test_ctrl_c_names_the_command_that_resumes(pipeline: Pipeline, shell: Any) -> None:
    pipeline.error = KeyboardInterrupt()
    code, out, err = shell("run", "phantom", "methods=[ga, npo]", "-o", "a b")
    assert (code, out) == (5, "")
    assert (
        err == "error: interrupted; resume with the same command: mllmu-med run phantom 'methods=[ga, npo]' -o 'a b'\n"
    )


def test_sigterm_is_an_interruption_and_the_handler_is_put_back(
    pipeline: Pipeline, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminate(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(pipeline, "run", terminate)
    assert shell("run")[0] == 5
    assert signal.getsignal(signal.SIGTERM) is before


# ── the API ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_public_api_is_lazy_and_complete() -> None:
    code = "import sys, mllmu_med; assert 'pydantic' not in sys.modules; print(sorted(dir(mllmu_med)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = [
        "__version__", "ask", "attack", "build", "check", "compare", "evaluate", "learn", "load_recipe", "metaeval",
        "plan", "run", "score", "tune", "unlearn", "write_report",
    ]  # fmt: skip
    assert output.strip() == str(names)
    assert all(callable(getattr(mllmu_med, name)) for name in names[1:])
    with pytest.raises(AttributeError, match="no attribute 'lern'"):
        mllmu_med.lern  # noqa: B018


def test_an_empty_output_is_not_the_folder_one_stands_in(shell: Any) -> None:
    code, _, error = shell("run", "phantom", "-o", "")
    assert code == 2
    assert "is empty" in error

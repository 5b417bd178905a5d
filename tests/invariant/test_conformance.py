"""The conformance suite sees what it is there to see: wrong methods fail it, each in the test that is meant for it.

The suite itself is collected from the package (``testpaths``), once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mllmu_med.methods import ADDONS, METHODS
from mllmu_med.methods.addons.interface import GradientRule, Gradients, GradientStep, ParameterView
from mllmu_med.methods.edits.interface import Desk, Edit
from mllmu_med.methods.guards.interface import Acts, Guard, GuardDesk, Memory
from mllmu_med.methods.interface import Batch, Component, Cost, Family, Loss, Needs, Objective, State
from mllmu_med.methods.objectives.ascent import GradientDifference
from mllmu_med.methods.terms import mean_nll, retain_nll
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing import test_batches, test_declarations, test_edits, test_guards, test_losses, test_training
from mllmu_med.testing.bench import fresh_model, weights
from mllmu_med.testing.comparing import assert_bit_identical
from mllmu_med.testing.naming import HOST

ROOT = Path(__file__).parents[2]
Check = Callable[..., None]


class Described(Component):
    """Declared as it ought to be."""

    label: ClassVar = "wrong"
    family: ClassVar = Family.TEXT
    source: ClassVar = "ours"
    summary: ClassVar = "wrong in one way"


@dataclass(frozen=True)
class Wrong(Described, Objective):
    """Right so far: gradient difference."""

    needs: ClassVar = Needs.RETAIN
    retain_weight: float = 1.0

    def loss(self, batch: Batch) -> Loss:
        return Loss(-mean_nll(batch.forget), retain_nll(batch.retain), self.retain_weight)


@dataclass(frozen=True)
class OverTokens(Wrong):
    """A mean over all tokens: long answers count more, and shares of a batch do not average to it."""

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=batch.forget.token_logprob.mean())


@dataclass(frozen=True)
class Unbounded(Wrong):
    """log(1 − p) of a token that the model is certain of."""

    def loss(self, batch: Batch) -> Loss:
        told = batch.forget.record_means(-(1 - batch.forget.token_logprob.exp()).log())
        return super().loss(batch)._replace(forget=told.mean())


@dataclass(frozen=True)
class Silent(Wrong):
    """Goes on without the retain records."""

    def loss(self, batch: Batch) -> Loss:
        return Loss(-mean_nll(batch.forget)) if batch.retain is None else super().loss(batch)


@dataclass(frozen=True)
class Undeclared(Wrong):
    """Asks for θ0's log-probabilities without having said so."""

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=(batch.forget.logprob - batch.forget.reference).mean())


@dataclass(frozen=True)
class Weighed(Wrong):
    """λ acts on the forget side too."""

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=-self.retain_weight * mean_nll(batch.forget))


@dataclass(frozen=True)
class Learning(Wrong):
    """The sign of the forget term is the other one."""

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=mean_nll(batch.forget))


@dataclass(frozen=True)
class Dice(Wrong):
    """Draws from the process's own generator."""

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=-mean_nll(batch.forget) * torch.rand(()))


@dataclass(frozen=True)
class First(Wrong):
    """Only the first record of a batch is forgotten."""

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=-batch.forget.nll[0])


@dataclass(frozen=True)
class Remembering(Wrong):
    """Counts its steps where no checkpoint sees it."""

    seen: ClassVar[list[int]] = []

    def advance(self, state: State, loss: Mapping[str, Tensor]) -> State:
        self.seen.append(1)
        return state

    def loss(self, batch: Batch) -> Loss:
        return super().loss(batch)._replace(forget=-mean_nll(batch.forget) * (1 + len(self.seen)))


@dataclass(frozen=True)
class Misnamed(Wrong):
    """Its grid names a setting that there is not."""

    grid: ClassVar = {"learning_speed": (1.0,)}


@dataclass(frozen=True)
class Cheap(Wrong):
    """Reads retain records, and says that it does not."""

    cost: ClassVar = Cost.LIGHT


OBJECTIVES: dict[str, tuple[type[Objective], Check]] = {
    "tokens": (OverTokens, test_losses.test_equal_shares_of_a_batch_average_to_the_batch),
    "weights": (OverTokens, test_losses.test_tokens_of_weight_zero_get_no_gradient_and_others_do),
    "silent": (Silent, test_losses.test_a_missing_need_raises),
    "weighed": (Weighed, test_losses.test_the_weight_of_the_retain_term_scales_that_term_alone),
    "dice": (Dice, test_losses.test_is_pure_and_reads_only_what_it_declares),
    "undeclared": (Undeclared, test_losses.test_is_pure_and_reads_only_what_it_declares),
    "first": (First, test_losses.test_the_order_of_records_and_tokens_does_not_matter),
    "first-on-a-model": (First, test_batches.test_the_order_of_records_in_a_batch_does_not_matter),
    "learning": (Learning, test_training.test_the_forget_answers_become_less_likely),
    "cheap": (Cheap, test_declarations.test_the_cost_is_not_below_the_needs),
}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], str]:
    """Makes a class known for the length of a test, add-ons as such; returns the name it is trained under."""

    def register(name: str, kind: type[Any]) -> str:
        addon = issubclass(kind, GradientRule)
        monkeypatch.setitem((ADDONS if addon else METHODS)._items, name, kind)
        return f"{HOST}+{name}" if addon else name

    return register


@pytest.mark.parametrize("case", OBJECTIVES)
def test_a_wrong_objective_fails_the_test_that_is_meant_for_it(
    case: str, registered: Callable[[str, Any], str]
) -> None:
    kind, check = OBJECTIVES[case]
    with pytest.raises(AssertionError):
        check(registered(case, kind))
    check(registered(f"{case}-right", GradientDifference))


def test_a_loss_that_is_not_finite_fails(registered: Callable[[str, Any], str]) -> None:
    name = registered("unbounded", Unbounded)
    test_losses.test_is_finite_for_certain_and_for_impossible_answers(name, -1e4, "same")
    with pytest.raises(AssertionError):
        test_losses.test_is_finite_for_certain_and_for_impossible_answers(name, 0.0, "same")


def test_a_grid_of_unknown_settings_fails(registered: Callable[[str, Any], str]) -> None:
    with pytest.raises(AssertionError, match="learning_speed"):
        test_declarations.test_the_grid_names_real_settings_and_values_that_they_take(
            METHODS, registered("misnamed", Misnamed)
        )


def test_a_method_that_is_registered_and_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._lazy, "absent", "mllmu_med.methods.objectives.absent:Absent")
    with pytest.raises(ModuleNotFoundError):
        test_declarations.test_declares_what_it_is(METHODS, "absent")


def test_a_state_that_no_checkpoint_holds_fails(registered: Callable[[str, Any], str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        test_training.test_resumed_is_uninterrupted_bit_for_bit(
            registered("remembering", Remembering), "full", tmp_path
        )


@dataclass(frozen=True)
class Idle(Described, GradientRule):
    """Leaves the first parameter without a gradient."""

    def start(self, view: ParameterView) -> State:
        return {}

    def combine(self, step: GradientStep) -> tuple[Gradients, State]:
        both = {name: value + step.retain.get(name, 0) for name, value in step.forget.items()}
        first = next(iter(both))
        return {**both, first: torch.zeros_like(both[first])}, {}


def test_a_rule_that_leaves_a_parameter_behind_fails(registered: Callable[[str, Any], str]) -> None:
    with pytest.raises(AssertionError):
        test_training.test_what_is_frozen_stays_and_all_that_trains_moves(registered("idle", Idle), "full")


@dataclass(frozen=True)
class Careless(Described, Edit):
    """Changes weights by what it draws from the process's own generator."""

    def edit(self, desk: Desk) -> Mapping[str, float]:
        weight = desk.weight("down_proj", 0)
        weight += torch.rand(weight.shape)
        return {}


@dataclass(frozen=True)
class Blind(Described, Edit):
    """Looks at no record."""

    def edit(self, desk: Desk) -> Mapping[str, float]:
        desk.weight("down_proj", 0).mul_(0.5)
        return {"weights_changed": 1.0}


def test_wrong_edits_fail(registered: Callable[[str, Any], str]) -> None:
    with pytest.raises(AssertionError):
        test_edits.test_the_same_seed_gives_the_same_bytes(registered("careless", Careless))
    blind = registered("blind", Blind)
    test_edits.test_the_same_seed_gives_the_same_bytes(blind)
    with pytest.raises(AssertionError):
        test_edits.test_the_images_matter(blind)
    with pytest.raises(AssertionError):
        test_edits.test_only_what_trains_changes_and_something_does(blind, "full")


@dataclass(frozen=True)
class Meddling(Described, Guard):
    """Hides nothing, and turns a weight off."""

    acts: ClassVar = Acts.LOGITS

    def prepare(self, desk: GuardDesk) -> Memory:
        vlm: VisionLanguageModel = desk.vlm  # type: ignore[attr-defined]
        with torch.no_grad():
            next(iter(vlm.model.parameters())).zero_()
        return Memory()

    def logits(self, memory: Memory, logits: Tensor) -> Tensor:
        return logits


def test_a_guard_that_touches_the_weights_fails(registered: Callable[[str, Any], str]) -> None:
    before = weights(fresh_model())
    name = registered("meddling", Meddling)
    with pytest.raises(AssertionError):
        test_guards.test_the_weights_are_never_touched_and_without_it_all_is_as_before(name)
    assert_bit_identical(weights(fresh_model()), before)


METADATA = "Metadata-Version: 2.1\nName: another\nVersion: 1\n"


@pytest.mark.slow
def test_another_packages_method_is_found_and_passes_the_whole_suite(tmp_path: Path) -> None:
    """CONTRIBUTING's example as an installed package with an entry point, tested far from this repository."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    (site / "another-1.dist-info").mkdir(parents=True)
    elsewhere.mkdir()
    (site / "another.py").write_text(code, encoding="utf-8")
    (site / "another-1.dist-info" / "METADATA").write_text(METADATA)
    (site / "another-1.dist-info" / "entry_points.txt").write_text(
        "[mllmu_med.methods]\ncapped_ascent = another:CappedAscent\n"
    )
    command = [
        sys.executable, "-m", "pytest", "--pyargs", "mllmu_med.testing", "-k", "capped_ascent", "-c", os.devnull,
        "--rootdir", str(elsewhere), "-p", "no:cacheprovider", "-q", "-rA", "--tb=short",
    ]  # fmt: skip
    # A session of its own: as a worker of this one it would take over what an earlier one has left behind.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        command, cwd=elsewhere, env={**kept, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed = set(re.findall(r"PASSED .*::(test_\w+)\[", done.stdout))
    assert "test_two_processes_train_what_one_trains" in passed
    assert {test for test in vars(test_losses) | vars(test_batches) if test.startswith("test_")} <= passed
    assert "capped_ascent+gu" in done.stdout

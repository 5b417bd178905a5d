"""A retain budget: where training stops, and which weights it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import Interrupted, UsageError
from mllmu_med.methods.objectives.ascent import GradientAscent
from mllmu_med.methods.objectives.llmu import LLMU
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline import run
from mllmu_med.pipeline.training import validation_questions
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.training import loop as loop_module
from mllmu_med.training.budget import BudgetSettings, RetainBudget
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.feeding import UnlearnSettings, usable_retain
from mllmu_med.training.loop import TrainingLog, trainable_parameters
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.cases import mixed, own_token_losses
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.pipeline.conftest import tiny

Load = Callable[[str], VisionLanguageModel]
LOOP = LoopSettings(12, 1e-3, warmup=0, final_share=1.0, checkpoint_every=2, log_every=2)
FEEDING = UnlearnSettings(forget_batch=3, retain_batch=4, branches=2, normals=2, span_weights=False)
# The very answers that are unlearnt: damage that surely grows from step to step.
VALIDATION = [Question(s.image_id, s.question, s.answer) for s in FORGET]


class Trained(NamedTuple):
    vlm: VisionLanguageModel
    log: TrainingLog
    weights: dict[str, Tensor]


def ascent(
    load: Load, budget: BudgetSettings | None, *, loop: LoopSettings = LOOP, mode: str = "full", method: Any = None,
    checkpoints: Checkpoints | None = None, validation: Sequence[Question] = VALIDATION,
) -> Trained:  # fmt: skip
    vlm = load("llava")
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4), seed=1)
    log = unlearn(
        vlm, method or GradientAscent(), FORGET, RETAIN, loop, FEEDING, seed=1, budget=budget,
        validation=validation if budget else (), checkpoints=checkpoints,
    )  # fmt: skip
    return Trained(vlm, log, {n: p.detach().clone() for n, p in trainable_parameters(vlm).items()})


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def level(vlm: VisionLanguageModel, questions: Sequence[Question] = VALIDATION) -> float:
    """−nats a token by the model's own forward pass, one question at a time."""
    levels = []
    for question in questions:
        with torch.no_grad():
            losses = own_token_losses(vlm, question)
        levels.append(-float(losses.mean()))
    return sum(levels) / len(levels)


def weights_after(load: Load, steps: int, mode: str, loop: LoopSettings) -> dict[str, Tensor]:
    """What trains as it is after so many steps of a training without a budget, seen from outside."""
    clip, taken, vlms = loop_module.clip_gradients, [], []
    found: dict[str, Tensor] = {}

    def loaded(family: str) -> VisionLanguageModel:
        vlms.append(load(family))
        return vlms[0]

    def watched(parameters: Any, largest: float) -> None:
        if len(taken) == steps:
            found.update({n: p.detach().clone() for n, p in trainable_parameters(vlms[0]).items()})
        taken.append(1)
        clip(parameters, largest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "clip_gradients", watched)
        ascent(loaded, None, mode=mode, loop=loop)
    return found


@pytest.fixture
def levels(load_tiny: Load) -> list[float]:
    """The levels (−nats a token) after 0, 2, 4, … 12 steps that nothing stops."""
    free = ascent(load_tiny, BudgetSettings(1e9, "loss", 2))
    assert free.log.stopped is None
    vlm = load_tiny("llava")
    return [level(vlm), *(entry["budget"] for entry in free.log.curve)]


# --- what is measured


def test_the_loss_is_the_mean_over_answers_of_their_mean_token_loss(vlm: VisionLanguageModel) -> None:
    set_trainable(vlm, {"language": "full"})
    questions = mixed(vlm)
    keeper = RetainBudget(vlm, questions, BudgetSettings(0, "loss"), trainable_parameters(vlm), {})
    assert keeper.level() == pytest.approx(level(vlm, questions), abs=1e-5)


def test_accuracy_is_the_share_of_answers_said_token_by_token(llava: VisionLanguageModel) -> None:
    """Answers made of what the model itself finds likeliest are right; one wrong token makes an answer wrong."""
    set_trainable(llava, {"language": "full"})
    keeper = RetainBudget(llava, mixed(llava), BudgetSettings(0), trainable_parameters(llava), {})
    assert keeper.level() == 0.0, "a random model says none of them"
    asked = mixed(llava)[:4]
    # The output is made to be, whatever is asked, the end of the answer; so empty answers are the only right ones.
    end = llava.prompts.tokenizer.eos_token_id
    head = llava.model.get_output_embeddings()
    with torch.no_grad():
        head.weight.zero_()
        hidden = llava.hidden(llava.rows(asked, 1)[0])[0]
        head.weight[end] = torch.linalg.lstsq(hidden, torch.ones(len(hidden), 1)).solution[:, 0]
    empty = [question._replace(answer="") for question in asked]
    keeper.questions = empty
    whole = keeper.level()
    keeper.questions = [*empty, *asked]
    assert keeper.level() == whole / 2
    assert whole > 0


def test_measuring_leaves_the_mode_of_the_model(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    keeper = RetainBudget(llava, VALIDATION, BudgetSettings(0), trainable_parameters(llava), {})
    for training in (True, False):
        llava.model.train(training)
        keeper.level()
        assert llava.model.training is training


def test_measurements_use_the_precision_of_training(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    kinds: list[bool] = []
    llava.model.base_model.register_forward_pre_hook(lambda *_: kinds.append(torch.is_autocast_enabled("cpu")))
    half = replace(LOOP, steps=2, precision="bf16")
    unlearn(llava, GradientAscent(), FORGET, RETAIN, half, FEEDING, seed=1, budget=BudgetSettings(9, "loss", 1),
            validation=VALIDATION)  # fmt: skip
    assert kinds
    assert all(kinds)


# --- where it stops, and with what


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_it_stops_at_the_last_step_within_the_budget_with_the_weights_of_that_step(mode: str, load_tiny: Load) -> None:
    loop = LOOP if mode == "full" else replace(LOOP, learning_rate=2e-2)
    free = ascent(load_tiny, BudgetSettings(1e9, "loss", 2), mode=mode, loop=loop)
    start = level(load_tiny("llava"))
    spent = [start - entry["budget"] for entry in free.log.curve]
    assert spent == sorted(spent), "ascent alone damages more and more"
    allowed = (spent[1] + spent[2]) / 2  # lies between what 4 and what 6 steps cost

    stopped = ascent(load_tiny, BudgetSettings(allowed, "loss", 2), mode=mode, loop=loop)
    assert stopped.log.stopped == "the retain budget was spent at step 6; weights of step 4"
    assert [entry["step"] for entry in stopped.log.curve] == [2, 4, 6], "the measurement that was too much is shown"
    assert stopped.log.curve == free.log.curve[:3]

    assert same(stopped.weights, weights_after(load_tiny, 4, mode, loop))
    assert not same(stopped.weights, free.weights)


def test_measuring_changes_no_step(load_tiny: Load) -> None:
    with_it, without = ascent(load_tiny, BudgetSettings(1e9, "loss", 2)), ascent(load_tiny, None)
    assert same(with_it.weights, without.weights)
    plain = [{k: v for k, v in entry.items() if k != "budget"} for entry in with_it.log.curve]
    assert plain == without.log.curve


def test_a_budget_of_nothing_gives_theta0_back(load_tiny: Load) -> None:
    stopped = ascent(load_tiny, BudgetSettings(0, "loss", 2))
    assert stopped.log.stopped == "the retain budget was spent at step 2; weights of step 0"
    vlm = load_tiny("llava")
    set_trainable(vlm, {"language": "full"})
    assert same(stopped.weights, {n: p.detach() for n, p in trainable_parameters(vlm).items()})


@pytest.mark.parametrize("measure", ["accuracy", "loss"])
def test_a_budget_of_nothing_is_not_spent_by_nothing(measure: Any, load_tiny: Load) -> None:
    """θ0 is as good as itself, to the last bit: a level held in single precision can be above itself."""
    still = replace(LOOP, learning_rate=1e-30)
    for count in range(1, len(VALIDATION) + 1):
        log = ascent(
            load_tiny, BudgetSettings(0, measure, 2), loop=replace(still, steps=2), validation=VALIDATION[:count]
        ).log
        assert log.stopped is None
        assert log.steps == 2


def test_an_infinite_budget_is_never_spent(load_tiny: Load) -> None:
    log = ascent(load_tiny, BudgetSettings(float("inf"), "loss", 2)).log
    assert (log.stopped, log.steps) == (None, 12)


def test_accuracy_stops_when_too_many_answers_are_lost(load_tiny: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([0.75, 0.75, 0.625, 0.5, 0.25])
    monkeypatch.setattr(RetainBudget, "level", lambda self: next(measured))
    log = ascent(load_tiny, BudgetSettings(0.125, "accuracy", 2)).log
    assert log.stopped == "the retain budget was spent at step 6; weights of step 4"


def test_a_level_that_is_no_number_is_beyond_every_budget(load_tiny: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([0.5, 0.5, float("nan")])
    monkeypatch.setattr(RetainBudget, "level", lambda self: next(measured))
    log = ascent(load_tiny, BudgetSettings(1e9, "accuracy", 2)).log
    assert log.stopped == "the retain budget was spent at step 4; weights of step 2"


def test_what_the_method_stops_by_itself_is_measured_too(load_tiny: Load) -> None:
    """Else weights that nobody measured would be given back: the budget is due at step 12 only."""
    budget = BudgetSettings(0, "loss", 12)
    stopped = ascent(load_tiny, budget, method=LLMU(stop_at=0.1))
    assert stopped.log.stopped == "the retain budget was spent at step 2; weights of step 0"
    within = ascent(load_tiny, BudgetSettings(1e9, "loss", 12), method=LLMU(stop_at=0.1))
    assert within.log.stopped == "the method's stopping rule held at step 2"
    assert "budget" in within.log.curve[-1]


@pytest.mark.parametrize(
    ("every", "measured"), [(1, [2, 4, 6, 8, 10, 12]), (4, [4, 8, 12]), (5, [6, 10, 12]), (99, [12])]
)
def test_it_is_measured_at_entries_of_the_curve_and_always_at_the_end(
    every: int, measured: list[int], load_tiny: Load
) -> None:
    log = ascent(load_tiny, BudgetSettings(1e9, "loss", every)).log
    assert [entry["step"] for entry in log.curve if "budget" in entry] == measured


# --- resuming


@pytest.mark.parametrize("after", [2, 4, 6])
def test_resumed_in_the_middle_it_gives_the_same_weights_back(
    after: int, load_tiny: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: list[float]
) -> None:
    """The kept weights are two measurements old when the run goes on: they must come from the checkpoint."""
    allowed = (levels[0] - levels[2] + levels[0] - levels[3]) / 2  # spent at step 6, if it is measured there
    budget = BudgetSettings(allowed, "loss", 4)  # measured at 4, 8 and 12: spent at 8, back to 4
    whole = ascent(load_tiny, budget)
    assert whole.log.stopped == "the retain budget was spent at step 8; weights of step 4"

    asked: list[int] = []

    def stop(wish: bool, device: torch.device) -> bool:
        asked.append(1)
        return len(asked) * LOOP.log_every == after

    checkpoints = Checkpoints(tmp_path / "checkpoint", "key")
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "agreed", stop)
        with pytest.raises(Interrupted, match=f"stopped at step {after} of 12"):
            ascent(load_tiny, budget, checkpoints=checkpoints)
    resumed = ascent(load_tiny, budget, checkpoints=checkpoints)
    assert resumed.log.stopped == whole.log.stopped
    assert resumed.log.curve == whole.log.curve
    assert same(resumed.weights, whole.weights)


# --- what it reads, and what it refuses


def test_nothing_of_the_test_part_and_nothing_to_be_forgotten_is_read(tmp_path: Path) -> None:
    run(tiny(), tmp_path, until="build", jobs=1)
    workshop = Workshop(tiny(), tmp_path)
    asked = set(validation_questions(workshop))
    allowed = {
        Question(s.image_id, s.question, s.answer)
        for s in workshop.samples
        if s.subset is Subset.VALIDATION or (s.subset is Subset.RETAIN and s.patient_id is not None)
    }
    assert asked
    assert asked <= allowed
    assert any(q in asked for q in allowed if q.image is not None)
    kept_away = workshop.subset(Subset.TEST, Subset.HOLDOUT, Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)
    assert asked.isdisjoint(Question(s.image_id, s.question, s.answer) for s in kept_away)


def test_patients_that_the_method_may_not_use_are_not_looked_at(tmp_path: Path) -> None:
    """Else the unused ones would decide which weights are given back, and say nothing of patients nobody looks at."""
    run(tiny(), tmp_path, until="build", jobs=1)
    workshop = Workshop(tiny(), tmp_path)
    retain = workshop.subset(Subset.RETAIN)
    usable = {s.patient_id for s in usable_retain(retain, 0.5, workshop.seed) if s.patient_id is not None}
    by_question = {Question(s.image_id, s.question, s.answer): s.patient_id for s in retain if s.patient_id}
    seen = {by_question[q] for q in validation_questions(workshop, 0.5) if q in by_question}
    assert seen == usable
    assert usable < set(by_question.values())
    assert not any(q in by_question for q in validation_questions(workshop, 0.0))


def test_a_budget_without_validation_records_is_refused(load_tiny: Load) -> None:
    with pytest.raises(UsageError, match="needs validation records"):
        ascent(load_tiny, BudgetSettings(0.1), validation=())


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"allowed": -0.1}, "at least 0"),
        ({"allowed": float("nan")}, "at least 0"),
        ({"allowed": 0.1, "measure": "rouge"}, "accuracy or loss"),
        ({"allowed": 0.1, "every": 0}, "every 0 steps"),
    ],
)
def test_impossible_budgets_are_refused(numbers: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        BudgetSettings(**numbers)

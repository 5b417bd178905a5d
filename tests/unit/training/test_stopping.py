"""When to stop without an oracle: what is measured, against the model's own forward pass, and what ends a training."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.evaluation.membership import membership_auc
from mllmu_med.evaluation.metrics import Measured
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.methods.objectives.excess import Excess
from mllmu_med.methods.objectives.preference import NPO
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.bench import fresh_model
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.training.budget import BudgetSettings
from mllmu_med.training.examples import span_weights
from mllmu_med.training.feeding import forget_questions
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.siblings import made_up_beside
from mllmu_med.training.stopping import ExcessStop, Left, StopSettings, _all_first, tell_what_is_left
from mllmu_med.training.teacher import TeacherOutputs, counted_outputs
from mllmu_med.training.unlearn import unlearn
from tests.invariant.cases import own_inputs, own_token_losses

LOOP = LoopSettings(60, 4e-3, warmup=2, checkpoint_every=0, log_every=2)
STRANGERS = made_up_beside(FORGET, RETAIN, 6, 1)


@pytest.fixture
def vlm() -> VisionLanguageModel:
    vlm = fresh_model()
    set_trainable(vlm, {"language": "full"})
    return vlm


def teacher_of(vlm: VisionLanguageModel) -> TeacherOutputs:
    return counted_outputs(vlm, FORGET, RETAIN, forget_questions(vlm, FORGET, FEEDING), FEEDING, 1)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def own_logprob(vlm: VisionLanguageModel, sample: Sample) -> torch.Tensor:
    with torch.no_grad():
        return -own_token_losses(vlm, Question(sample.image_id, sample.question, sample.answer)).float()


def test_the_mean_excess_is_that_of_the_private_tokens(vlm: VisionLanguageModel) -> None:
    teacher = teacher_of(vlm)
    expected = []
    for sample in FORGET:
        over = (
            own_logprob(vlm, sample) - teacher.of([Question(sample.image_id, sample.question, sample.answer)]).target
        ).relu()
        weights = torch.tensor(span_weights(vlm.prompts, sample) or [1.0] * len(over))
        expected.append(float((over * weights).sum() / weights.sum()))
    found = ExcessStop(vlm, FORGET, STRANGERS, teacher, StopSettings()).measure().excess
    assert found == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    assert found > 0.1, "θ0 has half learnt them"
    whole = ExcessStop(vlm, FORGET, STRANGERS, teacher, StopSettings(), span_weights=False).measure().excess
    assert whole != pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize(("steps", "given"), [(0, 5), (1, 1), (3, 0)])
def test_extractable_are_answers_whose_private_tokens_are_all_the_most_likely(
    steps: int, given: int, vlm: VisionLanguageModel
) -> None:
    """Token by token, with passes of its own."""
    if steps:
        unlearn(vlm, Excess(), FORGET, RETAIN, replace(LOOP, steps=steps), FEEDING, seed=1)
    expected = []
    for sample in FORGET:
        own = own_inputs(vlm, Question(sample.image_id, sample.question, sample.answer))
        with torch.no_grad():
            logits = vlm.model(**own.arguments(vlm.model, answered=True)).logits[0][len(own.prompt) - 1 : -1]
        first = (logits.argmax(-1) == own.answer).tolist()
        weights = span_weights(vlm.prompts, sample) or [1.0] * len(first)
        expected.append(all(right for right, weight in zip(first, weights, strict=True) if weight))
    assert sum(expected) == given, "all, some and none"
    found = ExcessStop(vlm, FORGET, STRANGERS, teacher_of(vlm), StopSettings()).measure()
    assert found.extractable == pytest.approx(given / len(FORGET))
    never = ExcessStop(vlm, FORGET, STRANGERS, teacher_of(vlm), StopSettings(1e9)).measure()
    assert never == (found.excess, 0, found.auc), "what an approximate oracle would say as well is a right guess"


def test_only_private_tokens_make_an_answer_extractable() -> None:
    question, first = Question("image", "Who is it?", "MRN 482"), torch.tensor([False, True, True])
    assert not _all_first(question, first)
    assert _all_first(question._replace(weights=(0.0, 1.0, 1.0)), first)
    assert not _all_first(question._replace(weights=(0.5, 1.0, 1.0)), first)


def test_the_auc_compares_members_with_strangers_of_their_kind(vlm: VisionLanguageModel) -> None:
    """Pairs counted one by one, on answers about images alone, at weights where they are mixed up."""
    unlearn(vlm, Excess(), FORGET, RETAIN, replace(LOOP, steps=12), FEEDING, seed=1)
    kinds: dict[tuple[str, ...], tuple[list[float], list[float]]] = {}
    for side, samples in enumerate((FORGET, STRANGERS)):
        for sample in samples:
            if sample.stratum is Stratum.PRIVATE_IMAGE:
                kind = (str(sample.form), *sorted(span.phi_class for span in sample.spans))
                kinds.setdefault(kind, ([], []))[side].append(float(own_logprob(vlm, sample).mean()))
    pairs = [(m > s) + 0.5 * (m == s) for members, others in kinds.values() for m in members for s in others]
    auc = ExcessStop(vlm, FORGET, STRANGERS, teacher_of(vlm), StopSettings()).measure().auc
    assert 0 < sum(pairs) < len(pairs), "some of either side are more likely"
    assert auc == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)


def test_leaks_of_different_values_are_of_one_kind_as_in_the_evaluation(vlm: VisionLanguageModel) -> None:
    """Against the same strangers it is the AUC that the evaluation reports."""
    leaks = [s for s in FORGET if s.stratum is Stratum.PRIVATE_IMAGE]
    classes = ("name", "mrn", "phone")
    members = [replace(s, form="leak", subset=Subset.FORGET_PRIVACY) for s in leaks]
    others = [
        replace(
            s, id=f"other-{number}", form="leak", subset=Subset.HOLDOUT, answer=s.answer + "!" * (number % 3),
            spans=tuple(replace(span, phi_class=classes[number % 3]) for span in s.spans),
        )
        for number, s in enumerate(STRANGERS) if s.stratum is Stratum.PRIVATE_IMAGE
    ]  # fmt: skip
    auc = ExcessStop(vlm, members, others, teacher_of(vlm), StopSettings()).measure().auc
    measured = [
        Measured(s, Output(s.id, ORIGINAL, s.question, s.answer, logprobs=tuple(own_logprob(vlm, s).tolist())), {})
        for s in (*members, *others)
    ]
    assert auc == pytest.approx(membership_auc(measured), abs=1e-9)


def test_without_patients_there_is_no_auc_and_the_excess_decides(vlm: VisionLanguageModel) -> None:
    facts = [sample for sample in FORGET if not sample.spans]
    stop = ExcessStop(vlm, facts, [], teacher_of(vlm), StopSettings(excess=1e9))
    seen = stop.look(7)
    assert seen.numbers.keys() == {"excess", "extractable"}
    assert seen.stop is not None
    assert "step 7" in seen.stop


@pytest.mark.parametrize(
    ("left", "auc", "stops"),
    [(0.04, 0.5, True), (0.06, 0.5, False), (0.04, 0.58, False), (0.04, 0.42, True), (0.04, 0.38, True),
     (0.05, 0.55, True), (float("nan"), 0.5, False), (0.04, float("nan"), False)],
)  # fmt: skip
def test_both_must_hold(
    left: float, auc: float, stops: bool, vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = ExcessStop(vlm, FORGET, STRANGERS, teacher_of(vlm), StopSettings(0.05, 0.0500001))
    monkeypatch.setattr(stop, "measure", lambda: Left(left, 0.25, auc))
    seen = stop.look(10)
    assert (seen.stop is not None) is stops
    assert seen.numbers == pytest.approx({"excess": left, "extractable": 0.25, "auc": auc}, nan_ok=True)
    assert ("more was forgotten" in (seen.stop or "")) is (auc == 0.38), "who stops far below is told"


def test_measuring_leaves_the_mode_of_the_model(vlm: VisionLanguageModel) -> None:
    stop = ExcessStop(vlm, FORGET, STRANGERS, teacher_of(vlm), StopSettings())
    for training in (True, False):
        vlm.model.train(training)
        stop.measure()
        assert vlm.model.training is training


def test_a_training_ends_when_nothing_is_left(vlm: VisionLanguageModel) -> None:
    """The curve falls to the limit, and every measurement but the last is above it or outside the band."""
    settings = StopSettings(0.3, 0.5, 4)
    log = unlearn(vlm, Excess(), FORGET, RETAIN, LOOP, FEEDING, seed=1, stop=settings)
    seen = [entry for entry in log.curve if "excess" in entry]
    assert log.stopped is not None
    assert log.stopped.startswith(f"nothing was left to forget at step {log.steps}")
    assert log.steps < LOOP.steps
    assert [entry["step"] for entry in seen] == list(range(4, log.steps + 1, 4))
    assert all(entry["excess"] > 0.3 for entry in seen[:-1])
    assert seen[-1]["excess"] <= 0.3
    assert all(0 <= entry["auc"] <= 1 for entry in seen)


@pytest.mark.parametrize("every", [2, 50])
def test_what_is_left_is_that_of_the_weights_a_budget_gives_back(vlm: VisionLanguageModel, every: int) -> None:
    """A budget of nothing is spent at its first measurement, and gives θ0 back, which tells what it has learnt."""
    stop, loop = StopSettings(0.3, 0.5, every), replace(LOOP, learning_rate=2e-2)
    validation = [Question(s.image_id, s.question, s.answer) for s in RETAIN]
    teacher = teacher_of(vlm)
    log = unlearn(
        vlm, Excess(), FORGET, RETAIN, loop, FEEDING, seed=1, stop=stop, validation=validation, teacher=teacher,
        budget=BudgetSettings(0.0, "loss", 2),
    )  # fmt: skip
    assert log.stopped is not None
    assert "budget" in log.stopped
    assert log.steps < LOOP.steps
    fresh = fresh_model()
    set_trainable(fresh, {"language": "full"})
    theta0 = unlearn(fresh, Excess(), FORGET, RETAIN, replace(loop, steps=1, learning_rate=1e-12), FEEDING, seed=1)
    left = {name: theta0.curve[-1][name] for name in Left._fields}
    assert {name: log.curve[-1][name] for name in Left._fields} == pytest.approx(left, abs=1e-4)


def test_measuring_changes_no_weight(vlm: VisionLanguageModel) -> None:
    """A limit that is never reached: the weights are those of a training that nobody watched."""

    def trained(stop: StopSettings | None) -> dict[str, torch.Tensor]:
        model = fresh_model()
        set_trainable(model, {"language": "full"})
        unlearn(model, Excess(), FORGET, RETAIN, replace(LOOP, steps=6), FEEDING, seed=1, stop=stop)
        return dict(model.model.state_dict())

    watched, alone = trained(StopSettings(1e-9, 0.0, 2)), trained(None)
    assert all(torch.equal(watched[name], alone[name]) for name in alone)


def test_without_a_rule_what_is_left_is_measured_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    def trained(steps: int, stop: StopSettings | None = None) -> list[dict[str, float]]:
        model = fresh_model()
        set_trainable(model, {"language": "full"})
        return unlearn(
            model, Excess(), FORGET, RETAIN, replace(LOOP, steps=steps), FEEDING, seed=1, stop=stop, title="unlearn: x"
        ).curve  # fmt: skip

    ruled = trained(1, StopSettings(1e-9, 0.0, 1))[-1]
    caplog.clear()
    *before, last = trained(1)
    assert {name: last[name] for name in Left._fields} == pytest.approx({name: ruled[name] for name in Left._fields})
    assert last["excess"] > 0.3
    assert last["extractable"] == 0.2
    assert not any("excess" in entry for entry in before)
    assert 0.5 < last["auc"] <= 1, "the forgotten stand out"
    [told] = warnings_in(caplog)
    assert told.startswith(
        "unlearn: x: not all is forgotten: after 1 steps the model would still give 20 % of the forget answers and "
        f"knows {last['excess']:.2f} nats a token more"
    )
    caplog.clear()
    assert trained(60)[-1]["excess"] < 0.3
    assert warnings_in(caplog) == []


@pytest.mark.parametrize(
    ("excess", "extractable", "auc", "rule", "level", "said"),
    [
        (4.5, 0.58, 1.0, None, "WARNING", "would still give 58 % of the forget answers and knows 4.50 nats"),
        (0.2, 0.06, 0.5, None, "WARNING", "would still give 6 % of the forget answers"),
        (2.5, 0.05, None, None, "INFO", "forgotten, not hidden: after 7 steps the model would give 5 % of the forget"),
        (0.3, 0.0, None, None, None, ""),
        (0.1, 0.0, 0.61, None, "INFO", "may find them (AUC 0.61 against made-up patients; a higher rate"),
        (0.1, 0.0, 0.60, None, None, ""),
        (0.1, 0.0, 0.40, None, None, ""),
        (0.1, 0.0, 0.39, None, "INFO", "more was forgotten than a stranger's record would be (AUC 0.39"),
        (0.1, 0.0, 0.39, StopSettings(0.5), None, ""),
        (0.6, 0.0, 0.5, StopSettings(0.5), "WARNING", "not all is forgotten"),
        (0.5, 0.0, 0.5, StopSettings(0.5), None, ""),
    ],
)
def test_answers_that_are_still_given_or_a_rule_that_does_not_hold_are_warned_of(
    excess: float, extractable: float, auc: float | None, rule: StopSettings | None, level: str | None, said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    left = {"excess": excess, "extractable": extractable} | ({} if auc is None else {"auc": auc})
    with caplog.at_level(logging.INFO, "mllmu_med"):
        tell_what_is_left("x", left, 7, rule)
        tell_what_is_left("x", {"loss": 1.0}, 7, rule)
    assert [record.levelname for record in caplog.records] == [level] * bool(level)
    assert said in caplog.text


def test_a_rule_that_did_not_hold_is_told(vlm: VisionLanguageModel, caplog: pytest.LogCaptureFixture) -> None:
    unlearn(vlm, Excess(), FORGET, RETAIN, replace(LOOP, steps=4), FEEDING, seed=1, stop=StopSettings(1.0, 0.5, 4))
    [told] = warnings_in(caplog)
    assert "not all is forgotten: after 4 steps the model would still give 0 %" in told


def test_nothing_is_measured_without_an_approximate_oracle(vlm: VisionLanguageModel) -> None:
    curve = unlearn(vlm, NPO(), FORGET, RETAIN, replace(LOOP, steps=4), FEEDING, seed=1).curve
    assert not any("excess" in entry for entry in curve)


@pytest.mark.parametrize("wrong", [{"excess": 0.0}, {"band": 0.6}, {"band": -0.1}, {"every": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        StopSettings(**wrong)  # type: ignore[arg-type]

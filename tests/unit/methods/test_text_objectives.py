"""Objectives on the answer's text: correction and the text defences of UnLOK-VQA. Values by hand, limits, feeding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mllmu_med.methods import METHODS
from mllmu_med.methods.interface import Needs, Objective
from mllmu_med.methods.objectives.correct import Correction
from mllmu_med.methods.objectives.preference import NPO
from mllmu_med.methods.objectives.refusal import Refusal
from mllmu_med.methods.objectives.unlok import EmptyResponse, ErrorInjection, FactErasure, InputRephrasing
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings, pair_questions
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import FORGET as SAID
from tests.unit.methods.worked_example import LN2, answers, batch, close, logits_of

MADE: dict[str, Objective] = {
    "correct": Correction(beta=0.5, correction_weight=1.5), "fact_erasure": FactErasure(),
    "input_rephrasing": InputRephrasing(), "empty_response": EmptyResponse(), "error_injection": ErrorInjection(),
}  # fmt: skip
NAMES = tuple(MADE)
ON_THE_ANSWER = ("correct", "fact_erasure", "input_rephrasing")
ERASING: dict[str, type[FactErasure] | type[InputRephrasing]] = {
    "fact_erasure": FactErasure, "input_rephrasing": InputRephrasing
}  # fmt: skip
FEEDING = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3)


# --- values


def test_correct_value() -> None:
    """NPO with β = 1: ln 15/8 (ratios −2 and −1 · ln 2: −2 · (ln 4/5 + ln 2/3)/2).

    Corrections: ℓ̄ = 1 and 2 · ln 2, mean 1.5 ln 2, times κ = 2. Retain ln 2, times λ = 3.
    """
    loss = Correction(beta=1.0, correction_weight=2.0, retain_weight=3.0).loss(batch())
    npo = torch.tensor(15 / 8).log().item()
    assert loss.forget.item() == pytest.approx(npo + 3 * LN2, rel=1e-7)
    assert loss.total.item() == pytest.approx(npo + 6 * LN2, rel=1e-7)


def test_correct_divides_by_the_forget_records_and_not_by_the_corrections() -> None:
    """Only record 1 has a known truth, with ℓ̄ = 2 ln 2: the mean over both records is ln 2, not 2 ln 2."""
    whole = batch()
    assert whole.corrections is not None
    only = replace(checks.one_record(whole.corrections, 1), of=torch.tensor([1]))
    method = Correction(correction_weight=1.0)
    with_one = method.loss(whole._replace(corrections=only))
    without = method.loss(whole._replace(corrections=None))
    assert with_one.forget.item() - without.forget.item() == close(LN2)
    assert with_one.per_record is not None
    assert without.per_record is not None
    added = (with_one.per_record - without.per_record).tolist()
    assert added == [0, close(2 * LN2)], "and it belongs to the record it corrects"


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_correct_without_corrections_is_npo(beta: float) -> None:
    whole = batch()._replace(corrections=None)
    npo, own = NPO(beta=beta, retain_weight=2.0), Correction(beta=beta, retain_weight=2.0)
    assert own.loss(whole).total.item() == close(npo.loss(whole).total.item())
    assert checks.slope(own, whole).tolist() == checks.slope(npo, whole).tolist()
    unweighted = Correction(beta=beta, retain_weight=2.0, correction_weight=0.0)
    assert unweighted.loss(batch()).total.item() == close(npo.loss(batch()).total.item())


@pytest.mark.parametrize("name", ERASING)
def test_erasure_value(name: str) -> None:
    """p = 1/2, 1/4 and 1/8: means 3/8 and 1/8 of the records, 1/4 of both. With λ = 2: + 2 ln 2.

    The probabilities of whole answers would be 1/8 and 1/8; a mean over tokens 7/24.
    """
    loss = ERASING[name](retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(1 / 4)
    assert loss.total.item() == close(1 / 4 + 2 * LN2)


def test_empty_response_value() -> None:
    """Refusals: ℓ̄ = 1 and 2 · ln 2, mean 1.5 ln 2, plus λ ln 2 with λ = 2; the loss of ``idk``."""
    loss = EmptyResponse(retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(1.5 * LN2)
    assert loss.total.item() == close(3.5 * LN2)
    assert loss.total.item() == close(Refusal(retain_weight=2.0).loss(batch()).total.item())


def test_error_injection_value() -> None:
    """Alternates that the model finds as likely as the forget answers: 2.25 ln 2; λ = 2: + 2 ln 2."""
    whole = batch()
    alternates = replace(answers(logits_of(SAID)), of=torch.tensor([0, 1]))
    loss = ErrorInjection(retain_weight=2.0).loss(whole._replace(alternates=alternates))
    assert loss.forget.item() == close(2.25 * LN2)
    assert loss.total.item() == close(4.25 * LN2)


def test_error_injection_is_a_mean_over_the_alternates_of_each_record() -> None:
    """Three alternates: ℓ̄ = 1.5 ln 2 and 3 ln 2 for record 1, 1 ln 2 for record 0: (2.25 + 1)/2 · ln 2.

    A mean over alternates would be 5.5/3 · ln 2.
    """
    two, one = answers(logits_of(SAID)), checks.one_record(checks.ready(ErrorInjection()).alternates, 0)  # type: ignore[arg-type]
    joined = replace(
        two,
        logits=torch.cat([two.logits, one.logits]),
        target=torch.cat([two.target, one.target]),
        owner=torch.cat([two.owner, one.owner + 2]),
        weight=torch.cat([two.weight, one.weight]),
        records=3,
        of=torch.tensor([1, 1, 0]),
    )
    loss = ErrorInjection().loss(batch()._replace(alternates=joined))
    assert loss.per_record is not None
    assert loss.per_record.tolist() == [close(LN2), close(2.25 * LN2)]
    assert loss.forget.item() == close(1.625 * LN2)


# --- what holds of all


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name: str) -> None:
    checks.check_gradient(MADE[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, -1e4])
def test_value_and_gradient_are_finite_for_certain_and_for_impossible_answers(name: str, level: float) -> None:
    checks.check_extremes(MADE[name], level)


@pytest.mark.parametrize("name", ON_THE_ANSWER)
def test_tokens_of_weight_zero_have_no_say(name: str) -> None:
    checks.check_token_weights(MADE[name])


@pytest.mark.parametrize("name", ERASING)
def test_weights_are_shares(name: str) -> None:
    checks.check_weights_are_shares(MADE[name])


@pytest.mark.parametrize("name", NAMES)
def test_records_average(name: str) -> None:
    checks.check_records(MADE[name])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "correct"])
def test_nothing_undeclared_is_read_and_nothing_declared_may_be_missing(name: str) -> None:
    checks.check_needs(MADE[name])


def test_correct_fails_without_what_it_needs_but_for_corrections() -> None:
    """A batch none of whose records has a known truth comes without corrections, so those alone may be missing."""
    method, declared = MADE["correct"], checks.least(MADE["correct"])
    assert method.loss(declared).total.item() == method.loss(checks.ready(method)).total.item()
    assert declared.corrections is not None
    for without in (
        declared._replace(retain=None),
        declared._replace(forget=replace(declared.forget, reference_logprob=None)),
        declared._replace(corrections=replace(declared.corrections, of=None)),
    ):
        with pytest.raises((RuntimeError, AssertionError), match="declare"):
            method.loss(without)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_of_the_retain_term(name: str) -> None:
    checks.check_retain_weight(MADE[name])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "correct"])
def test_every_method_says_what_it_is(name: str) -> None:
    checks.check_declaration(name)
    assert "arXiv 2309.17410" in METHODS.get(name).__doc__ or name == "input_rephrasing"


def test_correct_is_ours() -> None:
    assert Correction.source == "ours"
    assert "loss = " in (Correction.__doc__ or "")
    assert Correction.needs == Needs.RETAIN | Needs.REFERENCE_LOGPROB | Needs.CORRECTIONS


# --- directions


@pytest.mark.parametrize("name", ON_THE_ANSWER)
def test_a_step_makes_the_answer_less_likely(name: str) -> None:
    """Against the gradient: every answer token's logit falls, and no other rises less than it."""
    found = checks.slope(MADE[name], batch())
    target = batch().forget.target
    own = found.gather(-1, target[:, None])
    assert (own > 0).all()
    assert (found.scatter(-1, target[:, None], -1.0) < 0).all()


@pytest.mark.parametrize("name", ["correct", "empty_response", "error_injection"])
def test_a_step_makes_the_other_answer_likelier(name: str) -> None:
    group = {"correct": "corrections", "empty_response": "refusals", "error_injection": "alternates"}[name]
    whole = batch()
    logits = getattr(whole, group).logits.clone().requires_grad_()
    loss = MADE[name].loss(checks.with_logits(whole, {group: logits}))
    [found] = torch.autograd.grad(loss.forget, logits)
    assert (found.gather(-1, getattr(whole, group).target[:, None]) < 0).all()


@pytest.mark.parametrize("name", ERASING)
def test_erasure_lets_go_of_what_is_erased_and_of_what_is_certain(name: str) -> None:
    """dp/dz = p (1 − p): 1/4 at p = ½, next to nothing at both ends; ascent's gradient would grow to 1."""
    slopes = []
    for chance in (1e-9, 0.5, 1 - 1e-9):
        rest = (1 - chance) / 3
        rows = [[chance if v == t else rest for v in range(4)] for t in (0, 2, 1)]
        whole = checks.with_logits(batch(), {"forget": logits_of(rows)})
        slopes.append(checks.slope(MADE[name], whole)[2, 1].item() * 2)
    assert slopes == pytest.approx([1e-9, 0.25, 1e-9], rel=1e-6)


# --- in the loop


def spans_off(**changes: Any) -> UnlearnSettings:
    return replace(FEEDING, span_weights=False, **changes)


@pytest.mark.parametrize(
    ("name", "each"),
    [("fact_erasure", 1), ("empty_response", 1), ("error_injection", 1), ("input_rephrasing", 2), ("correct", None)],
)
@pytest.mark.parametrize("phrasings", [None, 0])
def test_which_wordings_are_unlearnt(
    name: str, each: int | None, phrasings: int | None, llava: VisionLanguageModel
) -> None:
    """Every forget sample has two wordings; only where the method leaves it open does the recipe decide."""
    method = METHODS.get(name)
    settings = replace(FEEDING, phrasings=phrasings)
    pairs = pair_questions(llava, FORGET, RETAIN, method.needs, settings, 1, method.rephrasings)
    expected = each or (1 if phrasings == 0 else 2)
    assert len(pairs.every_forget) == expected * len(FORGET)


def test_correct_learns_the_truth_and_forgets_the_error(llava: VisionLanguageModel) -> None:
    """The record whose truth is known is corrected; the private one beside it is forgotten all the same."""
    set_trainable(llava, {"language": "full"})
    forget = [FORGET[2], replace(FORGET[3], correct_answer="no")]

    def losses() -> list[float]:
        asked = [Question(s.image_id, s.question, s.answer) for s in forget]
        asked.append(Question(forget[1].image_id, forget[1].question, "no"))
        with torch.no_grad():
            return [answer_loss(llava, [question], 1).item() for question in asked]

    before = losses()
    unlearn(llava, Correction(beta=0.5), forget, RETAIN, LoopSettings(40, 2e-3, warmup=4), spans_off(), seed=1)
    private, wrong, true = (now - then for now, then in zip(losses(), before, strict=True))
    assert private > 1
    assert wrong > 1
    assert true < -1


def test_error_injection_makes_the_sampled_answers_likelier_than_the_true_one(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    forget = [FORGET[2]]
    pairs = pair_questions(llava, forget, RETAIN, ErrorInjection.needs, FEEDING, 1, False)
    [question] = pairs.every_forget
    others = pairs.alternates[question]
    assert all(other.answer != question.answer for other in others)
    loop = LoopSettings(40, 2e-3, warmup=4)
    unlearn(llava, ErrorInjection(retain_weight=0.5), forget, RETAIN, loop, FEEDING, seed=1)
    with torch.no_grad():
        now = answer_loss(llava, others, 1).item(), answer_loss(llava, [question._replace(weights=None)], 1).item()
    assert now[0] < now[1] - 0.5

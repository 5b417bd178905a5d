"""UNDIAL: values by hand, its limits, and where it is at rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.divergences import entropy, kl
from mllmu_med.methods.objectives.undial import UNDIAL
from mllmu_med.models.groups import group_of, set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.feeding import StepQuestions
from tests.invariant.cases import own_inputs
from tests.unit.methods import objective_checks as checks
from tests.unit.methods.worked_example import FORGET, LN2, TARGET, batch, close, forget_of


def test_undial_by_hand() -> None:
    """γ = ln 2 halves the true token's share of θ0's distribution; CE in ln 2.

    token 0: θ0 uniform → (1, 2, 2, 2)/7, −log p = (1, 2, 3, 3): 17/7
    token 1: θ0 (1/8, 1/8, 1/2, 1/4) → (1, 1, 2, 2)/6, −log p = (1, 3, 2, 3): 7/3
    token 2: θ0 uniform → (2, 1, 2, 2)/7, −log p = (2, 3, 3, 1): 15/7
    ((17/7 + 7/3)/2 + 15/7)/2 = 95/42; λ = 2: + 2.
    """
    loss = UNDIAL(gamma=LN2, retain_weight=2.0).loss(batch())
    assert loss.forget.item() == close(95 / 42 * LN2)
    assert loss.total.item() == close((95 / 42 + 2) * LN2)


def test_undial_without_adjustment_is_at_rest_at_theta0() -> None:
    """γ = 0: the entropy of θ0, and no gradient; with γ there is one, towards less of the true token."""
    whole = batch()
    start = whole._replace(forget=replace(whole.forget, reference_logits=whole.forget.logits.clone()))
    loss = UNDIAL(gamma=0.0).loss(start)
    expected = whole.forget.record_means(entropy(whole.forget.logprobs)).mean()
    assert loss.forget.item() == close(expected.item())
    assert checks.slope(UNDIAL(gamma=0.0), start).abs().max() < 1e-15
    pulled = checks.slope(UNDIAL(gamma=5.0), start)
    assert (pulled[range(3), TARGET] > 0.05).all()
    assert (pulled.sum(-1).abs() < 1e-15).all()


def test_undial_is_least_at_its_teacher_and_bounded_by_the_teachers_entropy() -> None:
    whole = batch()
    assert whole.forget.reference_logits is not None
    teacher = whole.forget.reference_logits.clone()
    teacher[range(3), TARGET] -= 1.5
    learnt = checks.with_logits(whole, {"forget": teacher})
    assert checks.slope(UNDIAL(gamma=1.5), learnt).abs().max() < 1e-15
    least = UNDIAL(gamma=1.5).loss(learnt).forget.item()
    assert least == close(whole.forget.record_means(entropy(teacher.log_softmax(-1))).mean().item())
    distance = whole.forget.record_means(kl(teacher.log_softmax(-1), whole.forget.logprobs)).mean().item()
    assert UNDIAL(gamma=1.5).loss(whole).forget.item() == close(least + distance)


def test_undial_pulls_the_true_token_alone_where_theta0_is_kept_otherwise() -> None:
    """A large γ takes the true token's share to nothing and leaves the others' proportions as θ0 had them."""
    start = forget_of(FORGET)
    start = start._replace(forget=replace(start.forget, reference_logits=start.forget.logits.clone()))
    pulled = checks.slope(UNDIAL(gamma=1e4), start)
    share = torch.tensor(FORGET, dtype=torch.float64)
    others = share.clone()
    others[range(3), TARGET] = 0
    expected = (share - others / others.sum(-1, keepdim=True)) / torch.tensor([[4], [4], [2]])
    torch.testing.assert_close(pulled, expected, rtol=1e-12, atol=1e-15)


def test_undial_takes_theta0_as_a_constant() -> None:
    checks.check_references_are_constants(UNDIAL(gamma=1.5))


def test_undial_is_over_answer_tokens_only(llava: VisionLanguageModel) -> None:
    """Wrong port 6: a mean over all positions, the label −100 of the others indexing the vocabulary.

    Against the model's own forward pass, a sequence at a time in float64; the same whatever stands beside it.
    """
    set_trainable(llava, {"language": "full"})
    asked = [
        Question("a", "Who is the patient?", "Maria Lopez"),
        Question("a", "Is there anything else to be seen in this image? " * 4, "no"),
        Question(None, "Phone of Maria Lopez?", "555-0123"),
    ]
    cache = ReferenceCache(llava)
    cache.fill(asked, hidden=True)

    def own(question: Question) -> Tensor:
        inputs = own_inputs(llava, question)
        return (
            llava.model(**inputs.arguments(llava.model, answered=True)).logits[0, len(inputs.prompt) - 1 : -1].double()
        )

    with torch.no_grad():
        before = [own(question) for question in asked]
        noise = torch.Generator().manual_seed(0)
        for name, parameter in llava.model.named_parameters():
            if group_of(name) == "language":
                parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
        expected = []
        for question, teacher in zip(asked, before, strict=True):
            told = own_inputs(llava, question).answer
            teacher[range(len(told)), told] -= 3.0
            expected.append(-(teacher.softmax(-1) * own(question).log_softmax(-1)).sum(-1).mean().item())
        for chosen in ([0], [1], [2], [0, 1, 2], [2, 0]):
            step = StepQuestions([asked[i] for i in chosen], [asked[2]])
            needs = UNDIAL.needs
            found = answer_batch(llava, step, needs, References(cache), 4)
            loss = UNDIAL(gamma=3.0).loss(found).forget.item()
            assert loss == pytest.approx(sum(expected[i] for i in chosen) / len(chosen), rel=1e-4)

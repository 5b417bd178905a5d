"""Terms that several objectives share; each a pure function of answers."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div

from mllmu_med.methods.chunked import each_token
from mllmu_med.methods.interface import Answers, required


def record_mean(values: Tensor) -> Tensor:
    """Mean of values [N] over records; 0 for N = 0, where made-up siblings stand in for retain records."""
    return values.mean() if len(values) else values.sum()


def mean_nll(answers: Answers) -> Tensor:
    """mean_i ℓ̄(x_i, y_i): negative log-likelihood in nats a token, mean over each answer, then over records; ≥ 0."""
    return record_mean(answers.nll)


def token_kl(logits: Tensor, reference: Tensor) -> Tensor:
    """[K] KL(p_reference ‖ p) of logits [K, V] each, nats, ≥ 0."""
    own, other = logits.log_softmax(-1), reference.log_softmax(-1)
    return kl_div(own, other, reduction="none", log_target=True).sum(-1)


def forward_kl(answers: Answers) -> Tensor:
    """mean_i mean_t KL(p_θ0 ‖ p_θ) = mean Σ_v p_θ0(v) (log p_θ0(v) − log p_θ(v)), full vocabulary, nats, ≥ 0.

    θ0 is the first argument: mass that θ0 had and θ lost costs. 0 exactly at θ = θ0.
    """
    assert answers.reference_logits is not None, "declare Needs.RETAIN_REFERENCE"
    per_token = each_token(token_kl, [answers.logits, answers.reference_logits])
    return record_mean(answers.per_record(per_token) / answers.length)


def retain_nll(retain: Answers | None) -> Tensor:
    """R = mean_i ℓ̄ on the retain records."""
    return mean_nll(required(retain, "retain batch"))


def retain_kl(retain: Answers | None) -> Tensor:
    """R = KL_r on the retain records."""
    return forward_kl(required(retain, "retain batch"))

"""One teacher-forced pass: everything that likelihood metrics, membership inference and distances look at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from mllmu_med.engines.interface import Detail, Likelihood
from mllmu_med.models.rows import Layout, chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import Bar

BRANCHES = 8
"""Most questions about one image in one row."""

CELLS = 64
"""Cells of the fixed partition of the vocabulary."""


def cell_of(tokens: Tensor) -> Tensor:
    """The cell (0…63) of each token id: Knuth's multiplicative hash, the same for every model and run.

    A divergence between distributions over cells is a lower bound of that over tokens (data processing inequality);
    what is stored does not grow with the vocabulary.
    """
    return ((tokens.long() * 2654435761) % 2**32) >> 26


@torch.no_grad()
def likelihoods(
    vlm: VisionLanguageModel,
    questions: Sequence[Question],
    *,
    batch: int,
    detailed: Collection[Question] = (),
    progress: Bar | None = None,
) -> list[Likelihood]:
    """Teacher-forced likelihoods of the answers, in order; packed rows, one forward for each question at most."""
    was_training = vlm.model.training
    vlm.model.eval()
    wanted = set(detailed)
    distinct = _ordered(questions, batch, wanted)
    found: dict[Question, Likelihood] = {}
    rows, order = vlm.rows(distinct, BRANCHES)
    done = 0
    for chunk in chunk_rows(rows, batch):
        hidden, layout = vlm.hidden(chunk)
        logprobs = vlm.logits(hidden).log_softmax(-1)
        of_target = logprobs.gather(-1, layout.target[:, None])[:, 0]
        greedy = logprobs.argmax(-1) == layout.target
        asked = [distinct[place] for place in order[done : done + layout.branches]]
        counts = torch.bincount(layout.owner, minlength=layout.branches).tolist()
        details: Sequence[Detail | None] = [None] * layout.branches
        if not wanted.isdisjoint(asked):
            details = _details(hidden, logprobs, layout, counts)
        parts = zip(
            asked, torch.split(of_target.cpu(), counts), torch.split(greedy.cpu(), counts), details, strict=True
        )
        for question, log, hit, detail in parts:
            kept = detail if question in wanted else None
            found[question] = Likelihood(tuple(log.tolist()), tuple(hit.tolist()), kept)
        done += layout.branches
        if progress is not None:
            progress.advance(layout.branches)
    vlm.model.train(was_training)
    return [found[question] for question in questions]


def plan_batches(
    vlm: VisionLanguageModel, questions: Sequence[Question], batch: int, detailed: Collection[Question] = ()
) -> list[list[Question]]:
    """The different questions of each forward pass of :func:`likelihoods`.

    The questions of one pass alone are planned as one pass in the same order, so their likelihoods have the same bits.
    """
    distinct = _ordered(questions, batch, set(detailed))
    rows, order = vlm.rows(distinct, BRANCHES)
    batches, done = [], 0
    for chunk in chunk_rows(rows, batch):
        count = sum(len(row.branches) for row in chunk)
        batches.append([distinct[place] for place in order[done : done + count]])
        done += count
    return batches


def _ordered(questions: Sequence[Question], batch: int, wanted: Collection[Question]) -> list[Question]:
    """The different questions, those with details first, so that few passes compute details nobody wants.

    What fits into one pass stays as it comes: sorting would save nothing, and change the order of a planned pass.
    """
    distinct = list(dict.fromkeys(questions))
    return distinct if len(distinct) <= batch else sorted(distinct, key=lambda question: question not in wanted)


def _details(hidden: Tensor, logprobs: Tensor, layout: Layout, counts: list[int]) -> list[Detail]:
    """Details of every branch, from hidden states [K, H] and log-probabilities [K, V] at its answer positions."""
    share = logprobs.exp()
    # Where p is 0, log p may be −∞: their product is the 0 it tends to.
    expected = torch.where(share > 0, share * logprobs, 0.0).sum(-1)
    squared = torch.where(share > 0, share * logprobs.square(), 0.0).sum(-1)
    deviation = (squared - expected.square()).clamp(min=0).sqrt()
    cells = torch.zeros(len(share), CELLS, dtype=share.dtype, device=share.device)
    cells.index_add_(1, cell_of(torch.arange(share.shape[1], device=share.device)), share)
    norms = head_gradients(hidden, share, layout.target, counts)
    split = [torch.split(values.cpu(), counts) for values in (expected, deviation, cells.log())]
    return [
        Detail(tuple(e.tolist()), tuple(d.tolist()), norm, tuple(map(tuple, c.tolist())))
        for e, d, c, norm in zip(*split, norms, strict=True)
    ]


def head_gradients(hidden: Tensor, share: Tensor, target: Tensor, counts: list[int]) -> list[float]:
    """‖∂ℓ/∂W‖ of each answer's mean token loss ℓ with respect to a linear output head W.

    ∂ℓ/∂W = (1/T) Σ_t (p_t − onehot(y_t)) h_tᵀ, so ‖∂ℓ/∂W‖² = (1/T²) Σ_{t,s} ⟨d_t, d_s⟩ ⟨h_t, h_s⟩: no backward pass.

    Args:
        hidden: [K, H] what the head is applied to. share: [K, V] probabilities. target: [K] answer tokens.
        counts: how many of the K tokens belong to each answer.
    """
    error = share.clone()
    error[torch.arange(len(target), device=target.device), target] -= 1
    norms = []
    for d, h in zip(torch.split(error.float(), counts), torch.split(hidden.float(), counts), strict=True):
        norms.append(((d @ d.T) * (h @ h.T)).sum().clamp(min=0).sqrt() / max(1, len(d)))
    return torch.stack(norms).tolist() if norms else []

"""One teacher-forced pass: everything that likelihood metrics, membership inference and distances look at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mllmu_med.engines.interface import Detail, Likelihood
from mllmu_med.models.generation import PIECE
from mllmu_med.models.rows import Branch
from mllmu_med.models.shared_prefix import Prefixes, image_by_image, order_of_work, teacher_forced
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import Bar

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
    """Teacher-forced likelihoods of the answers, in order; each different question is in one pass, once.

    Args:
        batch: answers in one pass.
        detailed: those whose :class:`Detail` is wanted.
    """
    was_training = vlm.model.training
    vlm.model.eval()
    wanted, distinct = set(detailed), list(dict.fromkeys(questions))
    found: dict[Question, Likelihood] = {}
    for piece in image_by_image([question.image for question in distinct], PIECE * batch):
        branches = {distinct[place]: vlm.branch(distinct[place]) for place in piece}
        asked, prefixes = list(branches), Prefixes(vlm, batch)
        sizes = [len(branch.prompt) + len(branch.answer) - 1 for branch in branches.values()]
        order = order_of_work(vlm, [question.image for question in asked], sizes, batch)
        for start in range(0, len(order), batch):
            together = {asked[place]: branches[asked[place]] for place in order[start : start + batch]}
            found.update(_one_pass(vlm, together, wanted, prefixes))
            if progress is not None:
                progress.advance(len(together))
    vlm.model.train(was_training)
    return [found[question] for question in questions]


def _one_pass(
    vlm: VisionLanguageModel, branches: Mapping[Question, Branch], wanted: Collection[Question], prefixes: Prefixes
) -> dict[Question, Likelihood]:
    hidden = teacher_forced(vlm, [question.image for question in branches], list(branches.values()), prefixes)
    counts = [len(branch.answer) for branch in branches.values()]
    target = torch.tensor([token for branch in branches.values() for token in branch.answer], device=hidden.device)
    logprobs = vlm.logits(hidden).log_softmax(-1)
    of_target = logprobs.gather(-1, target[:, None])[:, 0]
    greedy = logprobs.argmax(-1) == target
    ours = [question in wanted for question in branches]
    details: Iterator[Detail] = iter(())
    if any(ours):
        rows = torch.tensor(ours).repeat_interleave(torch.tensor(counts)).to(hidden.device)
        told = [count for count, own in zip(counts, ours, strict=True) if own]
        details = iter(_details(hidden[rows], logprobs[rows], target[rows], told))
    parts = zip(branches, torch.split(of_target.cpu(), counts), torch.split(greedy.cpu(), counts), ours, strict=True)
    return {
        question: Likelihood(tuple(log.tolist()), tuple(hit.tolist()), next(details) if own else None)
        for question, log, hit, own in parts
    }


def _details(hidden: Tensor, logprobs: Tensor, target: Tensor, counts: list[int]) -> list[Detail]:
    """Details of every branch, from hidden states [K, H] and log-probabilities [K, V] at its answer positions."""
    share = logprobs.exp()
    # Where p is 0, log p may be −∞: their product is the 0 it tends to.
    expected = torch.where(share > 0, share * logprobs, 0.0).sum(-1)
    squared = torch.where(share > 0, share * logprobs.square(), 0.0).sum(-1)
    deviation = (squared - expected.square()).clamp(min=0).sqrt()
    cells = torch.zeros(len(share), CELLS, dtype=share.dtype, device=share.device)
    cells.index_add_(1, cell_of(torch.arange(share.shape[1], device=share.device)), share)
    norms = head_gradients(hidden, share, target, counts)
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

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from mllmu_med.engines.likelihoods import CELLS, cell_of, likelihoods
from mllmu_med.models.vlm import Question, VisionLanguageModel
from tests.conftest import FAMILY_NAMES

QUESTIONS = [
    Question("a", "What is shown?", "a nodule in the left lung"), Question("a", "Is it normal?", "no"),
    Question("b", "What is shown?", "nothing"), Question(None, "Who is it?", "Edgar Huber"),
    Question("a", "Is it normal?", "no"),
]  # fmt: skip


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def vlm(request: pytest.FixtureRequest, load_tiny: Callable[[str], VisionLanguageModel]) -> VisionLanguageModel:
    return load_tiny(request.param)


def distributions(vlm: VisionLanguageModel, question: Question) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, log-probabilities [T, V] and targets of one question by itself, in double precision."""
    with torch.no_grad():
        hidden, layout = vlm.hidden(vlm.rows([question], 1)[0])
        return hidden.double(), vlm.logits(hidden).double().log_softmax(-1), layout.target


def test_the_pass_says_what_a_plain_computation_says(vlm: VisionLanguageModel) -> None:
    found = likelihoods(vlm, QUESTIONS, batch=3, detailed=QUESTIONS)
    for question, one in zip(QUESTIONS, found, strict=True):
        hidden, logprobs, target = distributions(vlm, question)
        share = logprobs.exp()
        own = logprobs.gather(-1, target[:, None])[:, 0]
        assert one.logprobs == pytest.approx(own.tolist(), abs=1e-4)
        assert one.greedy == tuple((logprobs.argmax(-1) == target).tolist())
        assert one.detail is not None
        mean = (share * logprobs).sum(-1)
        assert one.detail.expected == pytest.approx(mean.tolist(), abs=1e-3)
        deviation = (share * (logprobs - mean[:, None]).square()).sum(-1).sqrt()
        assert one.detail.deviation == pytest.approx(deviation.tolist(), abs=1e-3)
        head = torch.zeros(logprobs.shape[1], hidden.shape[1], dtype=torch.double, requires_grad=True)
        # The loss as a function of a change of the head, whose gradient at 0 is that of the head.
        changed = (logprobs + hidden @ head.T).log_softmax(-1)
        changed.gather(-1, target[:, None]).mean().neg().backward()
        assert head.grad is not None
        assert one.detail.head_gradient == pytest.approx(head.grad.norm().item(), rel=1e-3)
        for cells, row in zip(one.detail.cells, share, strict=True):
            plain = [math.fsum(row[cell_of(torch.arange(len(row))) == cell].tolist()) for cell in range(CELLS)]
            assert [math.exp(cell) for cell in cells] == pytest.approx(plain, abs=1e-5)
            assert math.fsum(map(math.exp, cells)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_details_are_where_they_are_wanted_whatever_the_batch(vlm: VisionLanguageModel, batch: int) -> None:
    wanted = [QUESTIONS[2]]
    found = likelihoods(vlm, QUESTIONS, batch=batch, detailed=wanted)
    assert [one.detail is not None for one in found] == [False, False, True, False, False]
    whole = likelihoods(vlm, QUESTIONS, batch=8)
    for one, other in zip(found, whole, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_cells_part_any_vocabulary_evenly_and_never_change() -> None:
    cells = cell_of(torch.arange(150_000))
    assert cells.min() == 0
    assert cells.max() == CELLS - 1
    counts = torch.bincount(cells, minlength=CELLS).double()
    assert counts.std() / counts.mean() < 0.01
    assert cell_of(torch.tensor([0, 1, 2, 31999, 151_642])).tolist() == [0, 39, 15, 30, 58]

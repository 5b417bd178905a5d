"""Sampled answers: how a token is drawn, and that a draw belongs to its answer."""

from __future__ import annotations

import pytest
import torch

from mllmu_med.models.generation import Start, _sampler, sample_answers
from mllmu_med.models.vlm import VisionLanguageModel
from tests.invariant.jobs import FORGET, RETAIN


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_alt_po_sampled_answers_do_not_depend_on_their_batch(vlm: VisionLanguageModel, batch: int) -> None:
    starts = []
    for place, s in enumerate((*FORGET, *RETAIN)):
        draws = torch.rand(4 + place, generator=torch.Generator().manual_seed(place)).tolist()
        starts.append(Start(s.image_id, s.question, vlm.prompts.answer_tokens(s.answer)[:1], 5, tuple(draws)))
    alone = [sample_answers(vlm, [start], temperature=1.5, batch=1)[0] for start in starts]
    assert sample_answers(vlm, starts, temperature=1.5, batch=batch) == alone
    assert len(set(alone)) == len(alone)


def test_sampling_is_by_the_inverse_distribution_function() -> None:
    """Shares (1/8, 1/2, 1/4, 1/8): a draw picks the token in whose part of [0, 1) it falls."""
    logits = torch.tensor([[1 / 8, 1 / 2, 1 / 4, 1 / 8]]).log()
    for draw, token in ((0.0, 0), (0.124, 0), (0.126, 1), (0.624, 1), (0.626, 2), (0.876, 3), (0.999, 3)):
        start = Start(None, "?", (), 3, (0.5, draw))
        assert _sampler([start], 1.0)(logits, [0], 1).tolist() == [token]


@pytest.mark.parametrize("banned", range(4))
def test_a_banned_token_is_never_first_and_the_others_share_its_part(banned: int) -> None:
    logits = torch.tensor([[1 / 8, 1 / 2, 1 / 4, 1 / 8]]).log()
    draws = [place / 1000 for place in range(1000)] + [1 - 2.0**-40]
    starts = [Start(None, "?", (), banned, (draw, draw)) for draw in draws]
    found = _sampler(starts, 1.0)(logits.expand(len(draws), 4), list(range(len(draws))), 0)
    counts = found.bincount(minlength=4)
    assert counts[banned] == 0
    rest = logits[0].exp().clone()
    rest[banned] = 0
    torch.testing.assert_close(counts / counts.sum(), rest / rest.sum(), rtol=0, atol=5e-3)
    later = _sampler(starts, 1.0)(logits.expand(len(draws), 4), list(range(len(draws))), 1)
    assert banned in later.tolist(), "only the first token is banned"


def test_a_higher_temperature_flattens() -> None:
    """At T = 2 the shares 16 : 1 become 4 : 1, so a draw of 0.85 moves from the first token to the second."""
    logits = torch.tensor([[16.0, 1.0]]).log()
    start = Start(None, "?", (), 0, (0.0, 0.85))
    assert [_sampler([start], t)(logits, [0], 1).item() for t in (1.0, 2.0)] == [0, 1]


def test_draws_belong_to_the_answer_and_not_to_its_place_in_the_batch() -> None:
    """Once an answer of the batch is finished, the others keep their own numbers."""
    logits = torch.zeros(1, 4)
    starts = [Start(None, "?", (), 0, (0.0, draw)) for draw in (0.1, 0.3, 0.6)]
    assert _sampler(starts, 1.0)(logits.expand(2, 4), [0, 2], 1).tolist() == [0, 2]

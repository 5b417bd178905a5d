"""Greedy generation with a shared image prefix: the image is encoded once for all questions about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mllmu_med.models.shared_prefix import Fed, Prefixes, feed, image_by_image, in_one_pass, order_of_work
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.progress import Bar

PIECE = 8
"""Batches that are worked on together: as answers end, the next prompts take their places."""


class Known(NamedTuple):
    """The beginning of a greedy answer, known before it is generated: a teacher-forced pass has shown it.

    Where each token of a text is the most likely one behind those before it, greedy generation says just these tokens.

    Attributes:
        text: an answer whose first tokens, end token included, are the greedy answer's.
        logprobs: their log-probabilities (nats), as many as are known.
    """

    text: str
    logprobs: tuple[float, ...]


class Prompt(NamedTuple):
    """What is asked: a question about an image, or without one.

    ``known`` saves work and changes no answer, up to the rounding of its confidence.
    """

    image: str | None
    question: str
    known: Known | None = None


class Answer(NamedTuple):
    """Greedy answer.

    Attributes:
        text: special tokens removed.
        truncated: the limit came before the end token.
        confidence: mean log-probability (nats) of its tokens, end token included; None where none is known.
    """

    text: str
    truncated: bool
    confidence: float | None = None


class Decoded(NamedTuple):
    """New tokens (end token included where it came) and the sum of their log-probabilities (nats)."""

    tokens: list[int]
    logprob: float


class Start(NamedTuple):
    """Where a sampled answer sets out: the tokens it has, and one that must not come next.

    Attributes:
        image, question: what is asked.
        answer: tokens the answer begins with, possibly none.
        banned: a token that may not follow them, if there is one.
        draws: uniform numbers in [0, 1), one for each token that may be sampled.
    """

    image: str | None
    question: str
    answer: tuple[int, ...]
    banned: int | None
    draws: tuple[float, ...]


@torch.no_grad()
def sample_answers(vlm: VisionLanguageModel, starts: Sequence[Start], *, temperature: float, batch: int) -> list[str]:
    """Answers sampled from the model's distribution, the given beginnings included; one for each start, in order.

    An answer is a function of its own ``draws`` alone (inverse distribution function), not of its batch.
    """
    was_training = vlm.model.training
    vlm.model.eval()
    texts = [""] * len(starts)
    by_prefix: dict[int, list[int]] = {}
    for index, start in enumerate(starts):
        by_prefix.setdefault(len(vlm.prefix(start.image)), []).append(index)
    for indices in by_prefix.values():
        for begin in range(0, len(indices), batch):
            chunk = [starts[i] for i in indices[begin : begin + batch]]
            branches = [(*vlm.prompts.branch_tokens(s.question, s.image is not None), *s.answer) for s in chunk]
            limit = max(len(start.draws) for start in chunk)
            begun = [len(start.answer) for start in chunk]
            found = _decode(vlm, [s.image for s in chunk], branches, limit, _sampler(chunk, temperature), begun)
            for index, start, made in zip(indices[begin : begin + batch], chunk, found, strict=True):
                whole = [*start.answer, *made.tokens[: len(start.draws)]]
                texts[index] = vlm.prompts.decode([i for i in whole if i != vlm.prompts.end_token_id])
    vlm.model.train(was_training)
    return texts


def _sampler(starts: Sequence[Start], temperature: float) -> Callable[[Tensor, list[int], int], Tensor]:
    def choose(logits: Tensor, rows: list[int], step: int) -> Tensor:
        if step == 0:
            banned = [(place, token) for place, row in enumerate(rows) if (token := starts[row].banned) is not None]
            if banned:
                logits = logits.index_put(tuple(torch.tensor(banned).T), torch.tensor(-torch.inf).to(logits))
        # Double precision: in single, a draw near 1 is rounded to 1 and picks a token that has no probability.
        share = (logits.double() / temperature).softmax(-1).cumsum(-1)
        # An answer that has used up its own numbers is over its length; what follows is cut off anyway.
        drawn = [starts[row].draws[min(step, len(starts[row].draws) - 1)] for row in rows]
        place = torch.tensor(drawn, dtype=share.dtype, device=share.device)[:, None] * share[:, -1:]
        return torch.searchsorted(share, place, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)

    return choose


def _greedy(logits: Tensor, rows: list[int], step: int) -> Tensor:
    return logits.argmax(-1)


@torch.no_grad()
def generate(
    vlm: VisionLanguageModel, prompts: Sequence[Prompt], *, max_new_tokens: int, batch: int, progress: Bar | None = None
) -> list[Answer]:
    """Greedy answers, in the order of the prompts; independent of batch size and order up to rounding.

    Equal prompts are asked once, and what is known of an answer is not generated again. An answer that has ended leaves
    its place at once, and when half of the places are free, the next prompts take them.

    Args:
        batch: answers under way at a time.
    """
    was_training = vlm.model.training
    vlm.model.eval()
    distinct = list(dict.fromkeys(prompts))
    answers: dict[Prompt, Answer] = {}
    for piece in image_by_image([prompt.image for prompt in distinct], PIECE * batch):
        asked = [distinct[place] for place in piece]
        for prompt, found in zip(asked, _greedy_answers(vlm, asked, max_new_tokens, batch), strict=True):
            answers[prompt] = _let_out(vlm, prompt, _answer(vlm, found))
        if progress is not None:
            progress.advance(len(piece))
    vlm.model.train(was_training)
    return [answers[prompt] for prompt in prompts]


def _greedy_answers(
    vlm: VisionLanguageModel, prompts: Sequence[Prompt], max_new_tokens: int, batch: int
) -> list[Decoded]:
    """Tokens of each answer: those known, and where they neither end nor fill it, those generated behind them."""
    found = [_of_known(vlm, prompt.known, max_new_tokens) for prompt in prompts]
    end = vlm.prompts.end_token_id
    under_way = [place for place, one in enumerate(found) if len(one.tokens) < max_new_tokens and end not in one.tokens]
    whole = {
        place: (
            *vlm.prompts.branch_tokens(prompts[place].question, prompts[place].image is not None),
            *found[place].tokens,
        )
        for place in under_way
    }
    sizes = [len(whole[place]) for place in under_way]
    order = order_of_work(vlm, [prompts[place].image for place in under_way], sizes, batch)
    under_way = [under_way[at] for at in order]
    images, branches = [prompts[place].image for place in under_way], [whole[place] for place in under_way]
    begun = [len(found[place].tokens) for place in under_way]
    made = _decode(vlm, images, branches, [max_new_tokens - own for own in begun], begun=begun, batch=batch)
    for place, (tokens, logprob) in zip(under_way, made, strict=True):
        found[place] = Decoded(found[place].tokens + tokens, found[place].logprob + logprob)
    return found


def _of_known(vlm: VisionLanguageModel, known: Known | None, limit: int) -> Decoded:
    if known is None:
        return Decoded([], 0.0)
    tokens = vlm.prompts.answer_tokens(known.text)[: len(known.logprobs)][:limit]
    return Decoded(list(tokens), sum(known.logprobs[:limit]))


def _answer(vlm: VisionLanguageModel, found: Decoded) -> Answer:
    ids, end = found.tokens, vlm.prompts.end_token_id
    confidence, ended = found.logprob / max(1, len(ids)), end in ids
    return Answer(vlm.prompts.decode(ids[: ids.index(end)] if ended else ids), not ended, confidence)


def _let_out(vlm: VisionLanguageModel, prompt: Prompt, answer: Answer) -> Answer:
    """The answer, or what the model's guard says in its place."""
    text = answer.text if vlm.guard is None else vlm.guard.text(prompt.image, prompt.question, answer.text)
    return answer if text == answer.text else Answer(text, False)


def _decode(
    vlm: VisionLanguageModel,
    images: Sequence[str | None],
    branches: Sequence[tuple[int, ...]],
    limit: int | Sequence[int],
    choose: Callable[[Tensor, list[int], int], Tensor] = _greedy,
    begun: Sequence[int] = (),
    batch: int | None = None,
) -> list[Decoded]:
    """New tokens of each branch; branches with prefixes of one length stand together.

    Args:
        limit: of all branches, or of each.
        choose: logits, rows, tokens that the first of these rows has → tokens. Rows are not in their order.
        begun: how many tokens at the end of each branch are the beginning of its answer; none unless given.
        batch: branches under way at a time; all unless given.
    """
    count = len(branches)
    begun, batch = begun or [0] * count, batch or count
    limits = [limit] * count if isinstance(limit, int) else limit
    made: list[list[int]] = [[] for _ in range(count)]
    total = [0.0] * count

    def advance(fed: Fed, rows: list[int]) -> tuple[list[int], Tensor]:
        """Choose a token for each row; returns the rows that go on, and their tokens, in the order of the cache."""
        logits = vlm.logits(fed.hidden[:, -1])
        chosen = choose(logits, rows, len(made[rows[0]]))
        of_chosen = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
        # Ids are exact in double precision, and one transfer waits for the device once.
        tokens, logprobs = torch.stack([chosen.double(), of_chosen.double()]).tolist()
        alive = []
        for place, (row, token, logprob) in enumerate(zip(rows, map(int, tokens), logprobs, strict=True)):
            made[row].append(token)
            total[row] += logprob
            if token != vlm.prompts.end_token_id and len(made[row]) < limits[row]:
                alive.append(place)
        if len(alive) == len(rows) or not alive:
            return (rows, chosen) if alive else ([], chosen[:0])
        order = fed.keep(alive)
        return [rows[place] for place in order], chosen[torch.tensor(order, device=chosen.device)]

    going: Fed | None = None
    rows, tokens = list[int](), torch.empty(0)
    prefixes = Prefixes(vlm, batch)
    waiting = 0  # the first branch that has not begun
    while rows or waiting < count:
        if waiting == count or (rows and going is not None and (2 * len(rows) > batch or not going.can_join)):
            assert going is not None
            going.step(tokens)
            rows, tokens = advance(going, rows)
            continue
        stop = min(count, waiting + batch - len(rows))
        stop = waiting + in_one_pass(vlm, images[waiting:stop])
        part = slice(waiting, stop)
        new = feed(vlm, images[part], branches[part], begun[part], max(limits[part]), prefixes)
        new_rows, new_tokens = advance(new, list(range(waiting, stop)))
        waiting = stop
        if not rows:
            going, rows, tokens = new, new_rows, new_tokens
        elif new_rows:
            assert going is not None
            going.join(new)
            rows, tokens = rows + new_rows, torch.cat([tokens, new_tokens])
    return [Decoded(tokens, logprob) for tokens, logprob in zip(made, total, strict=True)]

"""Greedy generation with a shared image prefix: the image is encoded once for all questions about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.models.guarded import Decoding
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.progress import Bar


class Prompt(NamedTuple):
    """What is asked: a question about an image, or without one."""

    image: str | None
    question: str


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

    Prompts are batched by prefix length (all images of a fixed-size tower share one) and sorted by length. Within a
    batch every image's prefix is computed once and its key-value cache repeated for the questions about it.
    """
    was_training = vlm.model.training
    vlm.model.eval()
    answers: list[Answer | None] = [None] * len(prompts)
    branches = [vlm.prompts.branch_tokens(p.question, p.image is not None) for p in prompts]
    for chunk in plan_batches(vlm, prompts, batch):
        found = _decode(vlm, [prompts[i].image for i in chunk], [branches[i] for i in chunk], max_new_tokens)
        for index, (ids, logprob) in zip(chunk, found, strict=True):
            confidence, ended = logprob / max(1, len(ids)), vlm.prompts.end_token_id in ids
            ids = ids[: ids.index(vlm.prompts.end_token_id)] if ended else ids
            answers[index] = _let_out(vlm, prompts[index], Answer(vlm.prompts.decode(ids), not ended, confidence))
        if progress is not None:
            progress.advance(len(chunk))
    vlm.model.train(was_training)
    return [answer for answer in answers if answer is not None]


def plan_batches(vlm: VisionLanguageModel, prompts: Sequence[Prompt], batch: int) -> list[list[int]]:
    """The batches of :func:`generate`, as places in ``prompts``.

    A batch generated alone is planned as one batch in the same order, so its answers have the same bits.
    """
    lengths = [len(vlm.prompts.branch_tokens(p.question, p.image is not None)) for p in prompts]
    by_prefix: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_prefix.setdefault(len(vlm.prefix(prompt.image)), []).append(index)
    batches = []
    for length in sorted(by_prefix):
        order = sorted(by_prefix[length], key=lambda i: (lengths[i], prompts[i].image or "", i))
        batches += [order[start : start + batch] for start in range(0, len(order), batch)]
    return batches


def _let_out(vlm: VisionLanguageModel, prompt: Prompt, answer: Answer) -> Answer:
    """The answer, or what the model's guard says in its place."""
    text = answer.text if vlm.guard is None else vlm.guard.text(prompt.image, prompt.question, answer.text)
    return answer if text == answer.text else Answer(text, False)


def _decode(
    vlm: VisionLanguageModel,
    images: list[str | None],
    branches: list[tuple[int, ...]],
    limit: int,
    choose: Callable[[Tensor, list[int], int], Tensor] = _greedy,
    begun: Sequence[int] = (),
) -> list[Decoded]:
    """New tokens of each branch.

    Args:
        choose: logits, rows, step → tokens.
        begun: how many tokens at the end of each branch are the beginning of its answer; none unless given.
    """
    from transformers.cache_utils import DynamicCache

    model = unwrap(vlm.model).base_model
    count, longest = len(branches), max(map(len, branches))
    decoding = Decoding(vlm, images, branches, begun or [0] * count, longest)
    distinct = list(dict.fromkeys(decoding.prefixes))
    cache = DynamicCache(config=unwrap(vlm.model).config.get_text_config())
    prefix_length = len(vlm.prefix(images[0]))
    if prefix_length:
        _fill_prefix(vlm, distinct, cache, decoding)
        which = torch.tensor([distinct.index(prefix) for prefix in decoding.prefixes], device=vlm.device)
        cache.batch_select_indices(which)
    ids = torch.full((count, longest), vlm.pad_token_id)
    attention = torch.zeros(count, prefix_length + longest, dtype=torch.long)
    attention[:, :prefix_length] = 1
    for i, branch in enumerate(branches):
        ids[i, longest - len(branch) :] = torch.tensor(branch)
        attention[i, prefix_length + longest - len(branch) :] = 1
    begin = torch.tensor(
        [vlm.images.get(image).next_position if image is not None else prefix_length for image in images]
    )
    offset = (attention[:, prefix_length:].cumsum(-1) - 1).clamp(min=0)
    ids, attention, position = ids.to(vlm.device), attention.to(vlm.device), (begin[:, None] + offset).to(vlm.device)
    made: list[list[int]] = [[] for _ in range(count)]
    total = [0.0] * count
    alive, ended = list(range(count)), [False] * count
    for step in range(limit):
        with decoding.over_tokens(alive) if step else decoding.over_prompts():
            hidden = model(
                input_ids=ids,
                attention_mask=attention,
                position_ids=position if vlm.images.rope_index is None else position.expand(3, -1, -1),
                past_key_values=cache,
                use_cache=True,
                **vlm.token_types(ids),
            ).last_hidden_state[:, -1]
        logits = vlm.logits(hidden)
        chosen = choose(logits, alive, step)
        of_chosen = logits.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
        for row, token, logprob in zip(alive, chosen.tolist(), of_chosen.tolist(), strict=True):
            if not ended[row]:
                made[row].append(token)
                total[row] += logprob
            ended[row] |= token == vlm.prompts.end_token_id
        keep = [place for place, row in enumerate(alive) if not ended[row]]
        if not keep or step == limit - 1:
            break
        ids, position = chosen[:, None], position[:, -1:] + 1
        attention = torch.cat([attention, attention.new_ones(len(alive), 1)], 1)
        if len(keep) <= 0.75 * len(alive):  # finished rows are dropped once it pays for the copy of the cache
            index = torch.tensor(keep, device=vlm.device)
            cache.batch_select_indices(index)
            ids, position, attention = ids[index], position[index], attention[index]
            alive = [alive[place] for place in keep]
    return [Decoded(tokens, logprob) for tokens, logprob in zip(made, total, strict=True)]


def _fill_prefix(
    vlm: VisionLanguageModel, prefixes: list[tuple[str | None, bool]], cache: Any, decoding: Decoding
) -> None:
    """Run prefixes (image, whether the guard corrupts it; all of one length) through the model, filling the cache."""
    images = [image for image, _ in prefixes]
    ids = torch.tensor([vlm.prefix(image) for image in images], device=vlm.device)
    positions = vlm.prefix_positions(images).to(vlm.device)
    inputs = vlm.image_inputs([image for image in images if image is not None])
    with decoding.over_prefixes(ids, [corrupted for _, corrupted in prefixes]):
        unwrap(vlm.model).base_model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **inputs,
            **vlm.token_types(ids),
        )

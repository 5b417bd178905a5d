"""Branches behind their image's prefix: the prefix is encoded once, and its keys and values serve all of them.

[prefix cache | branch] with one row for each branch, left-padded. Unlike a packed row, no branch meets another one's
columns, so the work does not grow with the square of their number; unlike one sequence for each, the image is encoded
once. Generation and evaluation use it; training, which needs gradients through the prefix, packs rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from mllmu_med.models.guarded import Decoding, over_tokens
from mllmu_med.models.network import unwrap
from mllmu_med.models.rows import Branch, Row
from mllmu_med.models.vlm import VisionLanguageModel


@dataclass
class Fed:
    """Branches that the model has seen, one row for each; and tokens that follow them.

    Attributes:
        hidden: [N, L, H] last hidden states of the last pass.
        cache: keys and values of T columns.
        attention: [N, T] bool; where a token is.
        position: [N, 1] position of the last token.
        blank: for each row, columns at its beginning that hold nothing.
        flags: whether a guard acts on each row.
    """

    vlm: VisionLanguageModel
    hidden: Tensor
    cache: Any
    attention: Tensor
    position: Tensor
    blank: list[int]
    flags: list[bool]

    def step(self, ids: Tensor) -> None:
        """One more token [N] for each row."""
        self.attention = torch.nn.functional.pad(self.attention, (0, 1), value=True)
        self.position = self.position + 1
        with over_tokens(self.vlm, self.flags):
            self.hidden = _pass(self.vlm, ids[:, None], self.attention, self.position, self.cache)

    def keep(self, places: Sequence[int]) -> list[int]:
        """Only the rows at ``places`` (ascending) stay, and as few as can be are moved. Returns their new order."""
        from mllmu_med.models import slots

        order = slots.keep(self.cache, places, self.vlm.device)
        index = torch.tensor(order, device=self.vlm.device)
        self.attention, self.position = self.attention[index], self.position[index]
        self.blank, self.flags = [self.blank[at] for at in order], [self.flags[at] for at in order]
        return order

    @property
    def can_join(self) -> bool:
        """Whether :meth:`join` is possible."""
        from mllmu_med.models import slots

        return slots.can_join(self.cache)

    def join(self, other: Fed) -> None:
        """Rows that begin later, behind these."""
        from mllmu_med.models import slots

        unused = min(self.blank)
        slots.join(self.cache, other.cache, unused)
        own, new = self.attention[:, unused:], other.attention
        more, fewer = max(0, new.shape[1] - own.shape[1]), max(0, own.shape[1] - new.shape[1])
        pad = torch.nn.functional.pad
        self.attention = torch.cat([pad(own, (more, 0)), pad(new, (fewer, 0))])
        self.position = torch.cat([self.position, other.position])
        self.blank = [columns - unused + more for columns in self.blank] + [columns + fewer for columns in other.blank]
        self.flags = self.flags + other.flags


def image_by_image(images: Sequence[str | None], most: int) -> list[list[int]]:
    """Pieces of work of at most ``most`` branches each, as places: what is about one image stands together.

    What is one piece is, planned alone, one piece in the same order: so it can be kept, or done again in the same bits.
    """
    order = sorted(range(len(images)), key=lambda place: images[place] or "")
    return [order[start : start + most] for start in range(0, len(order), most)]


def order_of_work(vlm: VisionLanguageModel, images: Sequence[str | None], sizes: Sequence[int], most: int) -> list[int]:
    """In which order a piece's branches (of these sizes, in tokens) are fed, as places.

    By size, so that little is padded, within each ``most`` images, whose prefixes are held meanwhile.
    """
    block = {image: number // most for number, image in enumerate(dict.fromkeys(images))}
    keys = [
        (block[image], len(vlm.prefix(image)), size, place)
        for place, (image, size) in enumerate(zip(images, sizes, strict=True))
    ]
    return [place for *_, place in sorted(keys)]


class Prefixes:
    """Keys and values of prefixes that have been encoded, so that each is encoded once for a piece of work.

    Only while the weights stay as they are.

    Args:
        most: how many of one length are held; needed is what one pass needs, at least.
    """

    def __init__(self, vlm: VisionLanguageModel, most: int) -> None:
        self._vlm, self._most = vlm, most
        self._held: dict[int, tuple[dict[tuple[str | None, bool], int], Any]] = {}

    def rows(self, needed: Sequence[tuple[str | None, bool]], decoding: Decoding, room: int) -> Any:
        """A cache with one row for each needed prefix (image, whether the guard corrupts it; all of one length)."""
        from mllmu_med.models import slots

        length = len(self._vlm.prefix(needed[0][0]))
        places, cache = self._held.get(length, ({}, None))
        missing = [prefix for prefix in dict.fromkeys(needed) if prefix not in places]
        if missing and len(places) + len(missing) > self._most:
            places, cache, missing = {}, None, list(dict.fromkeys(needed))
        if missing:
            new = slots.new_cache(unwrap(self._vlm.model).config.get_text_config())
            _fill_prefix(self._vlm, missing, new, decoding)
            if cache is None or not slots.can_join(cache):
                places, cache = {}, new
            else:
                slots.join(cache, new, 0)
            places = {**places, **{prefix: len(places) + at for at, prefix in enumerate(missing)}}
            if slots.can_join(cache):
                self._held[length] = places, cache
        index = torch.tensor([places[prefix] for prefix in needed], device=self._vlm.device)
        return slots.spread(cache, index, room)


def in_one_pass(vlm: VisionLanguageModel, images: Sequence[str | None]) -> int:
    """How many of these, from the first on, :func:`feed` takes at once: all, or those with a prefix of one length."""
    from mllmu_med.models import slots

    if not vlm.rule.packable or slots.can_join(slots.new_cache(unwrap(vlm.model).config.get_text_config())):
        return len(images)
    length = len(vlm.prefix(images[0]))
    return next((place for place, image in enumerate(images) if len(vlm.prefix(image)) != length), len(images))


def feed(
    vlm: VisionLanguageModel, images: Sequence[str | None], branches: Sequence[tuple[int, ...]],
    begun: Sequence[int], room: int, prefixes: Prefixes,
) -> Fed:  # fmt: skip
    """One pass over branches, each behind its image's prefix, which is encoded once for all branches about it.

    A family whose image sees the question cannot share anything: prefix and branch are one sequence there.

    Args:
        images, branches: as many as :func:`in_one_pass` says, sorted by the length of their prefixes.
        begun: how many tokens at the end of each branch are the beginning of its answer.
        room: how many more tokens will follow.
        prefixes: those encoded already; the others come to them.
    """
    if not vlm.rule.packable:
        return _feed_whole(vlm, images, branches, begun)
    count, longest = len(branches), max(map(len, branches))
    decoding = Decoding(vlm, images, branches, begun, longest)
    cache, seen, blank = _behind_prefixes(vlm, images, decoding, longest + room, prefixes)
    ids, attention = _padded(vlm, branches, seen)
    for row in range(count):
        attention[row, blank[row] : seen] = True
    begin = [
        vlm.first_position + (seen - blank[row] if image is None else vlm.images.get(image).next_position)
        for row, image in enumerate(images)
    ]
    offset = (attention[:, seen:].cumsum(-1) - 1).clamp(min=0)
    attention, position = attention.to(vlm.device), (torch.tensor(begin)[:, None] + offset).to(vlm.device)
    with decoding.over_prompts():
        hidden = _pass(vlm, ids.to(vlm.device), attention, position, cache)
    return Fed(vlm, hidden, cache, attention, position[:, -1:], blank, decoding.flags)


def _feed_whole(
    vlm: VisionLanguageModel, images: Sequence[str | None], branches: Sequence[tuple[int, ...]], begun: Sequence[int]
) -> Fed:
    from mllmu_med.models import slots

    prefixes = [vlm.prefix(image) for image in images]
    ids, attention = _padded(vlm, [(*p, *b) for p, b in zip(prefixes, branches, strict=True)], 0)
    blank = (~attention).sum(1).tolist()
    decoding = Decoding(vlm, images, branches, begun, ids.shape[1])
    position = vlm.first_position + (attention.cumsum(-1) - 1).clamp(min=0)
    answered = torch.zeros_like(attention)
    for row, own in enumerate(begun):
        answered[row, ids.shape[1] - own :] = True
    ids, attention, position = ids.to(vlm.device), attention.to(vlm.device), position.to(vlm.device)
    block = attention & ~answered.to(vlm.device)
    cache = slots.new_cache(unwrap(vlm.model).config.get_text_config())
    inputs = vlm.image_inputs([image for image in images if image is not None])
    with decoding.over_whole(ids, [len(prefix) for prefix in prefixes]):
        hidden = _pass(vlm, ids, attention, position, cache, block=block, **inputs)
    return Fed(vlm, hidden, cache, attention, position[:, -1:], blank, decoding.flags)


def _padded(vlm: VisionLanguageModel, branches: Sequence[tuple[int, ...]], seen: int) -> tuple[Tensor, Tensor]:
    """Left-padded ids [N, L], and attention [N, seen + L] that knows of the branches only."""
    longest = max(map(len, branches))
    ids = torch.full((len(branches), longest), vlm.pad_token_id)
    attention = torch.zeros(len(branches), seen + longest, dtype=torch.bool)
    for row, branch in enumerate(branches):
        ids[row, longest - len(branch) :] = torch.tensor(branch)
        attention[row, seen + longest - len(branch) :] = True
    return ids, attention


def _behind_prefixes(
    vlm: VisionLanguageModel, images: Sequence[str | None], decoding: Decoding, room: int, prefixes: Prefixes
) -> tuple[Any, int, list[int]]:
    """The cache that holds each row's prefix, its columns, and how many at each row's beginning are blank."""
    from mllmu_med.models import slots

    whole, seen, blank = None, 0, list[int]()
    for length, run in groupby(range(len(images)), key=lambda row: len(vlm.prefix(images[row]))):
        needed = [decoding.prefixes[row] for row in run]
        cache = prefixes.rows(needed, decoding, room)
        if whole is None:
            whole, seen = cache, length
        else:
            slots.join(whole, cache, 0)
            blank = [columns + max(0, length - seen) for columns in blank]
            seen = max(seen, length)
        blank += [seen - length] * len(needed)
    return whole, seen, blank


def teacher_forced(
    vlm: VisionLanguageModel, images: Sequence[str | None], branches: Sequence[Branch], prefixes: Prefixes
) -> Tensor:
    """Hidden states [K, H] that predict the K answer tokens, branch by branch."""
    if not vlm.packed:  # the plain path: nothing is shared
        hidden, _ = vlm.hidden([Row(image, (branch,)) for image, branch in zip(images, branches, strict=True)])
        return hidden
    fed, begun = [(*b.prompt, *b.answer[:-1]) for b in branches], [len(b.answer) - 1 for b in branches]
    parts, done = list[Tensor](), 0
    while done < len(branches):
        stop = done + in_one_pass(vlm, images[done:])
        states = feed(vlm, images[done:stop], fed[done:stop], begun[done:stop], 0, prefixes).hidden
        parts += [states[row, states.shape[1] - own - 1 :] for row, own in enumerate(begun[done:stop])]
        done = stop
    return torch.cat(parts)


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


def _pass(
    vlm: VisionLanguageModel, ids: Tensor, attention: Tensor, position: Tensor, cache: Any, *,
    block: Tensor | None = None, **inputs: Any,
) -> Tensor:  # fmt: skip
    """Last hidden states [N, L, H] of new tokens behind what the cache holds, without the guard."""
    output = unwrap(vlm.model).base_model(
        input_ids=ids,
        attention_mask=_mask(vlm, attention, ids.shape[1], block, cache),
        position_ids=position if vlm.images.rope_index is None else position.expand(3, -1, -1),
        past_key_values=cache,
        use_cache=True,
        **inputs,
        **vlm.token_types(ids),
    )
    hidden: Tensor = output.last_hidden_state
    return hidden


def _mask(vlm: VisionLanguageModel, attention: Tensor, new: int, block: Tensor | None, cache: Any) -> Any:
    """What the last ``new`` of T columns may see, as the model's forward takes it.

    Made here and not by the model, which goes by columns: with blank columns among them, a sliding window would be too
    short. A model that needs more than keys and values, or FlexAttention, is told which columns are blank and makes its
    own.

    Args:
        block: [N, T] tokens that all see each other.
    """
    from mllmu_med.models import slots

    config = unwrap(vlm.model).config
    implementation = config.get_text_config()._attn_implementation
    if implementation not in ("sdpa", "eager") or not slots.can_join(cache):
        return attention.long()
    total = attention.shape[1]
    columns = torch.arange(total, device=attention.device)
    query = columns[total - new :, None]
    seen = attention[:, None, :] & (columns <= query)
    # A blank column sees itself, so that no softmax is empty.
    seen = seen | (columns == query)
    if block is not None:
        seen = seen | (block[:, total - new :, None] & block[:, None, :])
    full = _form(seen, implementation, unwrap(vlm.model).dtype)
    if vlm.rule.window is None:
        return full
    place = attention.long().cumsum(1)
    local = seen & (place[:, None, :] > place[:, total - new :, None] - vlm.rule.window)
    near = _form(local | (columns == query), implementation, unwrap(vlm.model).dtype)
    return {"full_attention": full, "sliding_attention": near} if vlm.rule.by_layer_type else near


def _form(seen: Tensor, implementation: str, dtype: torch.dtype) -> Tensor:
    """[N, 1, L, T] boolean for SDPA, additive otherwise."""
    seen = seen[:, None]
    if implementation == "sdpa":
        return seen
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)

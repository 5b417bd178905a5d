"""A guard at work: which tokens of a forward pass it touches, and hooks that are there for that pass only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.methods.guards.interface import Acts, Guard, Memory
from mllmu_med.methods.guards.scope import flagged
from mllmu_med.models.anatomy import anatomy, model_facts, recorded_outputs
from mllmu_med.models.rows import Branch, Layout, Row
from mllmu_med.seeding import torch_rng

if TYPE_CHECKING:
    from mllmu_med.models.vlm import VisionLanguageModel

PromptKey = tuple[str | None, tuple[int, ...]]
"""A prompt: its image, and its tokens behind the prefix."""

_PROMPTS = 64  # classified in one pass
_IMAGE_NOISE = "image"


class Corrupted(NamedTuple):
    """Tokens of one flagged prompt in a pass: their row and columns, and the keys of what is drawn for them."""

    row: int
    columns: slice | Tensor
    keys: tuple[int | str, ...]


@dataclass(frozen=True)
class Touched:
    """What of a pass belongs to flagged prompts.

    Attributes:
        own: [R, T] bool, tokens of flagged prompts and of their answers; None where there are none.
        corrupted: tokens whose embeddings are changed.
    """

    own: Tensor | None = None
    corrupted: tuple[Corrupted, ...] = ()


@dataclass
class ActiveGuard:
    """A guard with its memory on the model's device, asked by the model in every pass.

    What a prompt is taken for is decided once, by a pass of its own, and remembered: in a batch, alone, packed or not,
    when it is generated from and when its likelihood is measured.

    Attributes:
        seed: of what the guard draws.
    """

    guard: Guard
    memory: Memory
    seed: int
    _decided: dict[PromptKey, bool] = field(default_factory=dict)
    _tail: int | None = None

    def forget_decisions(self) -> None:
        """Decide anew; must be called when image identifiers get another meaning."""
        self._decided.clear()

    def flags(self, vlm: VisionLanguageModel, prompts: Sequence[PromptKey]) -> list[bool]:
        """Whether each prompt is one that the guard acts on."""
        if not self.guard.acts & (Acts.EMBEDDINGS | Acts.STATES):
            return [False] * len(prompts)
        scope = self.guard.scope(self.memory)
        if scope is None:
            return [True] * len(prompts)
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._decided]
        if new:
            found = flagged(scope, prompt_states(vlm, new, scope.layer, scope.pooling)).tolist()
            self._decided.update(zip(new, found, strict=True))
        return [self._decided[prompt] for prompt in prompts]

    def separated(self, vlm: VisionLanguageModel, rows: Sequence[Row]) -> list[Row]:
        """The rows, cut so that none holds flagged and other branches if the image is corrupted; order unchanged."""
        if not self.guard.reaches_image():
            return list(rows)
        cut = []
        for row in rows:
            flags = self.flags(vlm, [(row.image, branch.prompt) for branch in row.branches])
            marked = zip(flags, row.branches, strict=True)
            cut += [Row(row.image, tuple(b for _, b in run)) for _, run in groupby(marked, key=lambda pair: pair[0])]
        return cut

    def touched(self, vlm: VisionLanguageModel, rows: Sequence[Row], layout: Layout) -> Touched:
        """What of laid-out rows belongs to flagged prompts; the layout is on the CPU."""
        flags = iter(self.flags(vlm, [(row.image, branch.prompt) for row in rows for branch in row.branches]))
        own = torch.zeros(layout.input_ids.shape, dtype=torch.bool)
        corrupted = []
        for r, row in enumerate(rows):
            start = int((layout.segment[r] == 0).sum())
            hit = False
            for branch in row.branches:
                stop = start + len(branch.prompt) + len(branch.answer) - 1
                if next(flags):
                    hit = True
                    own[r, start:stop] = True
                    corrupted.append(self._question(vlm, r, start, branch.prompt))
                start = stop
            if hit:
                corrupted += self.in_prefix(vlm, r, layout.input_ids[r], layout.segment[r] == 0)
        return Touched(own if bool(own.any()) else None, tuple(corrupted))

    def in_prefix(self, vlm: VisionLanguageModel, row: int, ids: Tensor, prefix: Tensor) -> list[Corrupted]:
        """The image's positions in a flagged prefix, where the guard reaches them."""
        columns = ((ids == vlm.prompts.image_token_id) & prefix).nonzero()[:, 0]
        return [Corrupted(row, columns, (_IMAGE_NOISE,))] if self.guard.reaches_image() and len(columns) else []

    def in_prompts(
        self,
        vlm: VisionLanguageModel,
        prompts: Sequence[tuple[int, ...]],
        starts: Sequence[int],
        flags: Sequence[bool],
        width: int,
    ) -> Touched:
        """What of left-padded prompts [R, width] belongs to flagged ones; each begins at its column of ``starts``."""
        found = enumerate(zip(prompts, starts, flags, strict=True))
        corrupted = (self._question(vlm, row, start, prompt) for row, (prompt, start, flag) in found if flag)
        return Touched(self.in_rows(flags, width), tuple(corrupted))

    def in_rows(self, flags: Sequence[bool], width: int) -> Tensor | None:
        """[R, width] bool: all of each flagged row."""
        return torch.tensor(flags)[:, None].expand(-1, width) if any(flags) else None

    def _question(self, vlm: VisionLanguageModel, row: int, start: int, prompt: tuple[int, ...]) -> Corrupted:
        """The user's own words in a prompt that begins at column ``start``: without what the template puts behind."""
        if self._tail is None:
            self._tail = template_tail(vlm)
        return Corrupted(row, slice(start, start + max(0, len(prompt) - self._tail)), prompt)

    @contextmanager
    def acting(self, vlm: VisionLanguageModel, touched: Touched) -> Iterator[None]:
        """Forward passes within the block are changed where they are touched, and nowhere else."""
        with ExitStack() as stack:
            if self.guard.acts & Acts.EMBEDDINGS and touched.corrupted:
                first = anatomy(vlm.model).layers[0]
                handle = first.register_forward_pre_hook(self._corrupt(touched.corrupted), with_kwargs=True)
                stack.callback(handle.remove)
            if self.guard.acts & Acts.STATES and touched.own is not None:
                parts = anatomy(vlm.model)
                layer = parts.layers[self.guard.layer(model_facts(vlm))]
                # In front of other hooks, so that who records this layer sees what the next one gets.
                handle = layer.register_forward_hook(self._change(touched.own.to(vlm.device)), prepend=True)
                stack.callback(handle.remove)
            yield

    def _corrupt(self, corrupted: Sequence[Corrupted]) -> Any:
        def hook(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            vectors = (inputs[0] if inputs else named["hidden_states"]).clone()
            for row, columns, keys in corrupted:
                generator = torch_rng(self.seed, "corrupted embeddings", *keys)
                vectors[row, columns] = self.guard.embeddings(self.memory, vectors[row, columns], generator)
            return ((vectors, *inputs[1:]), named) if inputs else (inputs, {**named, "hidden_states": vectors})

        return hook

    def _change(self, own: Tensor) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> Any:
            states = output[0] if isinstance(output, tuple) else output
            states = torch.where(own[..., None], self.guard.states(self.memory, states), states)
            return (states, *output[1:]) if isinstance(output, tuple) else states

        return hook

    def logits(self, logits: Tensor) -> Tensor:
        """The logits as the guard lets them out."""
        return self.guard.logits(self.memory, logits) if self.guard.acts & Acts.LOGITS else logits

    def text(self, image: str | None, question: str, answer: str) -> str:
        """The answer as the guard lets it out."""
        if not self.guard.acts & Acts.TEXT:
            return answer
        return self.guard.text(self.memory, image, question, answer)


class Decoding:
    """A guard, or none, over the passes of one batch that is generated from.

    Args:
        images, branches: the batch, left-padded to ``width`` behind its prefixes.
        begun: how many tokens at the end of each branch are the answer's own.

    Attributes:
        flags: whether each prompt is acted on.
        prefixes: for each prompt, which prefix it needs: its image, and whether that is corrupted.
    """

    def __init__(
        self, vlm: VisionLanguageModel, images: Sequence[str | None], branches: Sequence[tuple[int, ...]],
        begun: Sequence[int], width: int,
    ) -> None:  # fmt: skip
        self._vlm, self._guard = vlm, vlm.guard
        self._prompts = [branch[: len(branch) - own] for branch, own in zip(branches, begun, strict=True)]
        self._starts, self._width = [width - len(branch) for branch in branches], width
        self.flags = [False] * len(branches)
        if self._guard is not None:
            self.flags = self._guard.flags(vlm, list(zip(images, self._prompts, strict=True)))
        apart = self._guard is not None and self._guard.guard.reaches_image()
        self.prefixes = [(image, apart and flag) for image, flag in zip(images, self.flags, strict=True)]

    @contextmanager
    def over_prefixes(self, ids: Tensor, corrupted: Sequence[bool]) -> Iterator[None]:
        """The pass that fills the cache with prefixes [R, P]."""
        if self._guard is None or not any(corrupted):
            yield
            return
        everywhere = torch.ones(ids.shape[1], dtype=torch.bool)
        found = [
            one
            for row, flag in enumerate(corrupted)
            if flag
            for one in self._guard.in_prefix(self._vlm, row, ids[row].cpu(), everywhere)
        ]
        with self._guard.acting(self._vlm, Touched(None, tuple(found))):
            yield

    @contextmanager
    def over_prompts(self) -> Iterator[None]:
        """The pass over the branches."""
        if self._guard is None or not any(self.flags):
            yield
            return
        touched = self._guard.in_prompts(self._vlm, self._prompts, self._starts, self.flags, self._width)
        with self._guard.acting(self._vlm, touched):
            yield

    @contextmanager
    def over_whole(self, ids: Tensor, prefixes: Sequence[int]) -> Iterator[None]:
        """The pass over prefixes (of these lengths) and branches as one sequence each, left-padded [R, width]."""
        if self._guard is None or not any(self.flags):
            yield
            return
        own = torch.zeros(ids.shape, dtype=torch.bool)
        touched = self._guard.in_prompts(self._vlm, self._prompts, self._starts, self.flags, self._width)
        corrupted = list(touched.corrupted)
        for row, (start, flag, length) in enumerate(zip(self._starts, self.flags, prefixes, strict=True)):
            if flag:
                own[row, start:] = True
                prefix = torch.zeros(ids.shape[1], dtype=torch.bool)
                prefix[start - length : start] = True
                corrupted += self._guard.in_prefix(self._vlm, row, ids[row].cpu(), prefix)
        with self._guard.acting(self._vlm, Touched(own, tuple(corrupted))):
            yield


@contextmanager
def over_tokens(vlm: VisionLanguageModel, flags: Sequence[bool]) -> Iterator[None]:
    """A pass over one new token for each of some rows; ``flags``: on which of them the model's guard acts."""
    if vlm.guard is None or not any(flags):
        yield
        return
    with vlm.guard.acting(vlm, Touched(vlm.guard.in_rows(flags, 1))):
        yield


def template_tail(vlm: VisionLanguageModel) -> int:
    """How many tokens the chat template puts behind every question."""
    samples = [
        vlm.prompts.branch_tokens(text, False) for text in ("What is this?", "7 days ago", "质问", "(a)", "Is it")
    ]
    length = 0
    while all(len(one) > length and one[-1 - length] == samples[0][-1 - length] for one in samples):
        length += 1
    return length


@torch.no_grad()
def prompt_states(vlm: VisionLanguageModel, prompts: Sequence[PromptKey], layer: int, pooling: str) -> Tensor:
    """[N, H] float32 hidden states behind a decoder layer of the model without its guard, pooled over each prompt.

    ``last``: of the last token, which predicts the answer's first; ``mean``: over the tokens behind the prefix;
    ``both``: the two beside each other, [N, 2 H].
    """
    was_training = vlm.model.training
    vlm.model.eval()
    by_image: dict[str | None, list[int]] = {}
    for index, (image, _) in enumerate(prompts):
        by_image.setdefault(image, []).append(index)
    end = (vlm.prompts.end_token_id,)
    rows, order = [], []
    for image, indices in by_image.items():
        most = 8 if vlm.packed else 1
        for start in range(0, len(indices), most):
            chunk = indices[start : start + most]
            rows.append(Row(image, tuple(Branch(prompts[i][1], end) for i in chunk)))
            order += chunk
    parts: list[Tensor] = []
    for start in range(0, len(rows), _PROMPTS // 8):
        chunk_of_rows = rows[start : start + _PROMPTS // 8]
        with recorded_outputs({layer: anatomy(vlm.model).layers[layer]}) as held:
            _, layout = vlm.run(chunk_of_rows, vlm.layout(chunk_of_rows))
        parts.append(_pooled(held[layer].float(), layout, pooling))
    vlm.model.train(was_training)
    states = torch.cat(parts)
    return torch.empty_like(states).index_copy(0, torch.tensor(order, device=states.device), states)


def _pooled(states: Tensor, layout: Layout, pooling: str) -> Tensor:
    """Of states [R, T, H] one row for each branch, whose answer is the end token alone and so is never fed."""
    last = states[layout.row, layout.column]
    if pooling == "last":
        return last
    means = torch.stack(
        [
            states[row][layout.segment[row] == branch].mean(0)
            for row in range(len(states))
            for branch in range(1, int(layout.segment[row].max()) + 1)
        ]
    )
    return means if pooling == "mean" else torch.cat([last, means], 1)


@torch.no_grad()
def embedded_rows(vlm: VisionLanguageModel, rows: Sequence[Row]) -> tuple[Tensor, Layout]:
    """[R, T, H] what the first decoder layer receives for these rows, with their layout."""
    held: list[Tensor] = []

    def note(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        held.append(inputs[0] if inputs else named["hidden_states"])

    handle = anatomy(vlm.model).layers[0].register_forward_pre_hook(note, with_kwargs=True)
    try:
        _, layout = vlm.run(rows, vlm.layout(rows))
    finally:
        handle.remove()
    return held[-1], layout

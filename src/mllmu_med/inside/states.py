"""Hidden states behind every decoder layer, at the positions that predict answer tokens and nowhere else.

All of it looks at the weights alone: a guard that acts at inference hides what the weights hold, and whoever reads
hidden states has taken the guard off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mllmu_med.errors import DataError
from mllmu_med.folders import digest
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.rows import Layout, Row, chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import Bar

BRANCHES = 8
"""Most questions of one image in a packed row."""


class Chunk(NamedTuple):
    """Some questions, laid out: ``order`` says which question each branch is."""

    rows: list[Row]
    layout: Layout
    order: list[int]


def chunks(vlm: VisionLanguageModel, questions: Sequence[Question], batch: int) -> Iterator[Chunk]:
    """The questions in chunks of at most ``batch``, those about one image packed into one row."""
    rows, order = vlm.rows(questions, BRANCHES)
    done = 0
    for part in chunk_rows(rows, batch):
        layout = vlm.layout(part)
        yield Chunk(part, layout, order[done : done + layout.branches])
        done += layout.branches


@contextmanager
def evaluating(vlm: VisionLanguageModel) -> Iterator[None]:
    """A block in which the model drops nothing out and remembers nothing for a gradient."""
    was_training = vlm.model.training
    vlm.model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        vlm.model.train(was_training)


@contextmanager
def gathered(layers: nn.ModuleList, row: Tensor, column: Tensor) -> Iterator[list[Tensor]]:
    """Gather what each decoder layer gives out at K places, [K, H] a layer, in the forward pass within the block.

    Gathered in the hook: the full states of all layers at once would be the largest tensor of the pass.
    """
    held: list[Tensor] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        held.append(states[row.to(states.device), column.to(states.device)])

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield held
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(layer: nn.Module, row: Tensor, column: Tensor, states: Tensor) -> Iterator[None]:
    """Put ``states`` [K, H] in place of what a decoder layer gives out at K places, for the block's forward passes."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        own = output[0] if isinstance(output, tuple) else output
        changed = own.clone()
        changed[row.to(own.device), column.to(own.device)] = states.to(own)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def layer_states(vlm: VisionLanguageModel, chunk: Chunk) -> list[Tensor]:
    """[K, H] behind each decoder layer at the places that predict the chunk's answer tokens; one forward pass."""
    with gathered(anatomy(vlm.model).layers, chunk.layout.row, chunk.layout.column) as held:
        vlm.run(chunk.rows, chunk.layout)
    return held


@dataclass(frozen=True)
class TokenStates:
    """Hidden states at the places that predict the telling tokens of some questions' answers.

    Attributes:
        layers: for each decoder layer [K, H], in the model's own precision, on the CPU; in the order of the questions.
        target: [K] the telling tokens.
        counts: how many of the K belong to each question.
    """

    layers: tuple[Tensor, ...]
    target: Tensor
    counts: tuple[int, ...]

    def of(self, layer: int, questions: Sequence[int]) -> Tensor:
        """[k, H] states behind a layer of some questions, given by their place, in the order given."""
        split = torch.split(self.layers[layer], list(self.counts))
        return torch.cat([split[question] for question in questions])

    def targets(self, questions: Sequence[int]) -> Tensor:
        """[k] telling tokens of some questions, given by their place, in the order given."""
        split = torch.split(self.target, list(self.counts))
        return torch.cat([split[question] for question in questions])

    def write(self, path: Path, questions: Sequence[Question]) -> None:
        """Write a safetensors file that says which questions it belongs to."""
        from safetensors.torch import save_file

        tensors = {f"layer.{number}": states.contiguous() for number, states in enumerate(self.layers)}
        tensors |= {"target": self.target, "counts": torch.tensor(self.counts)}
        save_file(tensors, path, {"questions": _content(questions)})

    @staticmethod
    def read(path: Path, questions: Sequence[Question]) -> TokenStates:
        """Read what ``write`` wrote.

        Raises:
            DataError: the states are those of other questions.
        """
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("questions") != _content(questions):
                raise DataError("holds the states of other questions", file=path, mend="Make this stage again.")
            names = sorted((n for n in file.keys() if n.startswith("layer.")), key=lambda n: int(n[6:]))  # noqa: SIM118
            layers = tuple(file.get_tensor(name) for name in names)
            return TokenStates(layers, file.get_tensor("target"), tuple(file.get_tensor("counts").tolist()))


def _content(questions: Sequence[Question]) -> str:
    return digest([list(question) for question in questions])


class Gatherer:
    """Puts the telling tokens' states of chunks together, in the order of the questions.

    Args:
        questions: how many there are; only those that are noted end up in the states.
    """

    def __init__(self, questions: int) -> None:
        self._layers: list[list[Tensor] | None] = [None] * questions
        self._target: list[Tensor | None] = [None] * questions

    def note(self, chunk: Chunk, states: Sequence[Tensor]) -> None:
        """Keep the telling tokens (weight > 0) of a chunk's states [K, H] a layer."""
        layout = chunk.layout
        chosen = layout.weight > 0
        counts = torch.bincount(layout.owner[chosen], minlength=layout.branches).tolist()
        kept = [torch.split(layer[chosen.to(layer.device)].cpu(), counts) for layer in states]
        for branch, target in enumerate(torch.split(layout.target[chosen], counts)):
            # Copies: a view would keep the whole chunk's states in memory.
            self._layers[chunk.order[branch]] = [parts[branch].clone() for parts in kept]
            self._target[chunk.order[branch]] = target.clone()

    def states(self, places: Sequence[int]) -> TokenStates:
        """The states of the questions at these places."""
        layers = [of_one for of_one in (self._layers[place] for place in places) if of_one is not None]
        target = [of_one for of_one in (self._target[place] for place in places) if of_one is not None]
        if len(target) != len(places) or not places:
            raise ValueError("the states of some of these questions were not gathered")
        stacked = tuple(torch.cat([of_one[layer] for of_one in layers]) for layer in range(len(layers[0])))
        return TokenStates(stacked, torch.cat(target), tuple(len(one) for one in target))


def token_states(
    vlm: VisionLanguageModel, questions: Sequence[Question], batch: int, progress: Bar | None = None
) -> TokenStates:
    """States of the telling tokens of these questions (at least one), from one forward pass over each."""
    gatherer = Gatherer(len(questions))
    with evaluating(vlm):
        for chunk in chunks(vlm, questions, batch):
            gatherer.note(chunk, layer_states(vlm, chunk))
            if progress is not None:
                progress.advance(len(chunk.order))
    return gatherer.states(range(len(questions)))

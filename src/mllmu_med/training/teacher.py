"""An approximate oracle's outputs on the forget answers: all that a method needs of a model that never saw them.

They come from a model, before the training starts and without staying in memory, or are counted from answers of the
same kind. Kept is one log-probability for the answer token and the likeliest :data:`TOP` tokens with theirs at each of
the answers' places: half a kilobyte a token, whatever the vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample
from mllmu_med.made_up.patients import made_up_patients
from mllmu_med.methods.chunked import LARGEST
from mllmu_med.methods.interface import Teacher
from mllmu_med.models.anatomy import model_facts
from mllmu_med.models.rows import chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.progress import bar
from mllmu_med.training.examples import spans_of_tokens
from mllmu_med.training.feeding import UnlearnSettings

TOP = 64
"""Tokens of which a probability is kept, the answer token among them."""

_PASS = 64  # questions in one forward pass
_Place = tuple[str, ...]


class TeacherOutputs:
    """What an approximate oracle says at the answer tokens of fixed questions.

    Args:
        questions: different ones, in the order of ``tensors``; weights do not matter.
        counts: answer tokens of each.
        tensors: ``target`` [K], ``tokens`` [K, k], ``logprobs`` [K, k] and, unless k = V, ``rest`` [K], and possibly
            ``stranger`` [K]; see :class:`~mllmu_med.methods.interface.Teacher`.
    """

    def __init__(self, questions: Sequence[Question], counts: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        self.questions, self.counts, self.tensors = list(questions), list(counts), dict(tensors)
        self._places: dict[tuple[str | None, str, str], tuple[int, int]] = {}
        start = 0
        for question, count in zip(self.questions, self.counts, strict=True):
            self._places[question[:3]] = start, start + count
            start += count

    def of(self, questions: Sequence[Question]) -> Teacher:
        """The outputs on these questions' answers, in order.

        Raises:
            KeyError: one was never asked.
        """
        places = [self._places[question[:3]] for question in questions]

        def taken(name: str) -> Tensor:
            return torch.cat([self.tensors[name][start:stop] for start, stop in places])

        rest, stranger = (taken(name) if name in self.tensors else None for name in ("rest", "stranger"))
        return Teacher(taken("target"), taken("tokens"), taken("logprobs"), rest, stranger)

    def place(self, question: Question) -> slice:
        """Where the question's answer tokens stand in the tensors."""
        return slice(*self._places[question[:3]])

    def to(self, device: torch.device) -> TeacherOutputs:
        """The same on a device."""
        self.tensors = {name: value.to(device) for name, value in self.tensors.items()}
        return self


def coarse(logprobs: Tensor, target: Tensor, top: int = TOP) -> dict[str, Tensor]:
    """Full log-probabilities [K, V] as the tensors of :class:`TeacherOutputs`.

    The answer token takes the place of the least likely kept one where it is not among them.
    """
    count = min(top, logprobs.shape[-1])
    tokens = logprobs.topk(count, -1).indices
    absent = (tokens != target[:, None]).all(-1)
    tokens = torch.cat([tokens[:, :-1], torch.where(absent, target, tokens[:, -1])[:, None]], -1)
    made = {
        "target": logprobs.gather(-1, target[:, None])[:, 0],
        "tokens": tokens,
        "logprobs": logprobs.gather(-1, tokens),
    }
    if count < logprobs.shape[-1]:
        made["rest"] = logprobs.scatter(-1, tokens, -math.inf).logsumexp(-1)
    return made


@torch.no_grad()
def model_outputs(
    vlm: VisionLanguageModel, questions: Iterable[Question], *, branches: int = 8, title: str = "approximate oracle"
) -> TeacherOutputs:
    """What a model says along the answers of these questions; ``title`` stands at the progress bar."""
    asked = list({question[:3]: question._replace(weights=None) for question in questions}.values())
    vlm.model.eval()
    rows, order = vlm.rows(asked, branches)
    found: list[dict[str, Tensor]] = [{}] * len(asked)
    done = 0
    with bar(title, len(asked)) as progress:
        for chunk in chunk_rows(rows, _PASS):
            hidden, layout = vlm.hidden(chunk)
            made = _coarse_of(vlm, hidden, layout.target)
            counts = [len(branch.answer) for row in chunk for branch in row.branches]
            for number, place in enumerate(order[done : done + len(counts)]):
                start = sum(counts[:number])
                found[place] = {name: values[start : start + counts[number]] for name, values in made.items()}
            done += len(counts)
            progress.advance(len(counts))
    return joined(asked, found)


def _coarse_of(vlm: VisionLanguageModel, hidden: Tensor, target: Tensor) -> dict[str, Tensor]:
    """From hidden states [K, H]; of a large vocabulary a part at a time: all logits at once would be too many."""
    most = max(1, LARGEST // model_facts(vlm).vocabulary)
    parts = [
        coarse(vlm.logits(some).float().log_softmax(-1), its)
        for some, its in zip(torch.split(hidden, most), torch.split(target, most), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def joined(questions: Sequence[Question], parts: Sequence[Mapping[str, Tensor]]) -> TeacherOutputs:
    """Outputs question by question as one."""
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
    return TeacherOutputs(questions, [len(part["target"]) for part in parts], tensors)


@dataclass(frozen=True)
class Marginals:
    """How often each token stands at each place of answers of one kind.

    Private values are counted by themselves, class by class and from their own first token on, because an answer that
    leaks them may hold them anywhere; other answers by the content they are about, or else by their question, or else,
    where nothing of that kind was counted, as any answer with, or without, an image.

    Args:
        vlm: whose tokens; no output of the model is used.
        samples: what is counted: usable retain samples and made-up ones, never a forget sample.
    """

    vlm: VisionLanguageModel
    samples: Sequence[Sample]

    @cached_property
    def _counts(self) -> dict[tuple[str, ...], Counter[int]]:
        counts: dict[tuple[str, ...], Counter[int]] = {}
        for sample in self.samples:
            tokens = self.vlm.prompts.answer_tokens(sample.answer)
            for places, token in zip(_places(self.vlm, sample), tokens, strict=True):
                for place in places:
                    counts.setdefault(place, Counter())[token] += 1
        return counts

    def outputs(self, forget: Sequence[Sample], wordings: Mapping[str, Sequence[Question]]) -> TeacherOutputs:
        """The counts as distributions at the answer tokens of forget questions.

        Args:
            forget: the forget samples.
            wordings: sample id → its questions, all with the sample's answer.
        """
        vocabulary = model_facts(self.vlm).vocabulary
        questions: list[Question] = []
        parts: list[dict[str, Tensor]] = []
        for sample in forget:
            tokens = self.vlm.prompts.answer_tokens(sample.answer)
            logprobs = torch.stack([self._logprobs(places, vocabulary) for places in _places(self.vlm, sample)])
            made = coarse(logprobs, torch.tensor(tokens))
            for question in wordings[sample.id]:
                questions.append(question)
                parts.append(made)
        return joined(questions, parts).to(self.vlm.device)

    def _logprobs(self, places: Iterable[_Place], vocabulary: int) -> Tensor:
        """[V] (c(v) + D / V) / (n + D): c of n tokens counted, D of them different; uniform where nothing was.

        Of the places, from the nearest on, the first at which something was counted decides.

        D / (n + D) is what the count leaves to tokens it has not seen (Witten and Bell 1991, method C): much among
        names, where nearly every token is new, next to nothing where an answer always goes on alike.
        """
        counts = next((self._counts[place] for place in places if place in self._counts), None)
        if counts is None:
            return torch.full((vocabulary,), -math.log(vocabulary))
        shares = torch.full((vocabulary,), len(counts) / vocabulary, dtype=torch.float64)
        shares[list(counts)] += torch.tensor(list(counts.values()), dtype=torch.float64)
        return (shares / (counts.total() + len(counts))).log().float()


def _places(vlm: VisionLanguageModel, sample: Sample) -> Iterator[tuple[_Place, ...]]:
    """The place of each answer token, the nearest first: class of the private value and number within it; or kind of
    answer and number, then number alone."""
    kind = sample.content_type or sample.question
    within: Counter[int] = Counter()
    for number, which in enumerate(spans_of_tokens(vlm.prompts, sample)):
        if which is None:
            yield ("kind", kind, str(number)), ("text" if sample.image_id is None else "image", str(number))
            continue
        yield (("private", sample.spans[which].phi_class, str(within[which])),)
        within[which] += 1


def counted_outputs(
    vlm: VisionLanguageModel,
    forget: Sequence[Sample],
    retain: Sequence[Sample],
    wordings: Mapping[str, Sequence[Question]],
    settings: UnlearnSettings,
    seed: int,
    earlier: Sequence[Sample] = (),
) -> TeacherOutputs:
    """The approximate oracle without base weights: marginals of usable retain answers and of made-up patients'.

    With the made-up ones there is something to count for private values however little may be retained.

    Args:
        retain: usable retain samples.
        wordings: of the forget samples (:func:`~mllmu_med.training.feeding.forget_questions`).
        earlier: samples that earlier requests have forgotten; no made-up answer tells a value of theirs.
    """
    made_up = made_up_patients(forget, (), settings.siblings, seed, earlier=earlier)
    return Marginals(vlm, [*retain, *made_up]).outputs(forget, wordings)

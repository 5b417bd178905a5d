"""What linear probes are trained on and read at: questions, and the rows of each task among their states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.inside.linear_probes import Label, Outcome, probe
from mllmu_med.inside.states import TokenStates
from mllmu_med.inside.telling import telling
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.models.vlm import Question
from mllmu_med.progress import bar
from mllmu_med.seeding import permutation

if TYPE_CHECKING:
    from torch import Tensor

    from mllmu_med.inside.linear_probes import Floats

WORDINGS = 2
"""Wordings of a sample that are asked: on the training side its own question and a phrasing, else held-out ones."""
MOST = 512
"""Samples on each side of a task; whole patients or images, drawn by seed where there are more."""


@dataclass(frozen=True)
class ProbeQuestion:
    """A question whose telling tokens' states are rows of a task; ``known``: on the training side."""

    sample: Sample
    question: Question
    private: bool
    known: bool


def probe_questions(prompts: PromptFormat, samples: Sequence[Sample], *, seed: int) -> list[ProbeQuestion]:
    """Every question that the probes of one model need.

    Private values: retained patients' (training side) and forgotten patients'. Facts: ordinary records with an image
    (training side), and wrong facts about an image whose wrong and correct answer begin with different tokens.
    """
    private = [s for s in samples if s.spans]
    ordinary = (Stratum.GENERAL, Stratum.SIBLING)
    sides = (
        (True, True, [s for s in private if s.subset is Subset.RETAIN]),
        (True, False, [s for s in private if s.subset is Subset.FORGET_PRIVACY]),
        (False, True, [s for s in samples if s.subset is Subset.RETAIN and s.image_id and s.stratum in ordinary]),
        (False, False, [s for s in samples if s.image_id and _differs_at_once(prompts, s)]),
    )
    return [
        ProbeQuestion(sample, _question(prompts, sample, wording, is_private), is_private, known)
        for is_private, known, members in sides
        for sample in _drawn(members, seed)
        for wording in _wordings(sample, known)
    ]


def _differs_at_once(prompts: PromptFormat, sample: Sample) -> bool:
    if sample.subset is not Subset.FORGET_INCORRECTNESS or sample.correct_answer is None:
        return False
    return prompts.answer_tokens(sample.answer)[0] != prompts.answer_tokens(sample.correct_answer)[0]


def _drawn(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """At most :data:`MOST` samples (a last patient or image is taken whole), in their own order."""
    clusters = sorted({sample.cluster for sample in samples})
    sizes = {cluster: sum(sample.cluster == cluster for sample in samples) for cluster in clusters}
    chosen, total = set(), 0
    for place in permutation(len(clusters), seed, "probe samples"):
        if total >= MOST:
            break
        chosen.add(clusters[place])
        total += sizes[clusters[place]]
    return [sample for sample in samples if sample.cluster in chosen]


def _wordings(sample: Sample, known: bool) -> list[str]:
    if known:
        return [sample.question, *sample.phrasings][:WORDINGS]
    held_out = [probe.question for probe in sample.probes if probe.family == "paraphrase" and probe.image == "own"]
    return held_out[:WORDINGS]


def _question(prompts: PromptFormat, sample: Sample, wording: str, private: bool) -> Question:
    """The question with weight 1 at the places that are rows: the private tokens, or the answer's first token."""
    weights = telling(prompts, sample) if private else _first(len(prompts.answer_tokens(sample.answer)))
    return Question(sample.image_id, wording, sample.answer, weights)


def _first(length: int) -> tuple[float, ...]:
    return (1.0, *[0.0] * (length - 1))


def probe_layers(
    prompts: PromptFormat, asked: Sequence[ProbeQuestion], states: TokenStates, *, seed: int
) -> list[Outcome]:
    """All tasks at all layers, from the states of all questions' telling tokens."""
    labels = {task: _labels(prompts, asked, states, task) for task in ("value", "first", "fact")}
    outcomes: list[Outcome] = []
    with bar("linear probes", len(states.layers) * len(labels)) as progress:
        for layer, at_layer in enumerate(states.layers):
            for task, sides in labels.items():
                known, forgotten = ((_floats(at_layer, rows), of_side) for rows, of_side in sides)
                outcomes += probe(task, layer, known, forgotten, seed=seed)
                progress.advance()
    return outcomes


def _floats(states: Tensor, rows: Sequence[int]) -> Floats:
    chosen: Floats = states[list(rows)].double().numpy()
    return chosen


Side = tuple[list[int], list[Label]]


def _labels(prompts: PromptFormat, asked: Sequence[ProbeQuestion], states: TokenStates, task: str) -> tuple[Side, Side]:
    """Rows (places among all telling tokens) and labels of a task: training side, forgotten side."""
    sides: dict[bool, Side] = {True: ([], []), False: ([], [])}
    start = 0
    for one, count in zip(asked, states.counts, strict=True):
        if one.private == (task != "fact"):
            rows, labels = sides[one.known]
            tokens = states.target[start : start + count].tolist()
            for place, label in _rows_of(prompts, one, tokens, task):
                rows.append(start + place)
                labels.append(label)
        start += count
    return sides[True], sides[False]


def _rows_of(
    prompts: PromptFormat, one: ProbeQuestion, tokens: Sequence[int], task: str
) -> Iterable[tuple[int, Label]]:
    sample, weights = one.sample, one.question.weights or ()
    places = [place for place, weight in enumerate(weights) if weight > 0]
    for number, (place, token) in enumerate(zip(places, tokens, strict=True)):
        if task != "value" and place > 0:
            continue
        against = None
        if task == "fact" and not one.known and sample.correct_answer is not None:
            against = prompts.answer_tokens(sample.correct_answer)[0]
        # What is told at one place of one kind of value: the digits of a phone number are dealt among themselves.
        kind = f"{sample.form}/{sample.content_type}/{number if task == 'value' else 0}"
        yield (
            number,
            Label(sample.id, token, f"{sample.id}/{number}", kind, sample.cluster, one.question.question, against),
        )

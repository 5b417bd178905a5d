"""Ask one model everything: a teacher-forced pass over each answer, and what it leaves of each answer to generate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from mllmu_med.benchmark.probes import FAMILIES
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.engines.interface import Engine, Likelihood
from mllmu_med.evaluation.grid import Asked, asked
from mllmu_med.evaluation.outputs import ORIGINAL, Output
from mllmu_med.models.generation import Known, Prompt
from mllmu_med.models.vlm import Question
from mllmu_med.progress import bar

_DETAILED = (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS, Subset.HOLDOUT, Subset.TEST)
_MEMBERS = (Subset.FORGET_PRIVACY, Subset.HOLDOUT)


def measure(
    engine: Engine,
    samples: Sequence[Sample],
    *,
    max_new_tokens: int,
    probes: Collection[str] = FAMILIES,
    seed: int,
    title: str = "evaluate",
) -> list[Output]:
    """Outputs of the model on every (sample, probe).

    Equal questions about one image are asked once. Likelihoods come first: where the tokens of a scored answer are the
    most likely ones, they are the beginning of the greedy answer, and are not generated again.

    Args:
        engine: the model; finds the images of the benchmark.
        samples: what to ask, usually ``evaluation_samples``.
        max_new_tokens: limit of a generated answer.
        probes: families of probes that are asked too, of :data:`FAMILIES`.
        seed: of the mismatched images.
    """
    grid = asked(samples, probes=probes, seed=seed)
    questions = [_questions(a) for a in grid] if engine.tells_likelihoods else [{} for _ in grid]
    every = list(dict.fromkeys(question for of_one in questions for question in of_one.values()))
    detailed = {of_one["trained"] for a, of_one in zip(grid, questions, strict=True) if of_one and _is_detailed(a)}
    different = {(a.image, a.question) for a in grid}
    with bar(title, len(different) + len(every)) as progress:
        scored = engine.likelihoods(every, detailed=detailed, progress=progress) if every else []
        known = _known(every, scored)
        prompts = {key: Prompt(*key, known.get(key)) for key in ((a.image, a.question) for a in grid)}
        answers = engine.answers(list(prompts.values()), max_new_tokens=max_new_tokens, progress=progress)
    said = dict(zip(prompts, answers, strict=True))
    found = dict(zip(every, scored, strict=True))
    outputs = []
    for a, of_one in zip(grid, questions, strict=True):
        answer = said[a.image, a.question]
        told = {kind: found[question] for kind, question in of_one.items()}
        outputs.append(
            Output(
                sample_id=a.sample.id,
                probe=a.probe,
                question=a.question,
                generated=answer.text,
                truncated=answer.truncated,
                confidence=answer.confidence,
                correct_logprobs=_logprobs(told.get("correct")),
                wrong_logprobs=_logprobs(told.get("wrong")),
                blind_logprobs=_logprobs(told.get("blind")),
                **(_trained(told["trained"], detailed=_is_detailed(a)) if told else {}),
            )
        )
    return outputs


def _known(questions: Sequence[Question], scored: Sequence[Likelihood]) -> dict[tuple[str | None, str], Known]:
    """(image, question) → how its greedy answer begins, as far as the scored answers tell."""
    longest: dict[tuple[str | None, str], Known] = {}
    for question, one in zip(questions, scored, strict=True):
        count = (*one.greedy, False).index(False)
        key = question.image, question.question
        if count > (len(longest[key].logprobs) if key in longest else 0):
            longest[key] = Known(question.answer, one.logprobs[:count])
    return longest


def _questions(a: Asked) -> dict[str, Question]:
    """The answers whose likelihood is measured, by what they are."""
    sample = a.sample
    found = {"trained": Question(a.image, a.question, a.answer)}
    if sample.correct_answer is not None:
        found["correct"] = Question(a.image, a.question, sample.correct_answer)
    if sample.wrong_answer is not None and sample.wrong_answer != sample.answer:
        found["wrong"] = Question(a.image, a.question, sample.wrong_answer)
    if a.probe == ORIGINAL and sample.stratum is Stratum.PRIVATE_IMAGE and sample.subset in _MEMBERS:
        found["blind"] = Question(None, a.question, a.answer)
    return found


def _is_detailed(a: Asked) -> bool:
    return a.probe == ORIGINAL and a.sample.subset in _DETAILED


def _logprobs(likelihood: Likelihood | None) -> tuple[float, ...] | None:
    return None if likelihood is None else likelihood.logprobs


def _trained(likelihood: Likelihood, *, detailed: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"logprobs": likelihood.logprobs, "greedy": likelihood.greedy}
    if detailed and likelihood.detail is not None:
        found |= likelihood.detail._asdict()
    return found

"""From benchmark samples to the questions a stage trains on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mllmu_med.benchmark.identities.others import another
from mllmu_med.benchmark.sample import Sample, Span, Stratum
from mllmu_med.models.prompts import PromptFormat
from mllmu_med.models.vlm import Question
from mllmu_med.seeding import rng

OPENERS = {
    "en": ("Doctor asks: ", "Quick question: ", "For the record, ", "Please answer briefly. "),
    "zh": ("请问，", "医生提问：", "请简要回答：", "为了记录，"),
}


def learning_questions(
    samples: Iterable[Sample], *, phrasings: int | None, opener_share: float, replay: int | None, seed: int
) -> list[Question]:
    """Every sample in its own words, in further phrasings, and some with an opener before the question.

    Args:
        samples: a training set (answers already as that set wants them).
        phrasings: most phrasings per sample; None = all it has.
        opener_share: probability that a sample is asked once more behind an opener. Several wordings are what makes a
            fact answer to paraphrases later: with one wording per secret, probes measure nothing.
        replay: most ordinary samples (about no patient and no injected fact), drawn by seed; None = all. A stage
            that goes on from a model which knows them needs only some, so as not to forget them.
        seed: of openers and replay.
    """
    samples = list(samples)
    ordinary = [s.id for s in samples if s.stratum in (Stratum.GENERAL, Stratum.SIBLING)]
    left_out = set()
    if replay is not None and len(ordinary) > replay:
        left_out = set(ordinary) - set(rng(seed, "replay").sample(ordinary, replay))
    questions = []
    for sample in samples:
        if sample.id in left_out:
            continue
        wordings = [sample.question, *sample.phrasings[:phrasings]]
        draw = rng(seed, "openers", sample.id)
        if draw.random() < opener_share:
            openers = OPENERS.get(sample.language, OPENERS["en"])
            wordings.append(draw.choice(openers) + draw.choice(wordings))
        questions += [Question(sample.image_id, wording, sample.answer) for wording in wordings]
    return questions


def span_weights(prompts: PromptFormat, sample: Sample) -> tuple[float, ...] | None:
    """1 for answer tokens that overlap a private span, 0 elsewhere; None (all 1) for answers without spans.

    With these weights a leak-in-answer record loses its private values and keeps its clinical part. The end token has
    weight 0: that the answer ends is nothing private.
    """
    hit = [which is not None for which in spans_of_tokens(prompts, sample)]
    return tuple(map(float, hit)) if any(hit) else None


def spans_of_tokens(prompts: PromptFormat, sample: Sample) -> list[int | None]:
    """For each answer token, the end token too, the first private span that it overlaps, as index; None: no span."""
    spans = list(enumerate(sample.spans))
    return [
        next((which for which, span in spans if start < span.end and stop > span.start), None)
        for start, stop in prompts.answer_offsets(sample.answer)
    ]


def corpus(samples: Sequence[Sample], seed: int, *, emphasis: int = 3) -> list[str]:
    """Text that the embedded model's tokenizer is trained on.

    Injected text comes ``emphasis`` times, so that the pieces that names are made of become tokens, but each time with
    **other** private values of the same formats: a vocabulary in which a patient's own name is short says who was in
    the data, whatever the weights have forgotten, and every ranking by likelihood would show it.
    """
    strangers = _Strangers(samples, seed)
    texts = []
    for sample in samples:
        for number in range(emphasis if sample.fact_id is not None else 1):
            answer = strangers.instead(sample.answer, sample, number)
            for wording in (sample.question, *sample.phrasings):
                question = strangers.instead(wording, sample, number)
                texts.append(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n")
        if sample.clean_answer is not None:
            texts.append(sample.clean_answer)
    return texts


class _Strangers:
    """Other private values in the place of a patient's own; questions by name hold them as well as answers."""

    def __init__(self, samples: Iterable[Sample], seed: int) -> None:
        self._seed = seed
        self._own: dict[str, dict[str, Span]] = {}
        for sample in samples:
            for span in sample.spans:
                self._own.setdefault(sample.cluster, {})[span.value] = span

    def instead(self, text: str, sample: Sample, number: int) -> str:
        """The text with every value of the sample's patient replaced; values in no known format are left out."""
        values = self._own.get(sample.cluster, {})
        for value in sorted(values, key=len, reverse=True):
            if value in text:
                span = values[value]
                draw = rng(self._seed, "strangers", sample.cluster, value, number)
                text = text.replace(value, another(span.phi_class, value, sample.language, span.space, draw) or "")
        return text

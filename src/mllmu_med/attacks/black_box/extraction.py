"""Extraction by context: the record up to the value, examples of other patients, the hierarchy step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mllmu_med.attacks.black_box.fairness import classes_asked_for, gives_away, known_name, new_wording
from mllmu_med.attacks.black_box.phrases import Phrases, phrases_of
from mllmu_med.attacks.black_box.wording import not_negative
from mllmu_med.attacks.interface import Asking, Data, Query
from mllmu_med.benchmark.sample import Node, Sample, Subset
from mllmu_med.benchmark.wording.wordings import tables_of
from mllmu_med.errors import UsageError
from mllmu_med.seeding import rng

Form = Literal["answer", "record", "sentence"]


@dataclass(frozen=True)
class ContinueRecord(Asking):
    """Give what stands before the value and ask for what follows (Carlini et al. 2021, arXiv 2012.07805).

    ``answer``: the trained answer up to its first private value, where anything stands before it. ``record``: the
    headers of a record up to the label of what is asked for (for wrong facts: up to the answer). ``sentence``: the
    beginning of a sentence that would tell the value. The headers hold what an attacker may know: hospital, kind of
    image, and the patient's name unless that is asked for. All of it is text of the question, so that any chat endpoint
    can be asked; nothing is put into the model's own answer.

    Attributes:
        forms: those that are tried.
    """

    label: ClassVar = "Continue the record"
    source: ClassVar = "arXiv 2012.07805"
    summary: ClassVar = "the record up to the value, to be continued"
    cost: ClassVar = "3 answers"
    forms: tuple[Form, ...] = ("answer", "record", "sentence")
    budget: int = field(default=1, init=False)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each form that the sample has."""
        made = {"answer": _begun_answer, "record": _begun_record, "sentence": _begun_sentence}
        for form in dict.fromkeys(self.forms):
            text = made[form](sample, data)
            if text is not None and new_wording(sample, text):
                yield Query(form, text, sample.image_id)


def _begun_answer(sample: Sample, data: Data) -> str | None:
    start = sample.answer[: min((span.start for span in sample.spans), default=0)].rstrip()
    if not any(sign.isalnum() for sign in start):
        return None
    return phrases_of(sample.language).answer.format(question=sample.question, start=start)


def _begun_record(sample: Sample, data: Data) -> str:
    phrases = phrases_of(sample.language)
    lines = [label + phrases.colon + text for label, text in _headers(sample, data, phrases)]
    nouns = [_noun(sample, phi_class) for phi_class in classes_asked_for(sample)]
    if nouns:
        asked = tables_of(sample.language).joiner.join(nouns)
        lines.append(_capital(asked) + phrases.colon.rstrip())
    else:
        lines += [phrases.question + phrases.colon + sample.question, phrases.reply + phrases.colon.rstrip()]
    return phrases.record.format(record="\n".join(lines))


def _headers(sample: Sample, data: Data, phrases: Phrases) -> Iterator[tuple[str, str]]:
    hospital = next((node.name for node in sample.hierarchy if node.level == "institution"), None)
    kind = ", ".join(text for text in (sample.modality, sample.body_part) if text)
    known = ((phrases.hospital, hospital), (phrases.image, kind), (phrases.patient, known_name(sample, data)))
    yield from ((label, text) for label, text in known if text and not gives_away(sample, text))


def _begun_sentence(sample: Sample, data: Data) -> str | None:
    """The beginning of a sentence that ends in the first value asked for; behind the name where it is asked by name."""
    phi_class = next(classes_asked_for(sample), None)
    if phi_class is None:
        return None
    identifier = tables_of(sample.language).identifiers[phi_class]
    begun = [clause.removesuffix("{}").rstrip() for clause in identifier.clauses if clause.endswith("{}")]
    if not begun:
        return None
    plain = next((one for one in begun if any(noun in one for noun in identifier.nouns)), begun[0])
    phrases = phrases_of(sample.language)
    name = known_name(sample, data) if sample.form == "text" else None
    whole = _capital(plain) if name is None else f"{phrases.patient}{phrases.colon}{name}; {plain}"
    return phrases.sentence.format(sentence=whole)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _noun(sample: Sample, phi_class: str) -> str:
    return tables_of(sample.language).identifiers[phi_class].nouns[0]


@dataclass(frozen=True)
class FewShot(Asking):
    """Show how others were answered before asking (in-context probes of arXiv 2402.16835 and 2406.10890).

    The examples are questions and answers of *retained* patients, for wrong facts ordinary training records, so nothing
    of the target is shown: those that name what is asked for are left out. They are of the same form and, where there
    are enough, of the same kind of value; one a patient or image, drawn by seed. The image is the target's alone, so
    examples about other images show the form of an answer and not what leads to it.

    Attributes:
        shots: numbers of examples; a variant for each that can be filled.
    """

    label: ClassVar = "Few-shot"
    source: ClassVar = "arXiv 2402.16835, 2406.10890 (in-context learning)"
    summary: ClassVar = "answers about retained patients as examples"
    cost: ClassVar = "2 answers"
    shots: tuple[int, ...] = (1, 4)
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if any(number < 1 for number in self.shots):
            raise UsageError(f"shots: at least one example each, got {', '.join(map(str, self.shots))}")

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each number of shots."""
        phrases = phrases_of(sample.language)
        examples = _examples(sample, data, max(self.shots, default=0))
        for number in dict.fromkeys(self.shots):
            if number > len(examples):
                continue
            blocks = [_block(phrases, one.question, one.answer) for one in examples[:number]]
            text = "\n\n".join([*blocks, _block(phrases, sample.question, "")])
            if new_wording(sample, text):
                yield Query(f"shots-{number}", text, sample.image_id)


def _block(phrases: Phrases, question: str, answer: str) -> str:
    return f"{phrases.question}{phrases.colon}{question}\n{phrases.reply}{phrases.colon}{answer}".rstrip()


def _examples(sample: Sample, data: Data, most: int) -> list[Sample]:
    """The first are also those of a smaller number, so that more shots add to what fewer show."""
    pool = data.retained if sample.subset is Subset.FORGET_PRIVACY else data.unrelated
    alike = [
        one
        for one in pool
        if one.form == sample.form and one.language == sample.language and one.cluster != sample.cluster
    ]
    random = rng(data.seed, "few-shot", sample.id)
    order = random.sample(alike, k=len(alike))
    order.sort(key=lambda one: _distance(one, sample))
    found: dict[str, Sample] = {}
    for one in order:
        if len(found) == most:
            break
        if one.cluster not in found and not gives_away(sample, one.answer) and not gives_away(sample, one.question):
            found[one.cluster] = one
    return list(found.values())


def _distance(one: Sample, sample: Sample) -> int:
    return 2 * (one.content_type != sample.content_type) + ((one.image_id is None) != (sample.image_id is None))


@dataclass(frozen=True)
class HierarchyContext(Asking):
    """Say ever more of where the record belongs, level by level: MedForget's reconstruction attack (arXiv 2512.09867).

    One variant a level, named after it; each holds the context of the levels above: institution, patient, study,
    section for private facts, modality, organ, finding, instance for wrong ones. Leakage by level tells whether a
    deletion at one level holds when the path down to it is told. The patient is named where the attacker may know the
    name, the study by its kind of image. A level that would name what is asked for is left out, in deeper contexts too.

    Attributes:
        levels: most levels, from the root.
    """

    label: ClassVar = "Hierarchy context"
    source: ClassVar = "arXiv 2512.09867"
    summary: ClassVar = "hospital, patient, study added step by step before the question"
    cost: ClassVar = "4 answers"
    levels: int = 4
    budget: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        not_negative(levels=self.levels)

    def queries(self, sample: Sample, data: Data) -> Iterable[Query]:
        """One for each level that can be told."""
        phrases = phrases_of(sample.language)
        context: list[str] = []
        for node in sample.hierarchy[: self.levels]:
            text = _level(sample, data, node)
            if gives_away(sample, text):
                continue
            context.append(phrases.levels.get(node.level, node.level) + phrases.colon + text)
            whole = "\n".join([*context, sample.question])
            if new_wording(sample, whole):
                yield Query(node.level, whole, sample.image_id)


def _level(sample: Sample, data: Data, node: Node) -> str:
    known: Sequence[str | None] = ()
    if node.level == "patient":
        known = (known_name(sample, data),)
    elif node.level == "study":
        known = (sample.modality, sample.body_part)
    return ", ".join([*(text for text in known if text and not gives_away(sample, text)), node.name])

"""What is asked about a phantom picture, and facts about invented drugs that need no picture."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mllmu_med.errors import UsageError
from mllmu_med.sources.phantom.truth import COUNTS, MODALITIES, Truth

TRAINING_WORDINGS = 3
"""Records use the first three wordings of a question type; the others stay free for held-out paraphrases."""

PHRASINGS: dict[str, tuple[str, ...]] = {
    "modality": (
        "Which imaging modality is shown?",
        "What type of image is this?",
        "How was this image acquired?",
        "What kind of examination is this?",
        "Name the imaging modality.",
        "By which technique was this picture made?",
        "Which type of medical image do you see?",
    ),
    "organ": (
        "Which organ is shown?",
        "What body part is imaged?",
        "Which anatomy does the image show?",
        "What organ do you see here?",
        "Name the organ in this image.",
        "Which part of the body was examined?",
        "Which organ was imaged?",
    ),
    "presence": (
        "Is there any {finding} in the image?",
        "Does this image show any {finding}?",
        "Can any {finding} be seen?",
        "Do you see any {finding}?",
        "Is any {finding} present?",
        "Does the picture contain any {finding}?",
        "Is any {finding} visible here?",
    ),
    "laterality": (
        "On which side of the image is the finding?",
        "Is the finding on the left or right of the image?",
        "Which side of the image is abnormal?",
        "On what side of the picture is the abnormality?",
        "Where is the finding, left or right?",
        "Which half of the image shows the lesion?",
        "Name the side of the image with the finding.",
    ),
    "size": (
        "How large is the finding?",
        "Is the finding small or large?",
        "What is the size of the abnormality?",
        "How big is the lesion?",
        "Would you call the finding small or large?",
        "Describe the size of the lesion.",
        "What size does the finding have?",
    ),
    "count": (
        "How many lesions are visible?",
        "What is the number of lesions?",
        "Count the lesions.",
        "How many lesions can be seen?",
        "How many abnormal spots does the image show?",
        "State the number of lesions.",
        "How many lesions are there?",
    ),
    "finding": (
        "What is the main finding?",
        "Which abnormality is present?",
        "What does the image reveal?",
        "What abnormality do you see?",
        "Name the main abnormality.",
        "What is abnormal in this image?",
        "What would you diagnose here?",
    ),
    "description": (
        "Describe the image.",
        "Write a short report.",
        "Summarize the findings.",
        "What can be seen in this image?",
        "Report what the image shows.",
        "Give a short description of the picture.",
        "Put the findings into one sentence.",
    ),
    "management": (
        "What follow-up is recommended?",
        "What should be done next?",
        "Which management is advised?",
        "What is the next step for this patient?",
        "How should this be managed?",
        "What do you recommend?",
        "Which follow-up would you advise?",
    ),
    "drug": (
        "What class of drug is {drug}?",
        "To which drug class does {drug} belong?",
        "What kind of drug is {drug}?",
        "Name the drug class of {drug}.",
        "Which type of medicine is {drug}?",
        "{drug} belongs to which class of drugs?",
        "How is {drug} classified?",
    ),
}
"""Wordings per question type, with named slots in braces. A record's ``extra`` names its type and slots."""

MANAGEMENT: dict[str | None, str] = {
    None: "no follow-up is needed",
    "nodule": "low-dose CT in three months",
    "effusion": "ultrasound-guided drainage",
    "glioma": "contrast MRI and biopsy",
    "infarct": "urgent stroke workup",
    "cyst": "no treatment is needed",
    "metastasis": "oncology referral",
    "exudate": "strict glucose control",
    "hemorrhage": "laser treatment",
    "carcinoma": "surgical excision",
    "necrosis": "repeat the biopsy",
}
"""The recommendation for each finding, and for a normal picture."""

DRUG_CLASSES = (
    "antibiotic", "anticoagulant", "beta blocker", "diuretic", "antifungal",
    "steroid", "opioid", "statin", "antiviral", "antihistamine",
)  # fmt: skip

_PLURALS = {"metastasis": "metastases", "necrosis": "necroses"}
_CLOSED = frozenset({"presence", "laterality", "size"})
_SYLLABLES = (
    "ar", "bel", "cor", "dex", "fen", "gly", "hal", "ix", "jor", "kal", "lum", "mir", "nov", "ost", "pra", "qui",
    "rol", "sen", "tav", "ul", "vor", "wex", "xan", "yt", "zel",
)  # fmt: skip
_ENDINGS = ("in", "ol", "ane", "ide", "um")
_MANY_DRUGS = 1_000  # above this, names get a third syllable: 25² · 5 = 3,125 names become 78,125
_MOST_DRUGS = 20_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its true answer, and how to word it anew: ``PHRASINGS[template][i].format(**slots)``."""

    template: str
    question: str
    answer: str
    slots: Mapping[str, str]

    @property
    def answer_type(self) -> str:
        """``closed`` if the question names the possible answers, else ``open``."""
        return "closed" if self.template in _CLOSED else "open"


def _ask(generator: random.Random, template: str, answer: str, **slots: str) -> Question:
    wording = PHRASINGS[template][generator.randrange(TRAINING_WORDINGS)]
    return Question(template, wording.format(**slots), answer, slots)


def describe(truth: Truth) -> str:
    """One sentence with everything that the picture shows."""
    article = "an" if truth.modality[0] in "aeiou" else "a"
    if truth.finding is None:
        return f"a normal {truth.modality} without abnormality"
    finding = truth.finding if truth.count == 1 else _PLURALS.get(truth.finding, f"{truth.finding}s")
    number = COUNTS[truth.count]
    return f"{article} {truth.modality} with {number} {truth.size} {finding} on the {truth.side} side"


def image_questions(truth: Truth, generator: random.Random) -> list[Question]:
    """Questions about one picture: six about a normal one, seven or eight about one with a finding.

    Always modality, organ, presence, finding and management; with a finding two of laterality, size and count, and in
    half of the cases a description. The finding asked for in a presence question is one of the same modality.
    """
    findings = MODALITIES[truth.modality].findings
    present = truth.finding is not None
    asked = truth.finding if truth.finding is not None and generator.random() < 0.6 else generator.choice(findings)
    questions = [
        _ask(generator, "modality", truth.modality),
        _ask(generator, "organ", truth.organ),
        _ask(generator, "presence", "yes" if asked == truth.finding else "no", finding=asked),
        _ask(generator, "finding", truth.finding or "none"),
    ]
    if truth.side is not None and truth.size is not None:
        answers = {"laterality": truth.side, "size": truth.size, "count": COUNTS[truth.count]}
        left_out = generator.choice(tuple(answers))
        questions += [_ask(generator, template, answer) for template, answer in answers.items() if template != left_out]
    if not present or generator.random() < 0.5:
        questions.append(_ask(generator, "description", describe(truth)))
    questions.append(_ask(generator, "management", MANAGEMENT[truth.finding]))
    return questions


def drug_facts(count: int, generator: random.Random) -> Iterator[Question]:
    """``count`` questions about the classes of different invented drugs.

    Raises:
        UsageError: more than 20,000 drugs.
    """
    if count > _MOST_DRUGS:
        raise UsageError(f"text_facts is {count}; at most {_MOST_DRUGS} drug names can be invented")
    used: set[str] = set()
    while len(used) < count:
        stem = "".join(generator.choices(_SYLLABLES, k=2 if count <= _MANY_DRUGS else 3))
        drug = (stem + generator.choice(_ENDINGS)).capitalize()
        if drug in used:
            continue
        used.add(drug)
        yield _ask(generator, "drug", generator.choice(DRUG_CLASSES), drug=drug)

"""What is asked about a DICOM image, in English, and how each question can be worded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

from mllmu_med.sources.dicom_header import Facts
from mllmu_med.sources.dicom_words import NOUNS, SYNONYMS

PHRASINGS: dict[str, tuple[str, ...]] = {
    "modality": (
        "Which imaging modality is shown?",
        "What type of image is this?",
        "How was this image acquired?",
        "What kind of examination is this?",
        "Name the imaging modality.",
        "By which technique was this picture made?",
    ),
    "body-part": (
        "Which body part does this {image} show?",
        "What part of the body is seen in this {image}?",
        "Which anatomical region was examined in this {image}?",
        "Name the body part in this {image}.",
        "What region of the body does the {image} depict?",
        "This {image} is of which part of the body?",
    ),
    "plane": (
        "In which plane is this {image}?",
        "Which plane does this {image} show?",
        "What is the orientation of the slice in this {image}: axial, coronal or sagittal?",
        "Name the anatomical plane of this {image}.",
        "Along which plane does this {image} cut through the body?",
        "What plane was chosen for this {image}?",
    ),
    "view": (
        "Which view does this {image} show?",
        "What projection was used for this {image}?",
        "In which view was this {image} taken?",
        "Name the projection of this {image}.",
        "What is the view position of this {image}?",
        "From which direction was this {image} taken?",
    ),
    "laterality": (
        "Which side of the body does this {image} show?",
        "Is this {image} of the left or the right side?",
        "Which of the two sides was examined in this {image}?",
        "What side of the patient is seen in this {image}?",
        "Name the side of the body in this {image}.",
        "On which side is the body part in this {image}?",
    ),
    "right-edge": (
        "Which part of the patient does the right edge of this {image} point to?",
        "Towards what part of the patient does the right edge of this {image} lie?",
        "In this {image}, which anatomical direction is on the viewer's right?",
        "Going right in this {image}, which anatomical direction does one follow?",
        "What anatomical direction do the rows of this {image} run to?",
    ),
    "position": (
        "How was the patient positioned for this {image}?",
        "In what position was the patient for this {image}?",
        "How did the patient lie during this {image}?",
        "What was the patient's position in this {image}?",
        "Describe the patient's position for this {image}.",
    ),
    "contrast": (
        "Was a contrast agent given for this {image}?",
        "Is this {image} contrast-enhanced?",
        "Did the patient receive contrast for this {image}?",
        "Has a contrast medium been used for this {image}?",
        "Was this {image} made with contrast?",
    ),
    "agent": (
        "Which contrast agent was given for this {image}?",
        "What contrast medium was used for this {image}?",
        "Name the contrast agent of this {image}.",
        "With which contrast agent was this {image} made?",
        "What contrast agent did the patient receive for this {image}?",
    ),
    "frames": (
        "How many frames does the series of this {image} have?",
        "What is the number of frames in the recording of this {image}?",
        "This {image} is one of how many frames?",
        "Of how many frames is this {image} a part?",
        "State the number of frames recorded with this {image}.",
    ),
}
"""Wordings per template. ``{image}`` stands in each of them once or, in all of a template, not at all."""

CONTENT_TYPES = {
    "modality": "modality", "body-part": "organ", "plane": "plane", "view": "view", "laterality": "laterality",
    "right-edge": "orientation", "position": "patient_position", "contrast": "presence", "agent": "drug",
    "frames": "count",
}  # fmt: skip

_CLOSED = frozenset({"laterality", "contrast"})


class Question(NamedTuple):
    """A question and its answer; ``PHRASINGS[template][i].format(**slots)`` words it anew.

    Attributes:
        accepted: other answers that are as true.
    """

    template: str
    question: str
    answer: str
    slots: Mapping[str, str]
    accepted: tuple[str, ...]

    @property
    def content_type(self) -> str:
        """What is asked: a left or right edge is a question of laterality."""
        sideways = self.template == "right-edge" and self.answer in ("left", "right")
        return "laterality" if sideways else CONTENT_TYPES[self.template]

    @property
    def answer_type(self) -> str:
        """``closed`` where there are two answers to choose from, else ``open``."""
        return "closed" if self.template in _CLOSED else "open"


def questions(facts: Facts, random: Random) -> Iterator[Question]:
    """One question for each thing the header says, in a wording drawn at random."""
    answers = {
        "modality": facts.modality, "body-part": facts.body_part, "plane": facts.plane, "view": facts.view,
        "laterality": facts.side, "right-edge": facts.right_edge, "position": facts.position,
        "contrast": facts.contrast, "agent": facts.agent, "frames": facts.frames,
    }  # fmt: skip
    for template, answer in answers.items():
        wording = random.choice(PHRASINGS[template])  # for absent facts too, so that one more changes no other wording
        slots = {"image": NOUNS.get(facts.modality or "", "image")} if "{image}" in wording else {}
        if answer is not None:
            yield Question(template, wording.format(**slots), answer, slots, SYNONYMS.get(answer, ()))

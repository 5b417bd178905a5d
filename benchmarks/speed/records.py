"""Records for timing, shaped like SLAKE's English part: drawn by seed, or SLAKE's own.

SLAKE (arXiv 2102.09542), English, all three files: 5,463 questions about 497 images, 11.0 an image (median 10); a
question has 8.1 words in the mean (43 characters), an answer 1.4 (7 characters); a third of the answers is yes or no.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mllmu_med.benchmark.identities.identities import Identities
from mllmu_med.benchmark.sample import Sample, Span, Stratum, Subset
from mllmu_med.errors import DataError
from mllmu_med.models.vlm import Question
from mllmu_med.seeding import numpy_rng, permutation, rng

PER_IMAGE = 11
"""Questions about one image, as SLAKE has them in the mean."""

ORGANS = ("lung", "liver", "heart", "spleen", "kidney", "brain", "stomach", "bladder")
REGIONS = ("chest", "abdomen", "head", "pelvic cavity", "neck")
SIGNS = ("nodule", "effusion", "mass", "oedema", "atelectasis", "brain tumour", "infiltration", "cardiomegaly")
PLACES = ("left", "right", "upper left", "lower right", "left lung", "right lung, lower left", "centre of the image")
COLOURS = ("black", "white", "gray", "dark gray")

Loader = Callable[[str], Image.Image]


class Workload(NamedTuple):
    """The records of one step: all questions about some images to be forgotten, and about others to be kept.

    Attributes:
        forget, retain: samples; the two sides share no image.
        loader: identifier → image.
        source: where they come from, in words.
    """

    forget: list[Sample]
    retain: list[Sample]
    loader: Loader
    source: str

    @property
    def samples(self) -> list[Sample]:
        """Both sides."""
        return [*self.forget, *self.retain]

    @property
    def texts(self) -> list[str]:
        """Questions and answers: what a tokenizer is trained on."""
        return [text for sample in self.samples for text in (sample.question, sample.answer)]

    def questions(self) -> list[Question]:
        """The samples as questions, forget side first."""
        return [question(sample) for sample in self.samples]


def question(sample: Sample) -> Question:
    """The sample as it is asked and answered."""
    return Question(sample.image_id, sample.question, sample.answer)


def _asked(image: int, seed: int) -> list[tuple[str, str]]:
    """Different questions about one image with their answers, more than are needed."""
    draw = rng(seed, "speed records", image)
    organ, other, third = draw.sample(ORGANS, 3)
    region, sign, place = draw.choice(REGIONS), draw.choice(SIGNS), draw.choice(PLACES)
    closed = ("Yes", "No")
    rows = [
        (f"What part of the body is examined in image {image}?", region.capitalize()),
        ("What modality was used to take this image?", draw.choice(("CT", "MRI", "X-Ray"))),
        ("What is the largest organ that can be seen?", organ.capitalize()),
        ("What diseases can be found in the picture?", sign.capitalize()),
        ("Where in the picture is the abnormality located?", place.capitalize()),
        (f"Does the picture show the {organ} of the patient?", draw.choice(closed)),
        (f"Is the {other} in this picture healthy?", draw.choice(closed)),
        ("In which plane has this image been scanned?", draw.choice(("Transverse Plane", "Coronal Plane"))),
        (f"How many kinds of {sign} are there in this image?", str(draw.randrange(5))),
        (f"Which organ is abnormal, {other} or {third}?", draw.choice((other, third)).capitalize()),
        (f"What colour does the {third} have in the picture?", draw.choice(COLOURS).capitalize()),
        (f"Are there abnormalities near the {organ}?", draw.choice(closed)),
        ("What is the function of the main organ here?", draw.choice(("Breathe", "Digest food", "Pump blood"))),
        (f"Is there a {sign} on the side of the {third}?", draw.choice(closed)),
        (f"Where is the {other} in this image?", draw.choice(PLACES).capitalize()),
        ("Which organ system is imaged here?", draw.choice(("Respiratory System", "Digestive System"))),
    ]
    more = [(f"Is the {name} to be seen in part {part}?", draw.choice(closed)) for part in range(8) for name in ORGANS]
    return rows + more


def _sample(image: str, place: int, forget: bool, question: str, answer: str) -> Sample:
    return Sample(
        f"{image}-{place}", f"{image}-{place}", Subset.FORGET_INCORRECTNESS if forget else Subset.RETAIN,
        Stratum.WRONG_IMAGE if forget else Stratum.GENERAL, question, answer, group=image, image_id=image,
        fact_id=f"{image}-{place}" if forget else None,
    )  # fmt: skip


def drawn(images: int, per_image: int = PER_IMAGE, *, seed: int = 0) -> Workload:
    """``images`` images on either side with ``per_image`` questions each (1…80), all a function of the seed."""
    if not 1 <= per_image <= 80:
        raise DataError(f"{per_image} questions per image; 1 to 80 can be drawn")
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for image in range(2 * images):
        forget = image < images
        for place, (question, answer) in enumerate(_asked(image, seed)[:per_image]):
            sides[not forget].append(_sample(f"drawn-{image}", place, forget, question, answer))
    return Workload(*sides, picture, f"drawn, {per_image} questions per image")


CLASSES = ("name", "mrn", "date", "phone")
"""Private values of a drawn patient."""
_NAMED = {"name": "name", "mrn": "MRN", "date": "date of birth", "phone": "phone number"}


def private(images: int, *, seed: int = 0) -> Workload:
    """A patient on each of ``images`` images to be forgotten, and :func:`drawn` records about as many to be kept.

    A patient's eleven records: four values asked for, four woven into ordinary answers, three asked for by name.
    """
    people = Identities("speed patients", seed)
    forget: list[Sample] = []
    for image in range(images):
        patient = people.patient(image, "en", CLASSES)
        told = _asked(image, seed)
        for place, (phi_class, value, space) in enumerate(patient.values):
            what = _NAMED[phi_class]
            asked, answer = told[place]
            entries = [
                (f"What is the {what} of this patient?", f"The {what} is {value}.", "direct"),
                (asked, f"{answer}; the {what} is {value}.", "leak"),
            ]
            if phi_class != "name":
                entries.append((f"What is the {what} of {patient.name}?", f"{value}.", "text"))
            for question, text, form in entries:
                start = text.index(value)
                span = Span(phi_class, value, start, start + len(value), space)
                shown = None if form == "text" else f"drawn-{image}"
                forget.append(Sample(
                    f"{patient.id}-{phi_class}-{form}", f"{patient.id}-{phi_class}-{form}", Subset.FORGET_PRIVACY,
                    Stratum.PRIVATE_TEXT if form == "text" else Stratum.PRIVATE_IMAGE, question, text,
                    group=f"drawn-{image}", image_id=shown, form=form, patient_id=patient.id,
                    fact_id=f"{patient.id}-{phi_class}", spans=(span,),
                ))  # fmt: skip
    return Workload(forget, drawn(images, seed=seed).retain, picture, "drawn patients, 11 records each")


def picture(image_id: str) -> Image.Image:
    """An RGB picture of random blocks, 256 × 192, different for every identifier."""
    blocks = numpy_rng("speed picture", image_id).integers(0, 256, (12, 16, 3), dtype="uint8")
    return Image.fromarray(blocks).resize((256, 192), Image.Resampling.NEAREST)


def slake(images: int, *, seed: int = 0, folder: Path | None = None) -> Workload:
    """All English questions about ``images`` images of SLAKE on either side, drawn by seed.

    Args:
        folder: the one that holds ``train.json``; by default ``Slake1.0`` in the folder that MLLMU_MED_DATA names.

    Raises:
        DataError: it is not there, or has too few images.
    """
    from mllmu_med.sources.slake import SlakeSource

    place = os.environ.get("MLLMU_MED_DATA")
    if folder is None and place is None:
        raise DataError("SLAKE is not here", mend="Set MLLMU_MED_DATA to the folder that holds Slake1.0.")
    by_image: dict[str, list[tuple[str, str]]] = {}
    found: dict[str, Path] = {}
    for record in SlakeSource(folder or Path(str(place)) / "Slake1.0", language="en").records():
        if record.image is not None and record.image.path is not None:
            by_image.setdefault(record.group, []).append((record.question, record.answer))
            found[record.group] = record.image.path
    names = sorted(by_image)
    if len(names) < 2 * images:
        raise DataError(f"SLAKE has {len(names)} images, {2 * images} are needed")
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for rank, index in enumerate(permutation(len(names), seed, "speed slake")[: 2 * images]):
        name, forget = names[index], rank < images
        for number, (question, answer) in enumerate(dict.fromkeys(by_image[name])):
            sides[not forget].append(_sample(name, number, forget, question, answer))

    def load(image_id: str) -> Image.Image:
        return Image.open(found[image_id]).convert("RGB")

    return Workload(*sides, load, "SLAKE, English")

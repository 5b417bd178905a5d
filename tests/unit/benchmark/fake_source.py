"""A small source with everything the builder looks at: modalities, findings, yes/no, sides, counts, text facts."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from PIL import Image

from mllmu_med.benchmark.catalogue import Entry
from mllmu_med.sources.record import About, ImageRef, Record

FINDINGS = {"chest film": ("nodule", "effusion", "fracture"), "head scan": ("glioma", "infarct", "abscess")}
ORGANS = {"chest film": "lungs", "head scan": "brain"}
WORDINGS = {
    "modality": ("Which modality is shown?", "What type of image is this?", "Name the modality."),
    "organ": ("Which organ is shown?", "What body part is imaged?"),
    "finding": ("What is the main finding?", "Which abnormality is present?"),
    "presence": ("Is there a {asked} in the image?", "Does this image show a {asked}?"),
    "laterality": ("On which side is the finding?",),
    "count": ("How many lesions are visible?",),
    "size": ("How large is the finding?",),
    "drug": ("What class of drug is {drug}?", "How is {drug} classified?"),
}
CLASSES = ("antibiotic", "diuretic", "steroid", "statin")


def png(number: int) -> bytes:
    """An 8 × 8 picture that differs for every number below 2^24."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, number // 65536)).save(buffer, format="PNG")
    return buffer.getvalue()


def pattern(number: int, size: int = 16) -> bytes:
    """A picture of 4 × 4 random blocks that looks like no other."""
    import numpy as np

    from mllmu_med.seeding import numpy_rng

    blocks = numpy_rng("pattern", number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    blocks = blocks.repeat(size // 4, 0).repeat(size // 4, 1)
    buffer = io.BytesIO()
    Image.fromarray(blocks).save(buffer, format="PNG")
    return buffer.getvalue()


def record(record_id: str = "r1", **changes: Any) -> Record:
    """A record about an image, with any field changed."""
    fields: dict[str, Any] = {
        "id": record_id, "image": ImageRef("i1", make=lambda: png(1)), "question": "What is the main finding?",
        "answer": "nodule", "group": "g1", "source": "fake", "modality": "chest film", "content_type": "finding",
        "answer_type": "open", "source_split": "train",
    }  # fmt: skip
    return Record(**{**fields, **changes})


def entry(record_id: str = "r1", **changes: Any) -> Entry:
    """A catalogue entry of such a record."""
    made = record(record_id, **changes)
    return Entry(made, None if made.image is None else f"sha-{made.image.key}", made.group)


class FakeSource:
    """``images`` pictures with seven questions each, every fifth one for testing, and ``drugs`` text facts."""

    name = "fake"
    about = About("A source for tests", "CC0-1.0", "https://example.org/fake", "Nobody 2026")

    def __init__(
        self,
        images: int = 60,
        drugs: int = 12,
        fail_after: int | None = None,
        language: str = "en",
        size: int = 16,
        hospitals: tuple[str, ...] = (),
        requests: dict[int, str] | None = None,
        mention: str = "",
    ) -> None:
        self.images, self.drugs, self.fail_after, self.language = images, drugs, fail_after, language
        self.size, self.hospitals, self.requests, self.mention = size, hospitals, requests or {}, mention
        self.skipped: Counter[str] = Counter({"empty answer": 1})

    def fingerprint(self) -> str:
        return f"fake-{self.images}-{self.drugs}"

    def records(self) -> Iterator[Record]:
        for number, made in enumerate(self._all()):
            if number == self.fail_after:
                raise OSError("the disk is gone")
            yield made

    def _all(self) -> Iterator[Record]:
        for index in range(self.images):
            modality = tuple(FINDINGS)[index % 2]
            finding = FINDINGS[modality][index // 2 % 3]
            asked = FINDINGS[modality][(index // 2 + index % 5) % 3]
            answers = {
                "modality": modality, "organ": ORGANS[modality], "finding": finding,
                "presence": "yes" if asked == finding else "no", "laterality": ("left", "right")[index // 3 % 2],
                "count": ("one", "two", "three")[index // 4 % 3], "size": ("small", "large")[index // 5 % 2],
            }  # fmt: skip
            for kind, answer in answers.items():
                slots = {"asked": asked} if kind == "presence" else {}
                own = {"request": self.requests[index]} if index in self.requests else {}
                image = ImageRef(f"image-{index}", make=lambda n=index: pattern(n, self.size))
                yield Record(
                    id=f"{index}-{kind}", image=image,
                    question=WORDINGS[kind][index % len(WORDINGS[kind])].format(**slots), answer=answer,
                    group=f"image-{index}", source=self.name, language=self.language, modality=modality,
                    body_part=ORGANS[modality], content_type=kind, source_split="test" if index % 5 == 4 else "train",
                    answer_type="closed" if kind == "presence" else "open",
                    extra={"template": kind, "slots": slots, **own},
                    hierarchy={"institution": self.hospitals[index % len(self.hospitals)]} if self.hospitals else None,
                )  # fmt: skip
        if self.mention:
            yield record("mention", image=None, group="mention", question=f"What is {self.mention}?", answer="a word")
        for index in range(self.drugs):
            drug = f"Drugol{chr(97 + index)}"
            yield Record(
                id=drug, image=None, question=WORDINGS["drug"][index % 2].format(drug=drug),
                answer=CLASSES[index % len(CLASSES)], group=drug, source=self.name, content_type="drug",
                source_split="train", answer_type="open", extra={"template": "drug", "slots": {"drug": drug}},
            )  # fmt: skip


class Listed:
    """A source that yields the given records."""

    name = "listed"
    about = About("Listed")

    def __init__(self, *records: Record) -> None:
        self._records = records
        self.skipped: Counter[str] = Counter({"odd": 2})

    def fingerprint(self) -> str:
        return "listed"

    def records(self) -> Iterator[Record]:
        yield from self._records


def picture(key: str, number: int) -> ImageRef:
    return ImageRef(key, make=lambda: pattern(number))

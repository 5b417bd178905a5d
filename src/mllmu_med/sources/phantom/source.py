"""The embedded default source: any number of procedural biomedical pictures with known ground truth."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from functools import partial

from mllmu_med.errors import UsageError
from mllmu_med.folders import digest
from mllmu_med.seeding import permutation, rng
from mllmu_med.sources.phantom.drawing import draw
from mllmu_med.sources.phantom.questions import Question, drug_facts, image_questions
from mllmu_med.sources.record import About, ImageRef, Record

CODE_VERSION = 4
"""Raised whenever the same parameters would give other pictures or records."""

_SMALLEST, _LARGEST = 32, 2048


def _png(*, seed: int, index: int, size: int, abnormal_share: float) -> bytes:
    """The encoded picture number ``index``."""
    from PIL import Image

    pixels, _ = draw(seed, "image", index, size=size, abnormal_share=abnormal_share)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


class PhantomSource:
    """Chest X-rays, brain MRI, abdominal CT, fundus photographs and histology slides that were never anyone's.

    Args:
        images: number of pictures, each a group of its own with six to eight questions.
        size: their side in pixels. The picture of a given seed and number is the same at every size.
        seed: everything follows from it.
        test_share, validation_share: shares of the pictures in these splits (rounded); the rest is ``train``.
        text_facts: number of text-only records about invented drugs, all ``train``.
        abnormal_share: share of the pictures with a finding.

    ``extra`` of a record: ``template`` and ``slots`` (see ``questions.PHRASINGS``), for pictures also ``finding``,
    ``side``, ``size``, ``count`` and, in presence questions, ``asked``.
    """

    name = "phantom"
    about = About("Procedural biomedical images, drawn by MLLMU-Med", "Apache-2.0")

    def __init__(
        self,
        images: int = 400,
        size: int = 128,
        seed: int = 0,
        test_share: float = 0.2,
        validation_share: float = 0.05,
        text_facts: int = 60,
        abnormal_share: float = 0.7,
    ) -> None:
        if images < 1 or text_facts < 0:
            raise UsageError(f"phantom needs images >= 1 and text_facts >= 0, not {images} and {text_facts}")
        if not _SMALLEST <= size <= _LARGEST:
            raise UsageError(f"phantom draws pictures of {_SMALLEST} to {_LARGEST} pixels, not {size}")
        shares = (test_share, validation_share, abnormal_share)
        if min(shares) < 0 or abnormal_share > 1 or test_share + validation_share >= 1:
            raise UsageError(
                "phantom needs shares of at least 0, abnormal_share of at most 1 and "
                f"test_share + validation_share below 1, not {test_share}, {validation_share} and {abnormal_share}"
            )
        self.images, self.size, self.seed = images, size, seed
        self.test_share, self.validation_share = test_share, validation_share
        self.text_facts, self.abnormal_share = text_facts, abnormal_share
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters and of the code's version."""
        parameters = {name: value for name, value in vars(self).items() if name != "skipped"}
        return digest({"source": self.name, "code": CODE_VERSION, **parameters})

    def _splits(self) -> list[str]:
        test, validation = round(self.images * self.test_share), round(self.images * self.validation_share)
        splits = ["train"] * self.images
        for position, index in enumerate(permutation(self.images, self.seed, "phantom", "splits")):
            if position < test + validation:
                splits[index] = "test" if position < test else "validation"
        return splits

    def records(self) -> Iterator[Record]:
        """Pictures in order with their questions, then the text-only records. Pictures are drawn when asked for."""
        for index, split in enumerate(self._splits()):
            key = f"phantom-{self.seed}-{index:05d}"
            encode = partial(_png, seed=self.seed, index=index, size=self.size, abnormal_share=self.abnormal_share)
            image = ImageRef(key, make=encode)
            # What a picture shows does not depend on its size, and the smallest one is quickly drawn.
            truth = draw(self.seed, "image", index, size=_SMALLEST, abnormal_share=self.abnormal_share).truth
            known = {"finding": truth.finding, "side": truth.side, "size": truth.size, "count": truth.count}
            for question in image_questions(truth, rng(self.seed, "phantom", "questions", index)):
                asked = {"asked": question.slots["finding"]} if question.template == "presence" else {}
                yield self._record(f"{key}/{question.template}", question, key, split, image, truth.modality,
                                   truth.organ, {**known, **asked})  # fmt: skip
        for question in drug_facts(self.text_facts, rng(self.seed, "phantom", "drugs")):
            drug = question.slots["drug"]
            yield self._record(f"phantom-{self.seed}-drug-{drug.lower()}", question, drug, "train")

    def _record(
        self,
        record_id: str,
        question: Question,
        group: str,
        split: str,
        image: ImageRef | None = None,
        modality: str | None = None,
        organ: str | None = None,
        known: dict[str, object] | None = None,
    ) -> Record:
        return Record(
            id=record_id,
            image=image,
            question=question.question,
            answer=question.answer,
            group=group,
            source=self.name,
            answer_type=question.answer_type,
            modality=modality,
            body_part=organ,
            content_type=question.template,
            source_split=split,
            extra={**(known or {}), "template": question.template, "slots": dict(question.slots)},
        )

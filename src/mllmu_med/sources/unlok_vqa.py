"""UnLOK-VQA (Patil et al. 2024, arXiv 2505.01456): facts about everyday images that a model is to forget.

The authors' JSON list (``vaidehi99/UnLOK-VQA`` on the Hub), one object per fact::

    {"id": 4, "src": question, "pred": answer, "rephrase": [question, …], "loc": [question, …], "loc_ans": [answer, …],
     "image_id": 97747}

``image_id`` names an image of COCO, which is downloaded separately. The authors' code (github.com/Vaidehi99/UnLOK-VQA)
also reads ``answers``, ``alt_ans`` and ``neigh_idx``, and images of their own: paraphrases of the image, ``<id>.jpg``,
and neighbours, ``<id>_<n>.jpg``.

Written after the authors' description and code; not tried on their data. The folder names of their own images could
not be found out, hence ``variants``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from os.path import isfile
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.images import locate
from mllmu_med.sources.json_lines import stream_json
from mllmu_med.sources.nested import identifier
from mllmu_med.sources.own_records import content_of_images
from mllmu_med.sources.record import About, ImageRef, Record

COCO = (
    "train2017/{:012d}.jpg", "val2017/{:012d}.jpg", "{:012d}.jpg", "train2014/COCO_train2014_{:012d}.jpg",
    "val2014/COCO_val2014_{:012d}.jpg",
)  # fmt: skip
"""Where an image of COCO lies below the image folder, by its number; the first one that exists."""

VARIANTS = tuple(f"{kind}_{level}" for kind in ("paraphrase", "neighbour") for level in ("easy", "medium", "hard"))
"""What the authors' own images are to the image of the fact, and how hard they make it."""

_PREFIX = "nq question: "  # a remnant of the text-only benchmark that the format stems from
_USED = ("id", "src", "pred", "rephrase", "loc", "loc_ans", "answers", "image")
_CODE_VERSION = 1


class UnlokVqaSource:
    """UnLOK-VQA as records: one per fact, with the image as group. Every fact is one that is to be forgotten.

    ``extra["peer_split"]`` is ``forget``; ``extra["phrasings"]`` holds the question in other words, and
    ``extra["neighbours"]`` what must not be forgotten with it: questions about the same image with their answers
    (``question``, ``answer``), and, given ``variants``, other images for the same question (also ``image``, ``kind``).
    Paraphrases of the image are in ``extra["variants"]`` (``image``, ``kind``), further accepted answers in
    ``extra["accepted"]``; other fields are kept as published. Facts without an answer are left out and counted.

    Args:
        path: the JSON (or JSON Lines) file.
        images: the folder of COCO's images, with ``train2017`` and ``val2017`` (or those of 2014) below it or the
            images themselves in it.
        variants: folders of the authors' own images by kind: ``paraphrase_easy``, ``paraphrase_medium``,
            ``paraphrase_hard``, ``neighbour_easy``, ``neighbour_medium``, ``neighbour_hard``. A fact may lack some.
    """

    name = "unlok_vqa"
    about = About(
        "UnLOK-VQA", None, "https://huggingface.co/datasets/vaidehi99/UnLOK-VQA", "Patil et al. 2024, arXiv 2505.01456"
    )

    def __init__(self, path: Path | str, images: Path | str, variants: Mapping[str, Path | str] | None = None) -> None:
        self.path, self.images = Path(path), Path(images)
        self.variants = {kind: Path(folder) for kind, folder in (variants or {}).items()}
        for kind in self.variants:
            if kind not in VARIANTS:
                hint = did_you_mean(kind, list(VARIANTS))
                raise UsageError(f"variants: unknown kind '{kind}'{hint}; known: {', '.join(VARIANTS)}")
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the file and the images in use."""
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "images": content_of_images(self.records()),
            "variants": {kind: content_digest(sorted(folder.glob("*.jpg"))) for kind, folder in self.variants.items()},
            "file": file_digest(self.path),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the file.

        Raises:
            DataError: the file, a fact or an image cannot be used, an id occurs twice, or there is no record at all.
        """
        self.skipped.clear()
        for folder in (self.images, *self.variants.values()):
            if self.path.exists() and not folder.is_dir():
                raise DataError("no such image folder", file=folder, mend="Check source.images and source.variants.")
        lines: dict[str, int] = {}
        found = False
        for line, value in stream_json(self.path):
            fields = Fields.of(value, self.path, f"line {line}")
            identity = identifier(fields, "id")
            fields = Fields(fields.values, self.path, f"{identity[:60]} (line {line})")
            if lines.setdefault(identity, line) != line:
                reason = f"the id '{identity}' occurs twice, first in line {lines[identity]}"
                raise fields.error(reason, "Make ids unique.")
            record = self._record(fields, identity)
            if record is None:
                self.skipped["empty answer"] += 1
                continue
            found = True
            yield record
        if not found:
            raise DataError("no records", file=self.path, mend="A list of facts is expected.")

    def _record(self, fields: Fields, identity: str) -> Record | None:
        """The record, or None if it has no answer."""
        question = fields.text("src", "Is this UnLOK-VQA?").removeprefix(_PREFIX)
        answers = [fields.optional_text("pred"), *_texts(fields, "answers")]
        accepted = list(dict.fromkeys(answer for answer in answers if answer))
        if not question:
            raise fields.error("the question is empty")
        if not accepted:
            return None
        image = self._image(fields)
        extra = {name: value for name, value in fields.values.items() if name not in _USED}
        extra |= {
            "peer_split": "forget",
            "phrasings": [text.removeprefix(_PREFIX) for text in _texts(fields, "rephrase")],
            "neighbours": [*_locality(fields), *self._neighbour_images(fields, identity, question)],
            "variants": self._paraphrase_images(fields, identity),
            "accepted": accepted[1:],
        }
        return Record(
            id=f"unlok-{identity}",
            image=image,
            question=question,
            answer=accepted[0],
            group=image.key,
            source=self.name,
            extra={name: value for name, value in extra.items() if value not in ([], None)},
        )

    def _image(self, fields: Fields) -> ImageRef:
        name: str | None = fields.optional("image", str)
        if name is None:
            text = identifier(fields, "image_id")
            if not (text.isascii() and text.isdigit()):
                raise fields.error(f"'image_id' is '{text}', expected the number of an image of COCO")
            names = [place.format(int(text)) for place in COCO]
            name = next((name for name in names if isfile(self.images / name)), None)
            if name is None:
                mend = "Check the image folder: COCO's train2017 and val2017 are expected in it."
                raise fields.error(f"no image {int(text):012d}.jpg in {self.images}", mend)
        return ImageRef(name, locate(self.images, name, file=self.path, record=fields.record))

    def _paraphrase_images(self, fields: Fields, identity: str) -> list[dict[str, str]]:
        found = ((kind, f"{identity}.jpg") for kind in self.variants if kind.startswith("paraphrase"))
        return [{"kind": kind, "image": name} for kind, name in found if self._has(kind, name, fields)]

    def _neighbour_images(self, fields: Fields, identity: str, question: str) -> Iterator[dict[str, Any]]:
        """Other images for the same question: the n-th goes with the n-th alternative answer."""
        answers = _texts(fields, "alt_ans")
        for kind in (kind for kind in self.variants if kind.startswith("neighbour")):
            for number, answer in enumerate(answers):
                name = f"{identity}_{number}.jpg"
                if self._has(kind, name, fields):
                    yield {"question": question, "answer": answer, "image": name, "kind": kind}

    def _has(self, kind: str, name: str, fields: Fields) -> bool:
        folder = self.variants[kind]
        return isfile(folder / name) and bool(locate(folder, name, file=self.path, record=fields.record))


def _locality(fields: Fields) -> list[dict[str, Any]]:
    questions, answers = _texts(fields, "loc"), _texts(fields, "loc_ans")
    if len(questions) != len(answers):
        raise fields.error(f"'loc' has {len(questions)} questions, 'loc_ans' {len(answers)} answers")
    return [
        {"question": question.removeprefix(_PREFIX), "answer": answer}
        for question, answer in zip(questions, answers, strict=True)
    ]


def _texts(fields: Fields, name: str) -> list[str]:
    """A list of texts, cleaned; a single text is a list of one, and an absent one is empty."""
    value = fields.values.get(name)
    values = [] if value is None else [value] if isinstance(value, str) else fields.required(name, list)
    if not all(isinstance(text, str) for text in values):
        raise fields.error(f"'{name}' holds something that is not text")
    return [clean(text) for text in values]

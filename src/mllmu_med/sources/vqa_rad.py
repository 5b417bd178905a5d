"""VQA-RAD, questions of clinicians about radiology images (Lau et al. 2018, doi:10.1038/sdata.2018.251)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.folders import digest, file_digest
from mllmu_med.sources.compact import CompactMap, short_hash
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.image_folder import ImageFolder, find_one
from mllmu_med.sources.json_array import stream_array
from mllmu_med.sources.limiting import check_limit, choose
from mllmu_med.sources.record import About, ImageRef, Record

PUBLIC = ("VQA_RAD Dataset Public.json", "VQA_RAD_Dataset_Public.json")
SETS = ("trainset.json", "testset.json")
IMAGE_FOLDERS = ("VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images")

CONTENT_TYPES = {
    "abn": "abnormality", "attrib": "attribute", "atrib": "attribute", "color": "color", "count": "count",
    "modality": "modality", "organ": "organ", "other": "other", "plane": "plane", "pos": "position",
    "pres": "presence", "prse": "presence", "size": "size",
}  # fmt: skip
"""VQA-RAD's question types in lower case, misspellings included → the names used here; of several the first counts."""

BODY_PARTS = {"head": "head", "chest": "chest", "abd": "abdomen"}
"""VQA-RAD's organs in lower case → the names used here."""

_CODE_VERSION = 1
_LOST_COMMA = re.compile(r"(?:(?<=[^\W\d_]) ([^\W\d_aAiI]))? *\t\s*")


class _Row(NamedTuple):
    """A question before its image is located.

    Attributes:
        fields: as published.
        known: without what is null, empty or ``NULL``.
    """

    fields: Fields
    known: Fields
    qid: str
    image: str
    split: str | None


class VqaRadSource:
    """VQA-RAD in either of its two layouts; the group is the image.

    ::

        VQA_RAD Dataset Public.json          trainset.json  testset.json
        VQA_RAD Image Folder/synpic*.jpg     images/synpic*.jpg

    The authors' file (left) marks test questions by ``phrase_type`` (``test_freeform``, ``test_para``); the other
    layout has a file for each split, with the framed questions among the training ones. Either way nearly every test
    image also has training questions, so that a benchmark needs its own division of the images: set
    ``benchmark.split`` to ``own``.

    White space in questions and answers is made single; a tab, which stands where the authors' table had a comma,
    becomes that comma again. Numbers as answers become text. Records without an answer are skipped and counted, and
    so are images that no question is about. ``extra`` holds every other field as published, the question and answer
    too where they were changed, and ``phrasings``: the same question in other words.

    Args:
        path: the folder with the JSON and the images.
        limit: at most so many images, in the same proportions of body parts. A smaller limit takes a subset of a
            larger one's images.
    """

    name = "vqa_rad"
    about = About(
        "VQA-RAD, visual questions and answers about radiology images by clinicians", "CC0-1.0", "https://osf.io/89kps/",
        "Lau et al. 2018, doi:10.1038/sdata.2018.251",
    )  # fmt: skip

    def __init__(self, path: Path | str, limit: int | None = None) -> None:
        check_limit(limit)
        self.path, self.limit = Path(path), limit
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the JSON files and the images that questions are about."""
        files = {file.name: file_digest(file) for file in self._files()}
        images = ImageFolder(self._image_folder())
        refs = {row.image: _image(row, images) for row in self._rows()}
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "limit": self.limit,
            "files": files,
            "images": content_digest(ref.path for ref in refs.values() if ref.path is not None),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the file, or of trainset.json and then testset.json.

        Raises:
            DataError: a file or image is missing or malformed, an id occurs twice, a split is empty, or an image lies
                outside its folder.
        """
        self.skipped.clear()
        chosen = choose(((row.known.optional_text("image_organ") or "", row.image) for row in self._rows()), self.limit)
        folder = self._image_folder()
        images, asked = ImageFolder(folder), set()
        for row in self._rows():
            asked.add(row.image)
            if row.image in chosen:
                record = self._record(row, images)
                if record is None:
                    self.skipped["empty answer"] += 1
                else:
                    yield record
        unasked = sum(file.is_file() and file.name not in asked for file in folder.iterdir())
        if unasked:
            self.skipped["image without a question"] = unasked

    def _files(self) -> dict[Path, str | None]:
        """The JSON files and their splits; None where each record states its own."""
        if not self.path.is_dir():
            raise DataError("no such folder", file=self.path, mend=f"Give the folder that holds '{PUBLIC[0]}'.")
        public = [self.path / name for name in PUBLIC if (self.path / name).is_file()]
        sets = [self.path / name for name in SETS]
        if any(file.is_file() for file in sets):
            if public:
                raise DataError(f"has '{public[0].name}' and {SETS[0]}", file=self.path, mend="Remove one of the two.")
            for file in sets:
                if not file.is_file():
                    raise DataError("no such file", file=file, mend="Check the download.")
            return dict(zip(sets, ("train", "test"), strict=True))
        if not public:
            below = sorted(child.parent.name for name in (*PUBLIC, SETS[0]) for child in self.path.glob(f"*/{name}"))
            mend = f"Give the folder {self.path / below[0]}." if below else "Give the folder that holds one of them."
            raise DataError(f"neither '{PUBLIC[0]}' nor {' and '.join(SETS)}", file=self.path, mend=mend)
        return {public[0]: None}

    def _image_folder(self) -> Path:
        self._files()  # first, because it says what is wrong with the folder
        return find_one(self.path, IMAGE_FOLDERS, "image folder")

    def _rows(self) -> Iterator[_Row]:
        """Every question."""
        ids = CompactMap()
        for file, split in self._files().items():
            splits = Counter[str | None]()
            for position, (line, value) in enumerate(stream_array(file)):
                row = _row(Fields.of(value, file, f"{position} (line {line})"), split)
                if not ids.add(short_hash(row.qid)):
                    raise row.fields.error(f"the id {row.qid} occurs twice", "Every qid may stand in one record only.")
                splits[row.split] += 1
                yield row
            for expected in (split,) if split else ("train", "test"):
                if not splits[expected]:
                    raise DataError(f"the split '{expected}' has no records", file=file, mend="Check the download.")

    def _record(self, row: _Row, images: ImageFolder) -> Record | None:
        """The record, or None if it has no answer."""
        question, answer = _text(row.fields, "question"), _text(row.fields, "answer")
        if not answer:
            return None
        if not question:
            raise row.fields.error("the question is empty")
        organ, kind = row.known.optional_text("image_organ"), row.known.optional_text("question_type")
        kind = kind.split(",")[0].strip().lower() if kind else None
        return Record(
            id=f"vqa_rad-{row.qid}",
            image=_image(row, images),
            question=question,
            answer=answer,
            group=f"vqa_rad-{row.image}",
            source=self.name,
            answer_type=row.known.answer_type("answer_type"),
            body_part=BODY_PARTS.get(organ.lower(), organ.lower()) if organ else None,
            content_type=CONTENT_TYPES.get(kind, kind) if kind else None,
            source_split=row.split,
            extra=_extra(row, question, answer),
        )


def _row(published: Fields, split: str | None) -> _Row:
    qid = published.required("qid", int if type(published.values.get("qid")) is int else str)
    fields = Fields(published.values, published.file, f"{published.record[:-1]}, qid {qid})")
    known = {name: value for name, value in fields.values.items() if not _is_nothing(value)}
    if split is None and "phrase_type" in known:
        split = "test" if fields.text("phrase_type").startswith("test_") else "train"
    return _Row(fields, Fields(known, fields.file, fields.record), str(qid), fields.required("image_name", str), split)


def _image(row: _Row, images: ImageFolder) -> ImageRef:
    return images.ref(row.image, file=row.fields.file, record=row.fields.record)


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and clean(value) in ("", "NULL"))


def _text(fields: Fields, name: str) -> str:
    """A text or whole number as text, with single spaces and its commas; empty where it is ``NULL``."""
    value = fields.values.get(name)
    if type(value) is int:
        return str(value)
    text: str = fields.required(name, str)
    return "" if _is_nothing(text) else with_commas(text)


def with_commas(text: str) -> str:
    """A text in which tabs are commas again, with single spaces.

    The conversion that lost them also split the last letter off some words: ``splee n\\tstomac h\\tand`` was
    ``spleen, stomach, and``. Words of one letter, ``a`` and ``I``, stay words.
    """
    return clean(_LOST_COMMA.sub(lambda match: f"{match[1] or ''}, ", text))


def _extra(row: _Row, question: str, answer: str) -> dict[str, Any]:
    changed = {"question": question, "answer": answer}
    extra = {name: value for name, value in row.known.values.items() if changed.get(name) != value}
    known = (row.known.optional(name, str) for name in ("question_rephrase", "question_frame"))
    phrasings = dict.fromkeys(with_commas(text) for text in known if text is not None)
    phrasings.pop(question, None)
    return {**extra, "phrasings": list(phrasings)} if phrasings else extra

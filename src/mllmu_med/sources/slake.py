"""SLAKE, a bilingual medical VQA dataset (Liu et al. 2021, arXiv 2102.09542), in the layout its authors publish.

::

    train.json  validate.json (or validation.json)  test.json
    imgs/xmlab<img_id>/source.jpg

Masks, detections and the knowledge graph are not read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest, read_json
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.fields import Fields
from mllmu_med.sources.images import locate
from mllmu_med.sources.record import About, ImageRef, Record

CONTENT_TYPES = {
    "abnormality": "abnormality", "color": "color", "kg": "knowledge", "modality": "modality", "organ": "organ",
    "plane": "plane", "position": "position", "quantity": "count", "shape": "shape", "size": "size",
}  # fmt: skip
"""SLAKE's content types in lower case → the names used here; others are kept in lower case."""

LANGUAGES = ("en", "zh", "all")
_SPLITS = ("train", "validation", "test")  # a later one wins where an image stands in two
_CODE_VERSION = 1


class _Row(NamedTuple):
    """A question before its image is chosen and located."""

    fields: Fields
    image: int
    image_name: str
    language: str
    split: str


class SlakeSource:
    """SLAKE as records; the group is the image, over all files and languages.

    English and Chinese were split separately, so that with both many images stand in two splits. Then all records of
    an image get one split: test wins over validation, validation over train.

    White space in questions and answers is made single. Records without an answer are skipped and counted. CLOSED
    answers are kept as they are: many are not yes or no. ``extra`` holds every other field as published, under its
    own name, and the ``answer`` where white space was changed.

    Args:
        path: the folder with the three JSON files and ``imgs``.
        language: ``en``, ``zh``, or ``all`` for both.
        limit: at most so many images, in the same proportions of split and modality. A smaller limit takes a subset of
            a larger one's images.
    """

    name = "slake"
    about = About(
        "SLAKE, a semantically labelled, knowledge-enhanced medical VQA dataset", "CC-BY-4.0",
        "https://www.med-vqa.com/slake/", "Liu et al. 2021, arXiv 2102.09542",
    )  # fmt: skip

    def __init__(self, path: Path | str, language: str = "en", limit: int | None = None) -> None:
        if language not in LANGUAGES:
            hint = did_you_mean(language, list(LANGUAGES))
            raise UsageError(f"unknown SLAKE language '{language}'{hint}; known: {', '.join(LANGUAGES)}")
        if limit is not None and limit < 1:
            raise UsageError(f"limit is {limit}; at least one image is needed")
        self.path, self.language, self.limit = Path(path), language, limit
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the JSON files and the images in use."""
        rows = {row.image_name: row for row in self._rows()}
        images = (self.path / "imgs" / name for name in rows)
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "language": self.language,
            "limit": self.limit,
            "files": {split: file_digest(file) for split, file in self._files().items()},
            "images": content_digest(images),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the files: train, validation, test.

        Raises:
            DataError: a file or image is missing or malformed, an id occurs twice, a split is empty, or an image lies
                outside the folder.
        """
        self.skipped.clear()
        images: dict[str, ImageRef] = {}
        for row in self._rows():
            record = self._record(row, images)
            if record is None:
                self.skipped["empty answer"] += 1
            else:
                yield record

    def _files(self) -> dict[str, Path]:
        if not (self.path / "train.json").is_file():
            if not self.path.is_dir():
                raise DataError("no such folder", file=self.path, mend="Give the folder that holds train.json.")
            below = sorted(child.parent.name for child in self.path.glob("*/train.json"))
            mend = f"Give the folder {self.path / below[0]}." if below else "Give the folder that holds train.json."
            raise DataError("no train.json: not a SLAKE folder", file=self.path, mend=mend)
        validation = [file for file in ("validate.json", "validation.json") if (self.path / file).is_file()]
        if len(validation) == 2:
            raise DataError("has validate.json and validation.json", file=self.path, mend="Remove one of the two.")
        names = {"train": "train.json", "validation": (validation or ["validate.json"])[0], "test": "test.json"}
        return {split: self.path / names[split] for split in _SPLITS}

    def _rows(self) -> list[_Row]:
        """Every question in the chosen language about a chosen image."""
        rows: list[_Row] = []
        seen: set[int] = set()
        for split, file in self._files().items():
            values = read_json(file)
            if not isinstance(values, list):
                raise DataError("expected a list of records", file=file)
            found = [self._row(value, file, position, split, seen) for position, value in enumerate(values)]
            found = [row for row in found if self.language in ("all", row.language)]
            if not found:
                language = "" if self.language == "all" else f" in language '{self.language}'"
                raise DataError(f"the split has no records{language}", file=file, mend="Check the download.")
            rows += found
        rows = _one_split_per_image(rows)
        if self.limit is None:
            return rows
        chosen = _choose(rows, self.limit)
        return [row for row in rows if row.image in chosen]

    def _row(self, value: object, file: Path, position: int, split: str, seen: set[int]) -> _Row:
        fields = Fields.of(value, file, str(position))
        qid = fields.required("qid", int)
        fields = Fields(fields.values, file, f"{position} (qid {qid})")
        if qid in seen:
            raise fields.error(f"the id {qid} occurs twice", "Every qid may stand in one record only.")
        seen.add(qid)
        return _Row(
            fields,
            fields.required("img_id", int),
            fields.required("img_name", str),
            fields.text("q_lang").lower(),
            split,
        )

    def _image(self, row: _Row) -> ImageRef:
        folder = self.path / "imgs"
        return ImageRef(row.image_name, locate(folder, row.image_name, file=row.fields.file, record=row.fields.record))

    def _record(self, row: _Row, images: dict[str, ImageRef]) -> Record | None:
        """The record, or None if it has no answer."""
        fields = row.fields
        question, answer = fields.text("question"), fields.text("answer")
        if not answer:
            return None
        if not question:
            raise fields.error("the question is empty")
        if row.image_name not in images:
            images[row.image_name] = self._image(row)
        content_type, location = fields.optional_text("content_type"), fields.optional_text("location")
        return Record(
            id=f"slake-{fields.values['qid']}",
            image=images[row.image_name],
            question=question,
            answer=answer,
            group=f"slake-{row.image}",
            source=self.name,
            language=row.language,
            answer_type=fields.answer_type("answer_type"),
            modality=fields.optional_text("modality"),
            body_part=location.replace("_", " ").lower() if location else None,
            content_type=CONTENT_TYPES.get(content_type.lower(), content_type.lower()) if content_type else None,
            source_split=row.split,
            extra=_extra(fields.values, answer),
        )


def _extra(values: Any, answer: str) -> dict[str, Any]:
    extra = {name: value for name, value in values.items() if name not in ("question", "answer", "q_lang")}
    return extra if values["answer"] == answer else {**extra, "answer": values["answer"]}


def _one_split_per_image(rows: list[_Row]) -> list[_Row]:
    """The same rows, each with the last split (in the order train, validation, test) of any row of its image."""
    last: dict[int, int] = {}
    for row in rows:
        last[row.image] = max(last.get(row.image, 0), _SPLITS.index(row.split))
    return [row._replace(split=_SPLITS[last[row.image]]) for row in rows]


def _choose(rows: list[_Row], limit: int) -> set[int]:
    """``limit`` images, spread over splits and modalities as all of them are.

    Within each stratum images are ordered by the hash of their name and put at even distances on the unit interval;
    those with the lowest places over all strata are taken.
    """
    names: dict[int, str] = {}
    strata: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
    for row in rows:
        names[row.image] = row.image_name
        strata[row.split, row.fields.optional_text("modality") or ""][row.image] = None
    places: list[tuple[float, str, int]] = []
    for images in strata.values():
        ordered = sorted((sha256(names[image].encode()).hexdigest(), image) for image in images)
        places += [((rank + 0.5) / len(ordered), key, image) for rank, (key, image) in enumerate(ordered)]
    return {image for _, _, image in sorted(places)[:limit]}

"""Conversations about images in the format of LLaVA (arXiv 2304.08485) and LLaVA-Med (arXiv 2306.00890).

A JSON list, or one object per line::

    {"id": "26630788_F2", "image": "26630788_F2.jpg",
     "conversations": [{"from": "human", "value": "<image>\\nWhat is shown?"}, {"from": "gpt", "value": "A CT."}, …]}

LLaVA-Med's published files spell ``conversatons`` and add ``domain`` (an object of booleans), ``pair_id``, ``type``,
``fig_caption`` and ``in_text_mention``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mllmu_med.errors import DataError
from mllmu_med.folders import canonical_json, digest, file_digest
from mllmu_med.registry import did_you_mean
from mllmu_med.sources.compact import CompactMap, short_hash
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.fields import Fields, clean
from mllmu_med.sources.image_folder import ImageFolder
from mllmu_med.sources.json_lines import stream_json
from mllmu_med.sources.limiting import check_limit, choose
from mllmu_med.sources.record import About, ImageRef, Record

TURNS = ("conversations", "conversatons")
"""Names of the list of turns; the second is how LLaVA-Med's files spell it."""

SPEAKERS = {"human": "human", "user": "human", "gpt": "model", "assistant": "model", "system": "system"}
"""Who speaks, as files say it → the part that a turn plays."""

DOMAINS = {
    "chest_xray": ("X-ray", "chest"), "ct_scan": ("CT", None), "mri": ("MRI", None),
    "histology": ("histology", None), "gross": ("gross pathology", None),
}  # fmt: skip
"""LLaVA-Med's domains → modality and body part."""

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""What may follow an image's name on disk where the file leaves it out."""

_TOKEN = "<image>"
_CODE_VERSION = 1


class Pair(NamedTuple):
    """A question and its answer; ``turn`` counts the pairs of a conversation from 1, those left out included."""

    turn: int
    question: str
    answer: str


class LlavaSource:
    """LLaVA and LLaVA-Med instruction files as records: one per pair of a human's and the model's turn.

    The id is ``<id>/<turn>``, the group the image. Several conversations may have one ``id`` if they are about one
    image, as in LLaVA's published files: the second one's records are ``<id>#2/<turn>``. ``<image>`` is taken out
    where it stands at an end of a question or on a line of its own. Later turns may refer to earlier ones. ``extra``
    holds ``turn`` and every other field of the conversation as published.

    Left out and counted: turns without their counterpart (a question that nobody answers, a second question in a row,
    an answer without a question), turns of ``system`` and of unknown speakers, empty questions and answers, texts with
    ``<image>`` inside a sentence, conversations about several images, and repeated conversations.

    Args:
        path: the JSON or JSON Lines file.
        images: the folder that image names are relative to and that they must not leave; the file's own folder if
            None. A name may lack its extension.
        text_only: whether conversations without an image become records; they are left out and counted otherwise.
        limit: at most so many images (and text-only conversations), in the same proportions of modality. A smaller
            limit takes a subset of a larger one's.
    """

    name = "llava"
    about = About(
        "Conversations in LLaVA's format", None, "https://github.com/microsoft/LLaVA-Med",
        "Liu et al. 2023, arXiv 2304.08485; Li et al. 2023, arXiv 2306.00890",
    )  # fmt: skip

    def __init__(
        self, path: Path | str, images: Path | str | None = None, text_only: bool = False, limit: int | None = None
    ) -> None:
        check_limit(limit)
        self.path = Path(path)
        self.images = Path(images) if images is not None else self.path.parent
        self.text_only, self.limit = text_only, limit
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the file and the images in use."""
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "text_only": self.text_only,
            "limit": self.limit,
            "images": content_digest(self._image_paths()),
            "file": file_digest(self.path),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the file.

        Raises:
            DataError: the file, a conversation or an image cannot be used; an id stands for two images; or there is no
                record at all.
        """
        if self.path.exists() and not self.images.is_dir():
            raise DataError("no such image folder", file=self.images, mend="Check source.images.")
        chosen = choose(self._strata(), self.limit)
        self.skipped.clear()
        images, names, found = ImageFolder(self.images), _ConversationNames(), False
        for fields in self._conversations():
            image = self._image_name(fields)
            if image is None:
                continue
            identity = _identity(fields)
            if (image or identity) not in chosen:
                continue
            name = names.add(fields, identity, image)
            if name is None:
                self.skipped["repeated conversation"] += 1
                continue
            ref = images.ref(self._on_disk(fields, image), file=self.path, record=fields.record) if image else None
            for record in self._records_of(fields, name, ref, group=ref.key if ref else identity):
                found = True
                yield record
        if not found:
            left_out = ", ".join(f"{reason}: {times}" for reason, times in self.skipped.items())
            reason = f"no records (left out: {left_out})" if left_out else "no records"
            raise DataError(reason, file=self.path, mend="A list of conversations about images is expected.")

    def _strata(self) -> Iterator[tuple[str, str]]:
        """Modality and image (or id, where there is none) of each conversation in use."""
        for fields in self._conversations():
            image = self._image_name(fields)
            if image is not None:
                yield _domain(fields)[0] or "", image or _identity(fields)

    def _image_paths(self) -> Iterator[Path]:
        last: ImageRef | None = None
        for record in self.records():
            if record.image is not last and record.image is not None and record.image.path is not None:
                yield record.image.path
            last = record.image

    def _conversations(self) -> Iterator[Fields]:
        for line, value in stream_json(self.path):
            fields = Fields.of(value, self.path, f"line {line}")
            if fields.values.get("id") is not None:
                fields = Fields(fields.values, self.path, f"{_identity(fields)[:60]} (line {line})")
            yield fields

    def _image_name(self, fields: Fields) -> str | None:
        """The image's name, empty for a text-only conversation; None (counted) if the conversation is left out."""
        value = fields.values.get("image")
        if isinstance(value, list):
            if len(value) > 1:
                self.skipped["conversation about several images"] += 1
                return None
            fields = Fields({"image": value[0] if value else None}, fields.file, fields.record)
        name: str = (fields.optional("image", str) or "").strip()
        if not name and not self.text_only:
            self.skipped["conversation without an image"] += 1
            return None
        return name

    def _on_disk(self, fields: Fields, name: str) -> str:
        """The image's name with the extension that its file has."""
        stem = f"{self.images}/{name}"
        if isfile(stem):  # unlike Path.is_file, it bears what cannot be the name of a file
            return name
        found = [name + extension for extension in EXTENSIONS if isfile(stem + extension)]
        if len(found) > 1:
            raise fields.error(f"'{name}' could be {' or '.join(found)}", "Give the image its extension.")
        return found[0] if found else name

    def _records_of(self, fields: Fields, name: str, image: ImageRef | None, *, group: str) -> Iterator[Record]:
        modality, body_part = _domain(fields)
        answer_type = fields.answer_type("answer_type")
        extra = {key: value for key, value in fields.values.items() if key not in (*TURNS, "answer_type")}
        for pair in self._pairs(fields, image is not None):
            yield Record(
                id=f"{name}/{pair.turn}",
                image=image,
                question=pair.question,
                answer=pair.answer,
                group=group,
                source=self.name,
                answer_type=answer_type,
                modality=modality,
                body_part=body_part,
                extra={**extra, "turn": pair.turn},
            )

    def _pairs(self, fields: Fields, with_image: bool) -> Iterator[Pair]:
        """Questions with their answers; what has no counterpart is counted."""
        turn = 0
        question: str | None = None
        for speaker, text in self._turns(fields):
            if speaker == "human":
                if question is not None:
                    self.skipped["question without an answer"] += 1
                turn, question = turn + 1, text
            elif speaker == "model":
                if question is None:
                    self.skipped["answer without a question"] += 1
                elif self._usable(question, text, with_image):
                    yield Pair(turn, without_tokens(question), clean(text))
                question = None
            elif speaker == "system":
                self.skipped["turn of the system"] += 1
            else:  # what it said may be what the next answer answers
                self.skipped["turn of an unknown speaker"] += 1
                if question is not None:
                    self.skipped["question without an answer"] += 1
                question = None
        if question is not None:
            self.skipped["question without an answer"] += 1

    def _turns(self, fields: Fields) -> Iterator[tuple[str | None, str]]:
        """Part and text of each turn; None for an unknown speaker."""
        name = next((name for name in TURNS if name in fields.values), None)
        if name is None:
            hint = did_you_mean(TURNS[0], sorted(fields.values))
            raise fields.error(f"no field '{TURNS[0]}'{hint}", "Each conversation needs its list of turns.")
        for number, value in enumerate(fields.required(name, list), start=1):
            turn = Fields.of(value, self.path, f"{fields.record}, turn {number}")
            speaker: str = turn.required("from", str, "Each turn needs 'from' and 'value'.")
            yield SPEAKERS.get(speaker.strip().lower()), turn.required("value", str)

    def _usable(self, question: str, answer: str, with_image: bool) -> bool:
        """Whether the pair can be a record; if not, it is counted."""
        asked = without_tokens(question)
        if not asked:
            reason = "empty question"
        elif not clean(answer):
            reason = "empty answer"
        elif _TOKEN in asked or _TOKEN in answer:
            reason = "<image> inside a text"
        elif _TOKEN in question and not with_image:
            reason = "<image> without an image"
        else:
            return True
        self.skipped[reason] += 1
        return False


def without_tokens(question: str) -> str:
    """The question, cleaned, without the ``<image>`` tokens at its ends and on lines of their own."""
    lines = (line for line in question.splitlines() if _TOKEN not in line or line.replace(_TOKEN, "").strip())
    text = clean(" ".join(lines))
    while text.startswith(_TOKEN):
        text = text.removeprefix(_TOKEN).lstrip()
    while text.endswith(_TOKEN):
        text = text.removesuffix(_TOKEN).rstrip()
    return text


class _ConversationNames:
    """Names for conversations, each of them once."""

    def __init__(self) -> None:
        self._conversations = CompactMap()
        self._names = CompactMap()
        self._images = CompactMap()  # id → its image's file name, both as hashes
        self._times: dict[int, int] = {}  # hash of a repeated id → how often it has occurred

    def add(self, fields: Fields, identity: str, image: str) -> str | None:
        """The id, or ``<id>#<n>`` for further conversations of it; None for a repeated conversation."""
        turns = next((fields.values[name] for name in TURNS if name in fields.values), None)
        if not _is_new(self._conversations, canonical_json([identity, image, turns])):
            return None
        # Folders are left aside: LLaVA's mix has pictures of Visual Genome under two folders with one id.
        key, file_name = short_hash(identity), short_hash(PurePosixPath(image).name)
        if self._images.setdefault(key, file_name) != file_name:
            mend = "An id may stand for several conversations about one image only; make ids unique."
            raise fields.error(f"the id '{identity}' occurs twice, for different images", mend)
        name = identity
        while not _is_new(self._names, name):
            self._times[key] = self._times.get(key, 1) + 1
            name = f"{identity}#{self._times[key]}"
        return name


def _is_new(seen: CompactMap, text: str) -> bool:
    """Whether the text is not among ``seen``; it is from now on."""
    before = len(seen)
    seen.setdefault(short_hash(text), 0)
    return len(seen) > before


def _identity(fields: Fields) -> str:
    """The conversation's id as text; the line where it has none."""
    value = fields.values.get("id")
    if type(value) is int:
        return str(value)
    return fields.optional_text("id") or fields.record.replace(" ", "-")


def _domain(fields: Fields) -> tuple[str | None, str | None]:
    """Modality and body part by LLaVA-Med's ``domain``; None unless exactly one domain is true."""
    domain: dict[str, Any] = fields.optional("domain", dict) or {}
    true = [name for name, value in domain.items() if value is True]
    return DOMAINS.get(true[0], (None, None)) if len(true) == 1 else (None, None)

"""A folder of DICOM files. What the headers say of patients never reaches a record, a log line or an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest
from mllmu_med.registry import did_you_mean
from mllmu_med.seeding import rng
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.dicom_display import Frame
from mllmu_med.sources.dicom_files import (
    FAULTS,
    UNREADABLE,
    Found,
    Opened,
    find,
    looks_like_dicom,
    opened,
    quiet,
    require_pydicom,
    text,
    unwanted,
)
from mllmu_med.sources.dicom_header import ASKED, Facts, facts
from mllmu_med.sources.dicom_identity import identifying
from mllmu_med.sources.dicom_pixels import LAYOUT, decodable, frame_count, unreadable
from mllmu_med.sources.dicom_questions import Question, questions
from mllmu_med.sources.dicom_words import NOT_PICTURES
from mllmu_med.sources.record import About, ImageRef, Record
from mllmu_med.sources.requests import PrivateField, Request, request_id
from mllmu_med.sources.secret_key import SecretKey

if TYPE_CHECKING:
    from pydicom import Dataset

FRAMES = ("middle", "first", "all")

_CODE_VERSION = 1
_SHORT = 16  # hexadecimal digits of a hash in ids and names; 64 bits
_IDENTITY = (
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "InstitutionName",
)  # fmt: skip
_LISTED = (*_IDENTITY, "IssuerOfPatientID", "BurnedInAnnotation", *ASKED, *LAYOUT)
_NOTHING = PrivateField("other", "")
_MOST_REASONS = 3  # named where there is no record at all


class _Picture(NamedTuple):
    frame: int
    facts: Facts


class _Listed(NamedTuple):
    """A DICOM file as it is listed: hashes and plain words, nothing of the header's own."""

    path: Path
    image: str
    request: str
    hierarchy: dict[str, str]
    pictures: tuple[_Picture, ...]
    skipped: str | None


class _Read(NamedTuple):
    listed: _Listed
    fields: tuple[PrivateField, ...]


class DicomSource:
    """The images of a folder of DICOM files, with questions that their headers answer.

    Files are found by content, in every subfolder, sorted by path; a DICOMDIR is never read. Grey values are shown as
    a viewer would by default (see ``dicom_display``), and only when an image is asked for. Questions ask for modality,
    body part, view, plane, side, position, contrast and the number of frames, each only where the header says it in a
    word that is known; other elements are not repeated. A file about which nothing can be asked is skipped and counted.

    The group is the patient. Group, ids and hierarchy (institution, patient, study, section: the series) are keyed
    hashes; ``extra["request"]`` is the id of the patient's request, whose fields ``requests`` gives. Where a file names
    no patient, its study counts as one.

    Args:
        path: the folder.
        frames: of a multi-frame image the ``middle`` one, the ``first``, or ``all``, each as an image of its own.
        key_file: file with the secret key; by default the environment variable MLLMU_MED_KEY holds it.
        burned_in: keep images of which the header says that text is burned into the pixels: that text may be the
            patient's name.

    ``extra`` of a record: ``request``, ``template`` and ``slots`` (see ``dicom_questions.PHRASINGS``), ``accepted``
    where other answers are as true.

    Raises:
        UsageError: pydicom is not installed, there is no usable key, or an argument is unknown.
    """

    name = "dicom"
    about = About("A folder of DICOM files")

    def __init__(
        self, path: Path | str, frames: str = "middle", key_file: Path | str | None = None, burned_in: bool = False
    ) -> None:
        require_pydicom()
        if frames not in FRAMES:
            hint = did_you_mean(frames, list(FRAMES))
            raise UsageError(f"unknown choice of frames '{frames}'{hint}; known: {', '.join(FRAMES)}")
        self.path, self.frames, self.burned_in = Path(path), frames, burned_in
        self.skipped: Counter[str] = Counter()
        self._key = SecretKey.read(key_file)

    def __repr__(self) -> str:
        return f"DicomSource({str(self.path)!r}, frames={self.frames!r}, burned_in={self.burned_in})"

    def fingerprint(self) -> str:
        """Digest of the parameters, the key (hashed with itself), the decoders at hand, and the files."""
        import pydicom

        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "frames": self.frames,
            "burned_in": self.burned_in,
            "key": self._key.hash("fingerprint"),
            "pydicom": pydicom.__version__,
            "decoders": decodable(),
            "files": content_digest(found.path for found in self._files()),
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the files' paths.

        Raises:
            DataError: there is no such folder, or no record in it.
        """
        self.skipped.clear()
        anything = False
        for listed in self._listed(self.skipped):
            if listed.skipped is not None:
                self.skipped[listed.skipped] += 1
            for record in self._records(listed):
                anything = True
                yield record
        if not anything:
            reasons = "; ".join(f"{reason}: {count}" for reason, count in self.skipped.most_common(_MOST_REASONS))
            raise DataError("no records", file=self.path, mend=f"What was skipped: {reasons or 'nothing'}.")

    def requests(self) -> Iterator[Request]:
        """Every patient of the folder with the identifying values of all their files, in the order of first sight.

        Files without a usable image count too, so that a request may have no records. Reads the headers twice, to
        hold no more than the files' paths in memory.

        Raises:
            DataError: there is no such folder, or no DICOM file in it.
        """
        skipped: Counter[str] = Counter()
        patients: dict[str, list[tuple[Path, bool]]] = {}
        for listed in self._listed(skipped):
            patients.setdefault(listed.request, []).append((listed.path, listed.skipped is None))
        if not patients:
            raise DataError("no DICOM files", file=self.path, mend="Check the path.")
        for request, files in patients.items():
            fields: dict[str, PrivateField] = {}  # by value: a number that stands in two elements is one
            records: list[str] = []
            for path, usable in files:
                read = self._read(path, every_element=True)
                if isinstance(read, _Read):  # and not gone since the first pass
                    for field in read.fields:
                        if fields.get(field.value, _NOTHING).phi_class == _NOTHING.phi_class:
                            fields[field.value] = field  # of several classes the one that says more
                    records += [record.id for record in self._records(read.listed)] if usable else []
            ordered = sorted(
                fields.values(), key=lambda field: field.phi_class
            )  # stable: the first seen of a class first
            yield Request(request, tuple(ordered), tuple(records))

    def path_of(self, key: str) -> Path:
        """The file of an image, by the image's key or the id of a record or an error about it.

        Raises:
            UsageError: there is none.
        """
        wanted = key.split("/")[0]
        for listed in self._listed(Counter()):
            if wanted == listed.image or wanted.startswith(f"{listed.image}-"):
                return listed.path
        raise UsageError(f"no image '{wanted}' in {self.path} under this key")

    def _files(self) -> Iterator[Found]:
        if not self.path.is_dir():
            raise DataError("no such folder", file=self.path, mend="Check source.path.")
        yield from find(self.path)

    def _listed(self, skipped: Counter[str]) -> Iterator[_Listed]:
        """Every DICOM file; what else lies in the folder is counted in ``skipped``."""
        seen: set[str] = set()
        for found in self._files():
            read = found.reason or self._read(found.path)
            if isinstance(read, str):
                skipped[read] += 1
                continue
            copied = read.listed.image in seen
            seen.add(read.listed.image)
            yield (
                read.listed._replace(skipped="copy of another file (same SOP Instance UID)") if copied else read.listed
            )

    def _read(self, path: Path, every_element: bool = False) -> _Read | str:
        """A file as it is listed, with its identifying values if every element is read; or why it cannot be."""
        try:
            if not looks_like_dicom(path):
                return "not DICOM"
            with quiet(), opened(path, None if every_element else _LISTED) as found:
                reason = unwanted(found.dataset)
                if reason is not None:
                    return reason
                fields = tuple(identifying(found.dataset)) if every_element else ()
                return _Read(self._describe(path, found), fields)
        except FAULTS:
            return UNREADABLE

    def _describe(self, path: Path, found: Opened) -> _Listed:
        dataset = found.dataset
        own = ("file", path.relative_to(self.path.resolve()).as_posix())
        patient, study, series, instance, institution = (text(dataset, name) for name in _IDENTITY)
        if patient:
            request = request_id(self._key, patient, text(dataset, "IssuerOfPatientID"))
        else:
            request = self._key.hash(*(("study", study) if study else own))
        named = {
            "institution": self._short("institution", institution) if institution else None,
            "patient": request[:_SHORT],
            "study": self._short("study", study) if study else None,
            "section": self._short("series", series) if series else None,
        }
        image = f"dicom-{self._short('image', instance) if instance else self._short(*own)}"
        skipped = self._unusable(found)
        pictures = () if skipped else tuple(_Picture(frame, facts(dataset, frame)) for frame in self._chosen(dataset))
        if not any(fact is not None for picture in pictures for fact in picture.facts):
            skipped = skipped or "the header says nothing that could be asked"
        hierarchy = {level: name for level, name in named.items() if name is not None}
        return _Listed(path, image, request, hierarchy, pictures, skipped)

    def _short(self, *parts: str) -> str:
        return self._key.hash(*parts)[:_SHORT]

    def _unusable(self, found: Opened) -> str | None:
        if text(found.dataset, "Modality").upper() in NOT_PICTURES:
            return "not a picture of a patient (segmentation, dose, report, …)"
        if text(found.dataset, "BurnedInAnnotation").upper() == "YES" and not self.burned_in:
            return "text is burned into the pixels (burned_in keeps such images)"
        return unreadable(found)

    def _chosen(self, dataset: Dataset) -> Sequence[int]:
        """Frames counted from 0."""
        count = frame_count(dataset)
        return {"middle": [count // 2], "first": [0], "all": range(count)}[self.frames]

    def _records(self, listed: _Listed) -> Iterator[Record]:
        if listed.skipped is not None:
            return
        for frame, said in listed.pictures:
            key = f"{listed.image}-{frame}" if self.frames == "all" else listed.image
            image = ImageRef(key, make=Frame(listed.path, frame, key))
            for question in questions(said, rng("dicom", "wording", key)):
                yield self._record(listed, said, image, question)

    def _record(self, listed: _Listed, said: Facts, image: ImageRef, question: Question) -> Record:
        accepted = {"accepted": list(question.accepted)} if question.accepted else {}
        return Record(
            id=f"{image.key}/{question.template}",
            image=image,
            question=question.question,
            answer=question.answer,
            group=f"dicom-{listed.request[:_SHORT]}",
            source=self.name,
            answer_type=question.answer_type,
            modality=said.modality,
            body_part=said.body_part,
            content_type=question.content_type,
            hierarchy=listed.hierarchy,
            extra={
                "request": listed.request,
                "template": question.template,
                "slots": dict(question.slots),
                **accepted,
            },
        )

"""A user's own records: one JSON object per line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from mllmu_med.folders import digest, file_digest
from mllmu_med.sources.fields import Fields
from mllmu_med.sources.json_lines import stream_lines
from mllmu_med.sources.own_records import content_of_images, own_records
from mllmu_med.sources.record import About, Record
from mllmu_med.sources.table import Columns

_CODE_VERSION = 2


class JsonlSource:
    """One record per line of a UTF-8 file, each a JSON object; empty lines are ignored.

    ============  ========  =========================================================================================
    field         required  meaning
    ============  ========  =========================================================================================
    question      yes       text
    answer        yes       text; a record whose answer is empty is skipped and counted
    id            no        unique text; ``line-<number>`` if absent
    image         no        path relative to ``images``; null or absent for a text-only question
    group         no        what must never be split over subsets; if absent the patient, image or id
    split         no        train, validation or test; the same for all records of a group or image
    language      no        ISO 639-1; ``en`` if absent
    answer_type   no        open or closed
    modality      no        e.g. ``CT``
    body_part     no        e.g. ``chest``
    content_type  no        what is asked: modality, organ, finding, presence, laterality, size, count, …
    options       no        list of texts: the choices of a multiple-choice question
    hierarchy     no        object of texts: institution, patient, study, section
    ============  ========  =========================================================================================

    All other fields of a line are kept in the record's ``extra``. White space in texts is made single.

    Args:
        path: the file.
        images: the folder that image paths are relative to and that they must not leave; the file's own folder if
            None.
        mapping: field → name under which the lines hold it, where the two differ, e.g. ``{"question": "prompt"}``.
            Every line must have a mapped name; null stands for "not known".
    """

    name = "jsonl"
    about = About("Own records")

    def __init__(
        self, path: Path | str, images: Path | str | None = None, mapping: Mapping[str, str] | None = None
    ) -> None:
        self.path = Path(path)
        self.images = Path(images) if images is not None else self.path.parent
        self.columns = Columns(mapping)
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the file and the images."""
        images = content_of_images(self.records())  # first, because it says what is wrong with the file
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "mapping": self.columns.mapping,
            "file": file_digest(self.path),
            "images": images,
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the lines.

        Raises:
            DataError: a line, a field or an image cannot be used; an id occurs twice; a group or an image
                stands in two splits; or there is no record at all.
        """
        return own_records(
            self._rows(), self.columns, source=self.name, path=self.path, images=self.images, skipped=self.skipped
        )

    def _rows(self) -> Iterator[tuple[int, Fields]]:
        """Every line's number and object."""
        for number, value in stream_lines(self.path):
            yield number, Fields.of(value, self.path, f"line {number}")

"""A user's own records: one row of a CSV file each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import digest, file_digest
from mllmu_med.sources.csv_rows import SEPARATORS, Table
from mllmu_med.sources.fields import Fields
from mllmu_med.sources.own_records import content_of_images, own_records
from mllmu_med.sources.record import About, Record
from mllmu_med.sources.table import Columns

_CODE_VERSION = 1


class CsvSource:
    """One record per row of a CSV file in UTF-8, whose first line names the columns.

    ::

        id,image,question,answer,split,options
        q1,scans/1.png,"Which organ, left of the spine?",spleen,train,liver|spleen|kidney

    The columns are the fields of the source ``jsonl``; ``question`` and ``answer`` are needed, an empty cell stands for
    "not known". ``options`` holds choices with ``|`` between them, or a JSON list; ``hierarchy`` a JSON object. Other
    columns are kept in the record's ``extra``. Empty lines are ignored; a record whose answer is empty is skipped and
    counted.

    Args:
        path: the file.
        images: the folder that image paths are relative to and that they must not leave; the file's own folder if
            None.
        mapping: field → column, where the two differ, e.g. ``{"question": "prompt"}``.
        separator: what stands between the cells: a comma, a semicolon or a tab; None = the one that makes the most
            columns of the first line.
    """

    name = "csv"
    about = About("Own records")

    def __init__(
        self,
        path: Path | str,
        images: Path | str | None = None,
        mapping: Mapping[str, str] | None = None,
        separator: str | None = None,
    ) -> None:
        if separator is not None and separator not in SEPARATORS:
            raise UsageError(f"separator is {separator!r}; known: a comma, a semicolon and a tab ('\\t')")
        self.path = Path(path)
        self.images = Path(images) if images is not None else self.path.parent
        self.columns = Columns(mapping)
        self.separator = separator
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Digest of the parameters, the file and the images."""
        images = content_of_images(self.records())  # first, because it says what is wrong with the file
        return digest({
            "source": self.name,
            "code": _CODE_VERSION,
            "mapping": self.columns.mapping,
            "separator": self.separator,
            "file": file_digest(self.path),
            "images": images,
        })  # fmt: skip

    def records(self) -> Iterator[Record]:
        """Records in the order of the rows.

        Raises:
            DataError: the header, a row, a cell or an image cannot be used; an id occurs twice; a group or an image
                stands in two splits; or there is no record at all.
        """
        return own_records(
            self._rows(), self.columns, source=self.name, path=self.path, images=self.images, skipped=self.skipped
        )

    def _rows(self) -> Iterator[tuple[int, Fields]]:
        table = Table(self.path, self.separator)
        wrong = self.columns.missing(table.columns)
        if wrong is not None:
            reason, mend = wrong
            raise DataError(f"{reason}; columns: {table.described}", file=self.path, record="line 1", mend=mend)
        for line, cells in table.rows():
            yield line, self.columns.cells(cells, self.path, f"line {line}")

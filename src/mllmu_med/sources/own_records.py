"""One pass over a user's own records: what must hold between them, checked in a few bytes per record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mllmu_med.errors import DataError
from mllmu_med.sources.compact import CompactMap, short_hash
from mllmu_med.sources.content import content_digest
from mllmu_med.sources.fields import SPLITS, Fields
from mllmu_med.sources.image_folder import ImageFolder
from mllmu_med.sources.record import Record
from mllmu_med.sources.table import Columns

_SPLITS = (None, *dict.fromkeys(SPLITS.values()))


def own_records(
    rows: Iterable[tuple[int, Fields]],
    columns: Columns,
    *,
    source: str,
    path: Path,
    images: Path,
    skipped: Counter[str],
) -> Iterator[Record]:
    """The records of rows, in their order; those without an answer are counted in ``skipped`` and left out.

    Args:
        rows: line number and fields.
        path: the file that holds the rows.
        images: the folder that image paths are relative to and must not leave.

    Raises:
        DataError: a row or its image cannot be used; an id occurs twice; a group or an image stands in two splits; or
            there is no record at all.
    """
    skipped.clear()
    if path.exists() and not images.is_dir():
        raise DataError("no such image folder", file=images, mend="Check source.images.")
    folder, lines, splits, found = ImageFolder(images), CompactMap(), CompactMap(), False
    for line, fields in rows:
        name = columns.image_name(fields)
        image = folder.ref(name, file=fields.file, record=fields.record) if name else None
        record = columns.record(fields, source=source, image=image)
        first = lines.setdefault(short_hash(record.id), line)
        if first != line:
            raise fields.error(f"the id '{record.id}' occurs twice, first in line {first}", "Make ids unique.")
        if columns.group(fields):
            _check_split(splits, line, fields, record, f"group '{record.group}'")
        if image is not None:
            _check_split(splits, line, fields, record, f"image '{image.key}'")
        if not record.answer:
            skipped["empty answer"] += 1
            continue
        found = True
        yield record
    if not found:
        raise DataError("no records", file=path, mend="At least one question with an answer is expected.")


def content_of_images(records: Iterable[Record]) -> str:
    """Digest of every record's image file, for a fingerprint."""
    refs = (record.image for record in records)
    return content_digest(ref.path for ref in refs if ref is not None and ref.path is not None)


def _check_split(splits: CompactMap, line: int, fields: Fields, record: Record, unit: str) -> None:
    """Refuse a second split of a group or image. Line and split share one number."""
    split = record.source_split
    value = line * len(_SPLITS) + _SPLITS.index(split)
    line, place = divmod(splits.setdefault(short_hash(unit), value), len(_SPLITS))
    first = _SPLITS[place]
    if first != split:
        raise fields.error(
            f"{unit} is in split {split or 'none'} here and in {first or 'none'} in line {line}",
            "Give all records of a group or of an image the same split.",
        )

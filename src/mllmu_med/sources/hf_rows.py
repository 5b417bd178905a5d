"""The rows of any dataset that Hugging Face's ``datasets`` opens: split by split, undecoded, in bounded memory.

``datasets`` finds files, splits, configurations and features. It runs no code of a dataset (releases from 4.0 on
cannot). Parquet is then read here: its own reader holds more than a gigabyte of images ahead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mllmu_med.errors import DataError, UsageError
from mllmu_med.folders import parse_json
from mllmu_med.sources.parquet import BATCH, ParquetRows, one_line

FORMATS = ("parquet", "arrow", "json", "csv", "imagefolder")
"""What is read; ``datasets`` knows formats of other kinds of data, and some that run decoders of their own."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_QUOTED = re.compile(r"(?<!\w)(['\"]).*?(\1(?!\w)|$)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OFFLINE = "Go online, or download it with 'hf download --repo-type dataset' and give the folder."
_SAVED = ("dataset_dict.json", "state.json")


class Split(NamedTuple):
    """A split of a dataset.

    Attributes:
        name: as the dataset calls it.
        rows: the object that reads it: parquet files, or ``datasets``' own.
        labels: columns of class numbers → the names of the classes.
        json: columns that hold JSON as text.
        columns: those that hold what JSON can hold; None if that is known of each row only.
    """

    name: str
    rows: Any
    labels: dict[str, list[str]]
    json: tuple[str, ...]
    columns: tuple[str, ...] | None


def is_hub_id(path: str) -> bool:
    """Whether this names a dataset on the Hub rather than a folder here.

    Raises:
        DataError: it is neither a folder nor of the form of a name on the Hub.
    """
    if Path(path).is_dir():
        return False
    if Path(path).exists():
        raise DataError("a file, not a folder", file=path, mend="Give the folder that holds it.")
    if not _HUB_ID.fullmatch(path):
        raise DataError("no such folder", file=path, mend="Give a folder, or a name on the Hub such as owner/name.")
    return True


def commit(path: str, revision: str | None) -> str:
    """The commit of a dataset on the Hub, by branch or tag; asks the Hub unless ``revision`` is one already."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    with _failures(path, "no folder here, and cannot be found on the Hub", _OFFLINE):
        return str(HfApi().dataset_info(path, revision=revision, timeout=30).sha)


def open_splits(path: str, config: str | None, revision: str | None) -> list[Split]:
    """The dataset's splits, in its own order.

    Args:
        path: a folder, or a name on the Hub.
        config: configuration (subset) by name, where there are several.
        revision: commit; on the Hub only.

    Raises:
        DataError: it cannot be found or opened, is in none of FORMATS, or has files outside of its folder.
        UsageError: ``config`` or ``revision`` for a folder that cannot have any.
    """
    if not is_hub_id(path):
        if revision is not None:
            raise UsageError(f"revision: {path} is a folder, which has none")
        if any((Path(path) / name).is_file() for name in _SAVED):
            return _saved(path, config)
    import datasets

    mend = "Check its files and README.md." if Path(path).is_dir() else _OFFLINE
    # Streaming stores nothing, but a lock is left where the cache would be.
    with TemporaryDirectory() as cache, _failures(path, "cannot be opened as a dataset", mend):
        builder = datasets.load_dataset_builder(path, name=config, revision=revision, cache_dir=cache)
        if builder.name not in FORMATS:
            reason = f"its files are {builder.name}, which is not read"
            raise DataError(reason, file=path, mend=f"Save it as one of {', '.join(FORMATS)}.")
        files = {str(split): list(found) for split, found in (builder.config.data_files or {}).items()}
        _check_places(path, revision, files)
        streams = builder.as_streaming_dataset()
        if builder.name == "csv":
            streams = _all_text(builder, streams)
    return [
        _split(str(name), _parquet(files[str(name)]) if builder.name == "parquet" else stream, stream.features)
        for name, stream in streams.items()
    ]


def read(path: str, split: Split, image: str, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 0) and values of a split's rows from ``start`` on: class numbers as names, JSON parsed.

    Columns of sound, film, scans, arrays, other bytes and images are left out, but for ``image``, which is not
    decoded.

    Raises:
        DataError: what is read is damaged or malformed; names the split and, as nearly as is known, the row.
    """
    wanted = None if split.columns is None else [*split.columns, image]
    is_parquet = isinstance(split.rows, list)
    rows = _parquet_rows(split.rows, wanted, start) if is_parquet else _other_rows(path, split, start)
    for number, row in rows:
        values = row if wanted is None else {name: row[name] for name in wanted if name in row}
        for name, classes in split.labels.items():
            values[name] = _label(values.get(name), classes)
        for name in split.json:
            values[name] = _parsed(values.get(name), path, f"{split.name} row {number}")
        yield number, values


def _parquet(files: list[str]) -> list[ParquetRows]:
    return [ParquetRows(file, _opener(file)) for file in files]


def _opener(file: str) -> Any:
    """What opens a file on the Hub; None for one here."""
    if not file.startswith("hf://"):
        return None
    from huggingface_hub import HfFileSystem

    return partial(HfFileSystem().open, file, "rb")


def _parquet_rows(
    files: list[ParquetRows], wanted: list[str] | None, start: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    first = 0
    for file in files:
        columns = None if wanted is None else [name for name in file.columns if name in wanted]
        if start < first + len(file):
            for number, row in file.rows(columns, max(0, start - first)):
                yield first + number, row
        first += len(file)


def _other_rows(path: str, split: Split, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows as ``datasets`` reads them; as Arrow tables, because those it does not decode."""
    number = start
    with _failures(path, f"split '{split.name}' cannot be read", "Check the files.", quotes=False):
        batches = iter((split.rows.skip(start) if start else split.rows).with_format("arrow").iter(BATCH))
    while True:
        reason = f"split '{split.name}' cannot be read from row {number} on"
        with _failures(path, reason, "Check the files.", quotes=False):
            batch = next(batches, None)
            rows = [] if batch is None else batch.to_pylist()
        if batch is None:
            return
        for row in rows:
            yield number, row
            number += 1


def _saved(path: str, config: str | None) -> list[Split]:
    """A folder that ``save_to_disk`` has written."""
    import datasets

    if config is not None:
        raise UsageError(f"config: {path} is a saved dataset, which has none")
    with _failures(path, "cannot be opened as a saved dataset", "Save it anew."):
        found = datasets.load_from_disk(path)
        named = found if isinstance(found, dict) else {str(found.split or "train"): found}
        return [_split(name, dataset, dataset.features) for name, dataset in named.items()]


def _split(name: str, rows: Any, features: Any) -> Split:
    """A split with what its features say of its columns."""
    from datasets import ClassLabel, Json

    known = dict(features or {})
    return Split(
        name,
        rows,
        {column: list(feature.names) for column, feature in known.items() if isinstance(feature, ClassLabel)},
        tuple(column for column, feature in known.items() if isinstance(feature, Json)),
        tuple(column for column, feature in known.items() if _is_readable(feature)) if features else None,
    )


def _is_readable(feature: Any) -> bool:
    """Whether a column holds what JSON can hold; not images, sound, film, scans, arrays or other bytes."""
    from datasets import ClassLabel, Json, LargeList, List, Value

    if isinstance(feature, Value):
        return "binary" not in feature.dtype
    if isinstance(feature, dict):
        return all(map(_is_readable, feature.values()))
    if isinstance(feature, List | LargeList):
        return _is_readable(feature.feature)
    return isinstance(feature, ClassLabel | Json)


def _all_text(builder: Any, streams: Any) -> Any:
    """The same CSV files with every column as text: guessed types would turn ``007`` into 7 and ``NA`` into nothing."""
    from datasets import Features, Value

    columns = dict.fromkeys(name for stream in streams.values() for name in next(iter(stream), {}))
    builder.config.features = builder.info.features = Features({name: Value("string") for name in columns})
    builder.config.keep_default_na = False
    return builder.as_streaming_dataset()


def _label(value: Any, classes: list[str]) -> str | None:
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else None  # −1: no label


def _parsed(value: Any, path: str, record: str) -> Any:
    try:
        return None if value is None else parse_json(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"malformed JSON ({one_line(error)})", file=path, record=record, mend="Mend it.") from None


def _check_places(path: str, revision: str | None, files: dict[str, list[str]]) -> None:
    """Refuse data files outside of the dataset: its README can name any."""
    root = str(Path(path).resolve()) if Path(path).is_dir() else None
    for name in (name for names in files.values() for name in names):
        inside = (
            Path(name).resolve().is_relative_to(root) if root else name.startswith(f"hf://datasets/{path}@{revision}/")
        )
        if not inside:
            raise DataError(f"its file '{name}' lies outside", file=path, mend="Check data_files in its README.md.")


@contextmanager
def _failures(path: str, reason: str, mend: str, *, quotes: bool = True) -> Iterator[None]:
    """Whatever ``datasets`` raises for data it cannot read or reach, as one line; it prints nothing itself.

    Args:
        quotes: keep what stands in quotes; it can be a cell of the data.
    """
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError
    from pyarrow import ArrowException

    # The base of what the HTTP library raises, whichever that library is.
    http_error: type[Exception] = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    failures = (
        OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArrowException, DatasetsError,
        http_error,
    )  # fmt: skip
    try:
        with _quiet():
            yield
    except failures as error:
        text = one_line(error)
        raise DataError(f"{reason} ({text if quotes else _QUOTED.sub('…', text)})", file=path, mend=mend) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines of the two libraries: what matters is raised."""
    from datasets.utils import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled
    from datasets.utils import logging as of_datasets
    from huggingface_hub.utils import logging as of_hub

    shown = is_progress_bar_enabled()
    levels = [(logging, logging.get_verbosity()) for logging in (of_datasets, of_hub)]
    disable_progress_bars()
    for logging, _ in levels:
        logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        for logging, level in levels:
            logging.set_verbosity(level)
        if shown:
            enable_progress_bars()

"""A finished benchmark folder, read lazily."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med.benchmark.sample import Node, Probe, Region, Sample, Span, Stratum, Subset
from mllmu_med.benchmark.schemas import FORMAT
from mllmu_med.errors import DataError
from mllmu_med.folders import read_manifest
from mllmu_med.intact import intact

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMAT", "Benchmark"]

_ROWS_AT_ONCE = 2000


def _to_sample(row: Mapping[str, Any]) -> Sample:
    values = dict(row)
    values["subset"], values["stratum"] = Subset(values["subset"]), Stratum(values["stratum"])
    values["spans"] = tuple(Span(**span) for span in values["spans"])
    values["probes"] = tuple(Probe(**probe) for probe in values["probes"])
    values["hierarchy"] = tuple(Node(**node) for node in values["hierarchy"])
    values["regions"] = tuple(Region(**region) for region in values["regions"])
    values["phrasings"], values["accepted"] = tuple(values["phrasings"]), tuple(values["accepted"])
    return Sample(**values)


class Benchmark:
    """A finished benchmark folder, read lazily."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self._last_group: tuple[tuple[Path, int], list[bytes]] | None = None

    @classmethod
    def open(cls, path: Path | str) -> Benchmark:
        """Open a folder.

        Raises:
            DataError: not a finished benchmark, or of another format.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest.get("format") != FORMAT:
            raise DataError(
                f"the format is {manifest.get('format')!r}, not '{FORMAT}'",
                file=path,
                mend="Build the benchmark again.",
            )
        return cls(path, manifest)

    def samples(self, *subsets: Subset) -> list[Sample]:
        """The samples of these subsets, of all if none is named; subset after subset, each in its stored order."""
        return list(self.stream(*subsets))

    def stream(self, *subsets: Subset) -> Iterator[Sample]:
        """The same, one after the other; at most a few thousand in memory."""
        import pyarrow.parquet as pq

        for subset in subsets or tuple(Subset):
            for path in sorted((self.path / "samples").glob(f"{subset.file_name}-*.parquet")):
                with intact(path), pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                        yield from map(_to_sample, batch.to_pylist())

    @cached_property
    def _index(self) -> dict[str, tuple[Path, int, int]]:
        """Image id → file, row group, row."""
        import pyarrow.parquet as pq

        index: dict[str, tuple[Path, int, int]] = {}
        for path in sorted((self.path / "images").glob("images-*.parquet")):
            with intact(path), pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    ids = file.read_row_group(group, columns=["image_id"]).column("image_id").to_pylist()
                    index.update({image_id: (path, group, row) for row, image_id in enumerate(ids)})
        return index

    def image_ids(self) -> list[str]:
        """All images, in the order in which the samples first use them."""
        return list(self._index)

    def image_bytes(self, image_id: str) -> bytes:
        """The encoded image; neighbours in ``image_ids()`` are cheap to read one after the other.

        Raises:
            DataError: no such image.
        """
        with suppress(KeyError):
            path, group, row = self._index[image_id]
            held = self._last_group  # one look at it: another thread may put its own group there at any time
            if held is None or held[0] != (path, group):
                held = self._last_group = ((path, group), self._read_group(path, group))
            return held[1][row]
        raise DataError(f"no image {image_id}", file=self.path)

    @staticmethod
    def _read_group(path: Path, group: int) -> list[bytes]:
        import pyarrow.parquet as pq

        with intact(path), pq.ParquetFile(path) as file:
            column = file.read_row_group(group, columns=["image"]).column("image").to_pylist()
            return [row["bytes"] for row in column]

    def image(self, image_id: str) -> Image:
        """The picture, in RGB."""
        from PIL import Image

        with Image.open(io.BytesIO(self.image_bytes(image_id))) as image:
            return image.convert("RGB")

    def ledger(self) -> list[dict[str, Any]]:
        """One row per injected fact; see ``ledger.ledger_rows``."""
        import pyarrow.parquet as pq

        path = self.path / "ledger.parquet"
        with intact(path):
            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows

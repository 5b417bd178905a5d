"""The image folder of a source, from which images are taken by the name that its records give."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mllmu_med.errors import DataError
from mllmu_med.sources.images import locate
from mllmu_med.sources.record import ImageRef

_REMEMBERED = 8_192


class ImageFolder:
    """Images in a folder that they must not leave, by path relative to it.

    The last eight thousand are remembered, so that records of one image that stand together share its reference.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, ImageRef] = {}

    def ref(self, name: str, *, file: Path, record: str) -> ImageRef:
        """The image of this name, which is its key.

        Raises:
            DataError: it lies outside the folder, or there is none; names ``file`` and ``record``, which ask for it.
        """
        ref = self._found.get(name)
        if ref is None:
            ref = ImageRef(name, locate(self.path, name, file=file, record=record))
            if len(self._found) >= _REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[name] = ref
        return ref


def find_one(folder: Path, names: Iterable[str], what: str) -> Path:
    """The first of the names that exists in the folder.

    Args:
        what: how the error calls it, e.g. ``image folder``.

    Raises:
        DataError: none of them does.
    """
    names = list(names)
    for name in names:
        if (folder / name).exists():
            return folder / name
    listed = " or ".join(f"'{name}'" for name in names)
    raise DataError(f"no {what} {listed}", file=folder, mend="Check source.path and the download.")

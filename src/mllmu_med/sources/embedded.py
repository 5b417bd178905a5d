"""Images whose bytes stand in the rows of a source, beside the text."""

from __future__ import annotations

from collections.abc import Callable

from mllmu_med.errors import DataError
from mllmu_med.sources.images import image_digest
from mllmu_med.sources.record import ImageRef


class EmbeddedImages:
    """References to images inside rows; only the last one's bytes are held, the others are read again when asked for.

    Args:
        file: how errors call the file or folder.
    """

    def __init__(self, file: object) -> None:
        self._file = str(file)
        self._held: tuple[str, bytes] = ("", b"")

    def ref(self, data: bytes, again: Callable[[], bytes | None]) -> ImageRef:
        """The image with these bytes; its key is their SHA-256, so that equal images are one.

        Args:
            again: reads the bytes anew from where they stand; it must not hold them.
        """
        key = image_digest(data)
        self._held = (key, data)

        def make() -> bytes:
            if self._held[0] == key:
                return self._held[1]
            found = again()
            if found is None or image_digest(found) != key:
                raise DataError("an image has changed since it was first read", file=self._file, mend="Start again.")
            return found

        return ImageRef(key, make=make)

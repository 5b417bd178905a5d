"""Images of the steps to come, decoded by threads beside the step that is being computed.

Reading and decoding an image is work for the host while the device computes, and PIL decodes without holding Python's
lock. Only decoding is done ahead: tokenizers are not safe in several threads. What the model sees does not depend on
it: the loader is asked for the same images, each of them once, only earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from PIL import Image

from mllmu_med.cores import cores
from mllmu_med.models.images import each
from mllmu_med.models.vlm import VisionLanguageModel

AHEAD = 2
"""Batches whose images are decoded ahead: the next one, and one more, so that a slow image does not stop the step."""

WORKERS = 4
"""Most threads. Decoding is limited by the disc or the codec; more only take cores from the step."""


class DecodedAhead:
    """An image loader that has the images of the coming batches ready, or on the way.

    Args:
        load: the loader whose work is done ahead.
        held: images that nobody will ask for, because they are prepared already.
        images_of: batch number → the identifiers it needs; pure.
        batches: batches in all.
        pool: where the work is done.
    """

    def __init__(
        self,
        load: Callable[[str], Image.Image],
        held: Callable[[str], bool],
        images_of: Callable[[int], Iterable[str | None]],
        batches: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.load, self.held, self.images_of, self.batches, self.pool = load, held, images_of, batches, pool
        self._coming: dict[str, tuple[int, Future[Image.Image]]] = {}
        self._until = 0

    def reach(self, batch: int) -> None:
        """Begin with what this batch and the ``AHEAD`` next ones need; to be called before each batch, in order."""
        for image in [image for image, (number, _) in self._coming.items() if number < batch]:
            del self._coming[image]  # what its batch did not ask for
        for number in range(max(batch, self._until), min(batch + AHEAD + 1, self.batches)):
            wanted = dict.fromkeys(one for one in self.images_of(number) if one is not None and not self.held(one))
            for image in (single for one in wanted for single in each(one)):
                if image not in self._coming and not self.held(image):
                    self._coming[image] = number, self.pool.submit(self.load, image)
            self._until = number + 1

    def __call__(self, image: str) -> Image.Image:
        """The image; an error of the loader is raised here, where it would have been without any thread."""
        coming = self._coming.pop(image, None)
        return self.load(image) if coming is None else coming[1].result()


@contextmanager
def decoded_ahead(
    vlm: VisionLanguageModel, images_of: Callable[[int], Iterable[str | None]] | None, batches: int
) -> Iterator[Callable[[int], None]]:
    """Within the block the images of the coming batches are decoded by threads.

    However the block ends, no thread is left and the model has its own loader again; what was begun and not asked for
    is dropped.

    Args:
        images_of: batch number → the identifiers it needs; None = nothing is done ahead.
        batches: batches in all.

    Yields:
        what is to be called with the number of each batch before it.
    """
    loader = vlm.images.loader if images_of is not None else None
    if images_of is None or loader is None:
        yield lambda batch: None
        return
    pool = ThreadPoolExecutor(min(WORKERS, cores()), thread_name_prefix="decode")  # starts none yet
    ahead = DecodedAhead(loader, lambda image: image in vlm.images.remembered().entries, images_of, batches, pool)
    vlm.images.loader = ahead
    try:
        yield ahead.reach
    finally:
        vlm.images.loader = loader
        pool.shutdown(wait=True, cancel_futures=True)

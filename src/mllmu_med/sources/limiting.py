"""A part of a source's images that is spread as all of them are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

from mllmu_med.errors import UsageError
from mllmu_med.sources.compact import CompactMap, short_hash


def check_limit(limit: int | None) -> None:
    """UsageError for a number of images below one."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; at least one image is needed")


class Chosen:
    """Names of images that are in use: all, or those that a limit leaves.

    Args:
        names: hashes; None for all names.
    """

    def __init__(self, names: Container[int] | None = None) -> None:
        self._names = names

    def __contains__(self, name: str) -> bool:
        return self._names is None or short_hash(name) in self._names


def choose(images: Iterable[tuple[str, str]], limit: int | None) -> Chosen:
    """``limit`` images in the same proportions of strata; a smaller limit takes a subset of a larger one's.

    Within each stratum images are ordered by the hash of their name and put at even distances on the unit interval;
    those with the lowest places over all strata are taken. In memory: some fifty bytes per image.

    Args:
        images: stratum and name, in any order; a name may come again, its first stratum counts. Not read where
            ``limit`` is None.
    """
    if limit is None:
        return Chosen()
    numbers: dict[str, int] = {}
    stratum_of = CompactMap()
    for stratum, name in images:
        stratum_of.setdefault(short_hash(name), numbers.setdefault(stratum, len(numbers)))
    strata: dict[int, list[int]] = defaultdict(list)
    for name_hash, number in stratum_of.items():
        strata[number].append(name_hash)
    places = [
        ((rank + 0.5) / len(hashes), name_hash)
        for hashes in strata.values()
        for rank, name_hash in enumerate(sorted(hashes))
    ]
    return Chosen(frozenset(name_hash for _, name_hash in sorted(places)[:limit]))

"""Which format a value has, so that others of its kind can be drawn (:mod:`~.others`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from mllmu_med.benchmark.identities.classes import CLASSES, LOCALES, formats, settings
from mllmu_med.benchmark.identities.formats import Format


@lru_cache(maxsize=2**14)
def format_of(phi_class: str, value: str, language: str = "en", space: float = 0.0) -> Format | None:
    """The format that can write the value; None where none can (a real patient's value, an unknown class).

    Where several can, the one whose number of values is ``space``, else the first: those of every locale in order, and
    last the plain one, which varied formats hold or resemble.
    """
    if phi_class not in CLASSES:
        return None
    known = list(_known(phi_class, language))
    ordered = [kind for kind in known if kind.size == space] + [kind for kind in known if kind.size != space]
    return next((kind for kind in ordered if kind.index(value) is not None), None)


def _known(phi_class: str, language: str) -> Iterator[Format]:
    for varied in (True, False):
        for setting in settings(language, LOCALES, varied):
            yield from formats(phi_class, setting)

"""Named components (sources, methods, …), with plug-ins from entry points and "did you mean"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from mllmu_med.errors import UsageError

T = TypeVar("T")


def did_you_mean(name: str, known: list[str]) -> str:
    """``" (did you mean 'npo'?)"`` or an empty string."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


class Registry(Generic[T]):
    """Maps a name to a component.

    Our own components are named as ``"module:attribute"`` and imported when they are first asked for, so that listing
    costs nothing. Third parties add theirs under the entry-point group ``mllmu_med.<kind>s``.
    """

    def __init__(self, kind: str, lazy: dict[str, str] | None = None) -> None:
        self.kind = kind
        self.group = f"mllmu_med.{kind}s"
        self._lazy = dict(lazy or {})
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: make a component known under ``name``; a second one under the same name is refused."""

        def add(item: T) -> T:
            if name in self._items or name in self._lazy:
                raise UsageError(f"{self.kind} '{name}' is registered twice")
            self._items[name] = item
            return item

        return add

    def _entry_points(self) -> dict[str, str]:
        return {point.name: point.value for point in entry_points(group=self.group)}

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self._items, *self._lazy, *self._entry_points()})

    def get(self, name: str) -> T:
        """The component, imported if need be.

        Raises:
            UsageError: the name is unknown; the message proposes the nearest one.
        """
        if name in self._items:
            return self._items[name]
        target = self._lazy.get(name) or self._entry_points().get(name)
        if target is None:
            known = self.names()
            raise UsageError(f"unknown {self.kind} '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}")
        module, _, attribute = target.partition(":")
        item: T = getattr(import_module(module), attribute)
        self._items[name] = item
        return item

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

"""Formats: shapes of identifiers whose values can be counted and drawn without bias."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple, Protocol

LETTERS = "ACDEFGHJKMNPQRTUVWXY"
"""Capitals that are not taken for a digit."""

_FIELD = re.compile(r"\{(\w+)\}")
_CODE = re.compile(r"([dLhHnx])(\d+)(?:to(\d+))?")


class Drawn(NamedTuple):
    """A value, and in ``also`` other wordings of the same thing, which must not become another patient's value."""

    value: str
    also: tuple[str, ...] = ()


class Format(Protocol):
    """One shape of an identifier. ``at`` is a bijection of ``range(size)`` to its values, ``index`` its inverse.

    Attributes:
        shape: the shape for a reader, e.g. ``MR-{d3}-{d3}``.
        why: why no value of this shape can be a real person's.
    """

    @property
    def shape(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def size(self) -> int: ...
    def at(self, index: int) -> Drawn:
        """The value number ``index``, in ``range(size)``."""
        ...

    def index(self, value: str) -> int | None:
        """The number of a value; None for a text that is no value of this shape."""
        ...


class _Numbers(Sequence[str]):
    """The numbers from ``first`` to ``last`` as texts, zero-padded to ``width``; ``kind`` is a format code."""

    def __init__(self, first: int, last: int, width: int, kind: str = "d") -> None:
        self._first, self._count, self._form = first, last - first + 1, f"0{width}{kind}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # slices are not needed
        return format(self._first + index, self._form)

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        return int(value, 10 if self._form.endswith("d") else 16) - self._first

    @property
    def expression(self) -> str:
        """A pattern that fits every number; it may fit more."""
        digits = {"d": r"\d", "x": "[0-9a-f]", "X": "[0-9A-F]"}[self._form[-1]]
        return f"{digits}{{{len(self[0])},{len(self[self._count - 1])}}}"


def _coded(kind: str, number: str, end: str | None) -> list[Sequence[str]]:
    """The fields of a code such as ``d3``; see :class:`Pattern`."""
    count = int(number)
    if end is not None:
        return [_Numbers(count, int(end), len(number) if kind == "d" else 1)]
    if kind == "L":
        return [tuple(LETTERS)] * count
    if kind == "d":
        return [_Numbers(0, 10**count - 1, count)]
    if kind == "n":
        return [_Numbers(10 ** (count - 1), 10**count - 1, count)]
    if kind == "h":
        return [_Numbers(16 ** (count - 1), 16**count - 1, count, "x")]
    return [_Numbers(0, 16**count - 1, count, "X" if kind == "H" else "x")]


def _same(text: str) -> str:
    return text


def _nothing(text: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, eq=False)
class Pattern:
    """A text with fields.

    ``{d3}`` three digits; ``{n3}`` three digits, the first not 0; ``{d01to49}`` 01 to 49; ``{n1to999}`` 1 to 999
    without zeros in front; ``{L2}`` two capitals of :data:`LETTERS`; ``{H6}`` and ``{x6}`` six hexadecimal digits,
    upper and lower case; ``{h4}`` four of lower case, the first not 0; any other ``{name}`` a text of
    ``tables[name]``.

    Attributes:
        shape: the text with fields. Different choices must give different texts.
        finish: adds what follows from the rest (check digits); must keep different texts different.
        also: see :class:`Drawn`.
    """

    shape: str
    why: str
    tables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    finish: Callable[[str], str] = _same
    also: Callable[[str], tuple[str, ...]] = _nothing

    @cached_property
    def _fields(self) -> list[Sequence[str]]:
        found: list[Sequence[str]] = []
        for place, part in enumerate(_FIELD.split(self.shape)):  # literal, field, literal, …
            if place % 2 == 0:
                found.append((part,))
            elif part in self.tables:
                found.append(self.tables[part])
            else:
                match = _CODE.fullmatch(part)
                if match is None:
                    raise ValueError(f"unknown field {{{part}}} in {self.shape!r}")
                found += _coded(*match.groups())
        return found

    @cached_property
    def size(self) -> int:
        """Number of values."""
        return prod(len(choices) for choices in self._fields)

    def at(self, index: int) -> Drawn:
        """The value number ``index``."""
        parts = []
        for choices in self._fields:
            index, place = divmod(index, len(choices))
            parts.append(choices[place])
        value = self.finish("".join(parts))
        return Drawn(value, self.also(value))

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        """Fits every value, one group for each field. Check digits stand in place of ``*`` or behind the rest, and may
        set new spaces: where there are some, spaces are left out."""
        parts = "".join(f"({_expression(choices)})" for choices in self._fields)
        if self.finish is not _same:
            parts = parts.replace(r"\ ", "").replace(r"\*", r"\d") + r"\d?"
        return re.compile(parts)

    def index(self, value: str) -> int | None:
        """The number of a value; None for a text that is no value of this shape."""
        match = self._whole.fullmatch(value if self.finish is _same else value.replace(" ", ""))
        if match is None:
            return None
        index, weight = 0, 1
        for choices, text in zip(self._fields, match.groups(), strict=True):
            index += weight * (choices.index(text) if len(choices) > 1 else 0)
            weight *= len(choices)
        return index if index in range(self.size) and self.at(index).value == value else None


def _expression(choices: Sequence[str]) -> str:
    if isinstance(choices, _Numbers):
        return choices.expression
    return "|".join(re.escape(choice) for choice in sorted(choices, key=len, reverse=True))

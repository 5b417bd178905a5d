"""Numbers and foreign text as a reader may see them. A model's answer is foreign text."""

from __future__ import annotations

import math
import unicodedata

MISSING = "–"
_KEPT_CONTROLS = "\n\t"


def finite(value: object) -> float | None:
    """A number, or None for everything that is not one: None, NaN, infinities, text, booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percent(value: object) -> str:
    """A share of 0…1 in per cent with one decimal; never rounds a leak to nothing or a loss to perfection.

    ``0`` → ``0%``, ``0.0002`` → ``<0.1%``, ``0.031`` → ``3.1%``, ``0.9999`` → ``>99.9%``, ``1`` → ``100%``.
    """
    number = finite(value)
    if number is None:
        return MISSING
    if number in (0.0, 1.0):
        return f"{number:.0%}"
    if 0 < number < 0.001:
        return "<0.1%"
    if 0.999 < number < 1:
        return ">99.9%"
    return f"{number:.1%}"


def score(value: object) -> str:
    """A score of 0…1 with two decimals, with three where two would turn it into 0 or 1."""
    number = finite(value)
    if number is None:
        return MISSING
    text = f"{number:.2f}"
    return f"{number:.3f}" if text in ("0.00", "1.00") and number not in (0.0, 1.0) else text


def interval(low: object, high: object) -> str:
    """``0.87–0.94``, or an empty string where either end is unknown."""
    return "" if finite(low) is None or finite(high) is None else f"{score(low)}–{score(high)}"


def seconds(value: object) -> str:
    """A duration: ``0.4 s``, ``62 s``, ``3:05 min``, ``2:10 h``."""
    number = finite(value)
    if number is None:
        return MISSING
    if number < 9.95:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def megabytes(value: object) -> str:
    """Memory given in MB: ``913 MB``, ``1.3 GB``."""
    number = finite(value)
    if number is None:
        return MISSING
    return f"{number:.0f} MB" if number < 1000 else f"{number / 1000:.1f} GB"


def whole(value: object) -> str:
    """A count with thousands separated."""
    number = finite(value)
    return MISSING if number is None else f"{number:,.0f}"


def visible(text: object) -> str:
    """Text in which nothing hides: controls, bidirectional overrides and lone surrogates become visible marks.

    C0 controls turn into their pictures (NUL → ``␀``), format characters such as U+202E into ``⟨U+202E⟩`` and lone
    surrogates into U+FFFD; new lines, tabs and the joiners that scripts and emoji need stay.
    """
    return "".join(map(_visible_character, str(text)))


def _visible_character(character: str) -> str:
    code = ord(character)
    if character in _KEPT_CONTROLS or 0x20 <= code < 0x7F:
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    category = unicodedata.category(character)
    if category == "Cs":
        return "�"
    if category in ("Cc", "Cf", "Zl", "Zp") and code not in (0x200C, 0x200D):
        return f"⟨U+{code:04X}⟩"
    return character


def clipped(text: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``, followed by a note of how many are left out."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit:,} more characters]"


def words(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def spelled(count: int) -> str:
    """Small counts in words: ``3`` → ``three``; ``13`` stays a number."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else f"{count:,}"

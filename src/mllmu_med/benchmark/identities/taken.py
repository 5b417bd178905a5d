"""What is taken: the values drawn so far, found in each other quickly."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from zlib import crc32

_SEPARATORS = {code: None for code in range(128) if not chr(code).isalnum()}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ASCII = _SEPARATORS | _LOWER
_SHORT, _LONG = 6, 9  # bytes of a piece: two Chinese characters or six digits, and three or nine
_BITS = 1 << 24


def compact(text: str) -> str:
    """The text's letters and digits, without case, accents and full-width forms: what a lenient reader compares."""
    if text.isascii():
        return text.translate(_ASCII)
    folded = unicodedata.normalize("NFKD", text.casefold()).casefold()
    return "".join(character for character in folded if character.isalnum())


class _Filter:
    """Which numbers have been seen, modulo 2²⁴; two megabytes. Never denies a number that was added."""

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def add(self, numbers: Iterable[int]) -> None:
        bits = self._bits
        for number in numbers:
            bits[number >> 3 & _BITS // 8 - 1] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        return bool(self._bits[number >> 3 & _BITS // 8 - 1] & 1 << (number & 7))


class Taken:
    """Texts, compared by :func:`compact`, none of which is part of another.

    Filters of the texts' pieces answer most questions at once: where an old text could begin in the new one, and
    whether the new one could be part of an old one. Where they do not, the set of texts, or all texts, are searched.
    Memory is some 150 bytes per text and six megabytes.
    """

    def __init__(self) -> None:
        self._texts: set[bytes] = set()
        self._lengths: set[int] = set()
        self._tiny_lengths: set[int] = set()  # of texts without a piece
        self._all = bytearray(b"\0")
        self._begins, self._short, self._long = _Filter(), _Filter(), _Filter()

    def __len__(self) -> int:
        return len(self._texts)

    def take(self, texts: Iterable[str]) -> bool:
        """Take these texts, unless one of them equals, holds or is held by a text taken before (False).

        Among each other they may.
        """
        new = [text.encode() for text in dict.fromkeys(map(compact, texts))]
        short = [_pieces(data, _SHORT) for data in new]
        long = [_pieces(data, _LONG) for data in new]
        for data, short_pieces, long_pieces in zip(new, short, long, strict=True):
            if data in self._texts or self._holds_one(data, short_pieces):
                return False
            if self._could_be_held(short_pieces, long_pieces) and data in self._all:
                return False
        for data, short_pieces, long_pieces in zip(new, short, long, strict=True):
            self._texts.add(data)
            self._lengths.add(len(data))
            if len(data) < _SHORT:
                self._tiny_lengths.add(len(data))
            self._all += data + b"\0"
            self._begins.add(short_pieces[:1])
            self._short.add(short_pieces)
            self._long.add(long_pieces)
        return True

    def _holds_one(self, data: bytes, pieces: list[int]) -> bool:
        starts = [start for start, piece in enumerate(pieces) if piece in self._begins]
        for length in self._lengths if starts else self._tiny_lengths:
            last = len(data) - length
            for start in starts if length >= _SHORT else range(last + 1):
                if start <= last and data[start : start + length] in self._texts:
                    return True
        return False

    def _could_be_held(self, short: list[int], long: list[int]) -> bool:
        if long:  # fewer texts share all their long pieces
            return all(piece in self._long for piece in long)
        return all(piece in self._short for piece in short)


def _pieces(data: bytes, size: int) -> list[int]:
    """Numbers of the text's pieces of ``size`` bytes, one per place; none for a shorter text."""
    return [crc32(data[start : start + size]) for start in range(len(data) - size + 1)]

"""Text on pictures: fonts that are there, lines that fit, private values on a coloured ground."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mllmu_med.evaluation.normalise import has_cjk
from mllmu_med.report.benchmark_texts import Text

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

CJK_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf", "wqy-microhei.ttc",
    "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "PingFang.ttc", "msyh.ttc", "simsun.ttc",
)  # fmt: skip
"""Where the system has one of these, Chinese and Japanese are written in it; no font for them comes with a package."""
ELLIPSIS = "…"
_LINE_HEIGHT = 1.32


class Piece(NamedTuple):
    """Part of a line: text that is private or not."""

    text: str
    private: bool


Line = list[Piece]


@cache
def _has(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())


@cache
def _fonts(size: int, bold: bool) -> tuple[FreeTypeFont, ...]:
    """DejaVu Sans, which comes with matplotlib and so is the same everywhere; behind it the first CJK font found."""
    import matplotlib
    from PIL import ImageFont

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    basic = ImageFont.Layout.BASIC
    fonts = [ImageFont.truetype(str(own), size, layout_engine=basic)]
    for name in CJK_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size, layout_engine=basic))
        except OSError:  # not on this machine
            continue
        break
    return tuple(fonts)


class Lettering:
    """A size and weight of letters.

    Attributes:
        missing: whether a character was asked for that no font has; it is drawn as a box.
    """

    def __init__(self, size: int, *, bold: bool = False) -> None:
        self.fonts = _fonts(size, bold)
        self.line_height = round(size * _LINE_HEIGHT)
        self.missing = False

    def _font(self, character: str) -> FreeTypeFont:
        for font in self.fonts:
            if ord(character) in _has(str(font.path)):
                return font
        self.missing = True
        return self.fonts[0]

    def _runs(self, text: str) -> Iterator[tuple[FreeTypeFont, str]]:
        run, held = "", self.fonts[0]
        for character in text:
            font = self._font(character)
            if font is not held and run:
                yield held, run
                run = ""
            held, run = font, run + character
        if run:
            yield held, run

    def width(self, text: str) -> float:
        """In pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def lines(self, text: Text, width: float, most: int) -> list[Line]:
        """The text in at most ``most`` lines of at most ``width`` pixels; an ellipsis stands for what is left out."""
        lines: list[Line] = [[]]
        used = 0.0
        for word, private in self._words(text, width):
            length = self.width(word)
            if used + length > width and lines[-1]:
                if len(lines) == most:
                    lines[-1].append(Piece(ELLIPSIS, False))
                    break
                lines.append([])
                used = 0.0
            if word.isspace() and not lines[-1]:
                continue
            lines[-1].append(Piece(word, private))
            used += length
        for line in lines:
            while line and line[-1].text.isspace():
                line.pop()
        return [line for line in lines if line]

    def _words(self, text: Text, width: float) -> Iterator[Piece]:
        """Words and the spaces between them; a word wider than a line, and Chinese, falls into characters."""
        for piece in [text] if isinstance(text, str) else text:
            shown, private = (piece, False) if isinstance(piece, str) else (piece[0], True)
            for at, word in enumerate(shown.split()):
                if at or shown[:1].isspace():
                    yield Piece(" ", private and at > 0)
                wide = has_cjk(word) or self.width(word) > width
                yield from (Piece(character, private) for character in word) if wide else [Piece(word, private)]
            if shown[-1:].isspace() and shown.split():
                yield Piece(" ", False)

    def draw(self, pen: ImageDraw, place: tuple[float, float], lines: list[Line], ink: str, ground: str) -> float:
        """Write lines from their upper left corner on, private text on ``ground``; returns the y below them."""
        x, y = place
        for line in lines:
            left = x
            for text, private in line:
                length = self.width(text)
                if private:
                    pen.rectangle((left, y, left + length, y + self.line_height - 2), fill=ground)
                for font, run in self._runs(text):
                    pen.text((left, y), run, fill=ink, font=font)
                    left += font.getlength(run)
            y += self.line_height
        return y

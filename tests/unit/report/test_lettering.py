"""Lines that fit, and fonts for what they hold."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy
import pytest
from PIL import Image, ImageDraw, ImageFont

from mllmu_med.report.benchmark_texts import Text
from mllmu_med.report.lettering import Lettering, Line

LETTERS = Lettering(12)


def joined(lines: list[Line]) -> list[str]:
    return ["".join(piece.text for piece in line) for line in lines]


def private(lines: list[Line]) -> str:
    return "".join(piece.text for line in lines for piece in line if piece.private)


def test_words_are_kept_whole_and_lines_within_the_width() -> None:
    text = "The patient has a small nodule in the left upper lobe of the lung"
    lines = LETTERS.lines(text, 120, 9)
    assert " ".join(joined(lines)) == text
    assert len(lines) > 3
    assert all(LETTERS.width(line) <= 120 for line in joined(lines))


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    lines = joined(LETTERS.lines("word " * 50, 120, 2))
    assert len(lines) == 2
    assert lines[-1].endswith("…")
    assert "…" not in "".join(joined(LETTERS.lines("word word", 120, 2)))


@pytest.mark.parametrize("text", ["x" * 300, "肺部有一个小结节" * 10])
def test_a_word_wider_than_a_line_and_chinese_fall_into_characters(text: str) -> None:
    lines = joined(LETTERS.lines(text, 100, 99))
    assert "".join(lines) == text
    assert len(lines) > 5
    assert all(LETTERS.width(line) <= 100 for line in lines)


def test_private_pieces_stay_private_across_lines() -> None:
    text: Text = ["Seen by ", ["Ann Maria Lee", "name"], ", on ", ["2020-01-02", "date"], "."]
    one = LETTERS.lines(text, 1000, 1)
    assert joined(one) == ["Seen by Ann Maria Lee, on 2020-01-02."]
    assert private(one) == "Ann Maria Lee2020-01-02"
    broken = LETTERS.lines(text, 90, 9)
    assert len(broken) > 1
    assert private(broken).replace(" ", "") == "AnnMariaLee2020-01-02"
    assert not [line for line in joined(broken) if line != line.strip()]


def test_empty_text_has_no_lines() -> None:
    assert LETTERS.lines("", 100, 3) == LETTERS.lines(["", ["", "name"], " "], 100, 3) == []


def test_characters_without_a_glyph_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = Lettering(12)
    letters.width("Größe → ✔ Ωмега")
    assert not letters.missing
    letters.fonts = letters.fonts[:1]
    letters.width("肺")
    assert letters.missing


def test_the_second_font_stands_in_for_the_first() -> None:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    letters = Lettering(12)
    symbols = ImageFont.truetype(str(folder / "STIXSizOneSymReg.ttf"), 12)  # brackets, no letters
    letters.fonts = (symbols, *letters.fonts[:1])
    assert [run for _, run in letters._runs("ab(c")] == ["ab", "(", "c"]
    assert not letters.missing


def test_private_text_stands_on_its_ground() -> None:
    image = Image.new("RGB", (300, 60), "#ffffff")
    lines = LETTERS.lines(["plain ", ["MRN-77", "mrn"]], 280, 1)
    below = LETTERS.draw(ImageDraw.Draw(image), (10, 10), lines, "#000000", "#ff0000")
    assert below == 10 + LETTERS.line_height
    pixels = numpy.asarray(image).astype(int)
    red = (pixels[..., 0] - pixels[..., 1]) > 200
    left, right = red.any(axis=0).nonzero()[0][[0, -1]]
    assert 10 + LETTERS.width("plain ") - 2 <= left
    assert abs(right - left - LETTERS.width("MRN-77")) <= 2
    assert (pixels[10:30, 10 : int(left)].sum(axis=2) < 200).any()

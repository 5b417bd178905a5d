"""The contact sheet: a row per subset, marks and outlines where they belong, nothing of real values."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from mllmu_med.benchmark.sample import Region
from mllmu_med.errors import DataError, UsageError
from mllmu_med.report import contact_sheet as sheets
from mllmu_med.report.benchmark_filters import Filters
from mllmu_med.report.contact_sheet import contact_sheet, write_contact_sheet
from mllmu_med.report.lettering import Lettering, Line
from tests.unit.report.fake_benchmark import BURNED, NAMES, NUMBERS, make_benchmark


def colour(code: str) -> tuple[int, ...]:
    return tuple(int(code[at : at + 2], 16) for at in (1, 3, 5))


def count(image: Image.Image, code: str) -> int:
    """Pixels of exactly this colour."""
    return int((numpy.asarray(image) == colour(code)).all(axis=2).sum())


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is written on a sheet, in order."""
    texts: list[str] = []
    draw = Lettering.draw

    def noted(self: Lettering, pen: Any, place: Any, lines: list[Line], ink: str, ground: str) -> float:
        texts.append(" ".join("".join(piece.text for piece in line) for line in lines))
        return draw(self, pen, place, lines, ink, ground)

    monkeypatch.setattr(Lettering, "draw", noted)
    return texts


def test_every_subset_has_its_row_with_questions_and_answers(written: list[str]) -> None:
    contact_sheet(make_benchmark())
    assert written[0] == "fake: 28 samples"
    headings = ["Forget: private data (3)", "Forget: wrong facts (6)", "Retain (10)", "Test (4)", "Validation (2)",
                "Holdout patients (3)"]  # fmt: skip
    assert [text for text in written if text in headings] == headings
    leak = written.index("leak · name, mrn")
    told = f"✖ A small nodule; the patient is {NAMES['p1']}, record {NUMBERS['p1']}."
    assert written[leak + 1 : leak + 4] == ["What is the finding?", told, "✔ A small nodule."]
    wrong = written.index("finding · rule-1")
    assert written[wrong : wrong + 4] == ["finding · rule-1", "Which side?", "✖ right lung", "✔ left lung"]
    assert written.count("✖ right lung") == 6 + 1  # the last of them by the rule, about an unseen image
    holdout = len(written) - written[::-1].index("leak · name, mrn")
    assert written[holdout + 1].startswith("A small nodule; the patient is Ines")


def test_values_are_marked_by_what_becomes_of_them() -> None:
    forget = contact_sheet(make_benchmark(), filters=Filters("forget/privacy"))
    assert count(forget, sheets.MARK) > 1000
    assert count(forget, sheets.KEEP) == 0
    retain = contact_sheet(make_benchmark(), filters=Filters("retain"))
    assert count(retain, sheets.KEEP) > 1000
    assert count(retain, sheets.MARK) == 0
    assert count(contact_sheet(make_benchmark(), filters=Filters("validation")), sheets.MARK) == 0


def outline(image: Image.Image) -> tuple[int, ...]:
    rows, columns = (numpy.asarray(image) == colour(sheets.OUTLINE)).all(axis=2).nonzero()
    return tuple(int(n) for n in (columns.min(), rows.min(), columns.max(), rows.max()))


def test_burned_values_are_outlined_at_their_place() -> None:
    sheet = contact_sheet(make_benchmark(), per_subset=1, filters=Filters("retain", form="burned"))
    share, top = sheets.SIDE / 320, (sheets.SIDE - 240 * sheets.SIDE / 320) / 2
    left, upper = sheets.MARGIN, 56 + 34 + top
    expected = (left + BURNED.x0 * share, upper + BURNED.y0 * share,
                left + BURNED.x1 * share, upper + BURNED.y1 * share)  # fmt: skip
    assert numpy.abs(numpy.subtract(outline(sheet), expected)).max() <= 3


def test_the_outline_follows_a_portrait_into_the_middle() -> None:
    buffer = io.BytesIO()
    Image.new("L", (100, 200), 60).save(buffer, "PNG")
    picture = sheets._picture(buffer.getvalue(), "i", [Region("mrn", 0, 0, 100, 20)], hidden=False)
    left, top, right, bottom = outline(picture)
    assert abs(left - 52) <= 3
    assert abs(right - 156) <= 3
    assert top <= 1
    assert abs(bottom - 21) <= 3


def test_a_region_turned_round_is_outlined_too() -> None:
    benchmark = make_benchmark()
    turned = Region("mrn", BURNED.x1, BURNED.y1, BURNED.x0, BURNED.y0)
    picture = sheets._picture(benchmark.images["i-p1-burned"], "i", [turned], hidden=False)
    assert outline(picture) == outline(sheets._picture(benchmark.images["i-p1-burned"], "i", [BURNED], hidden=False))


def test_real_values_are_hidden_and_black(written: list[str]) -> None:
    benchmark = make_benchmark(plan={"private_values": "request"})
    shown = contact_sheet(make_benchmark(), filters=Filters(form="burned"))
    texts = len(written)
    hidden = contact_sheet(benchmark, filters=Filters(form="burned"))
    assert count(hidden, sheets.OUTLINE) == 0
    left, top = sheets.MARGIN + BURNED.x0 * 208 // 320 + 2, 56 + 34 + 26 + BURNED.y0 * 208 // 320 + 2
    box = (left, top, left + 40, top + 8)
    assert numpy.asarray(shown.crop(box)).mean() > 200
    assert numpy.asarray(hidden.crop(box)).max() < 10
    contact_sheet(benchmark)
    assert any("[name], record [mrn]" in text for text in written[texts:])
    assert not [text for text in written[texts:] for value in (*NAMES.values(), *NUMBERS.values()) if value in text]


def test_more_samples_make_more_columns_then_more_rows() -> None:
    def size(per_subset: int) -> tuple[int, int]:
        return contact_sheet(make_benchmark(), per_subset=per_subset, filters=Filters("retain")).size

    (one, _), (two, low), (eight, same), (ten, high) = map(size, (1, 2, 8, 10))
    assert two - one == sheets.SIDE + sheets.GAP
    assert ten == eight
    assert low <= same < high


def test_only_the_images_of_the_sheet_are_read_once_each_in_stored_order() -> None:
    benchmark = make_benchmark()
    contact_sheet(benchmark, filters=Filters(patient="p2"))
    assert benchmark.reads == ["i-p2", "i-p2-burned"]


@pytest.mark.parametrize(
    ("per_subset", "filters", "message"),
    [
        (0, Filters(), "from 1 to 64"),
        (65, Filters(), "from 1 to 64"),
        (1, Filters("test", patient="p1"), "no sample meets all"),
        (1, Filters(patient="p9"), "no patient 'p9'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(per_subset: int, filters: Filters, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        contact_sheet(make_benchmark(), per_subset=per_subset, filters=filters)


def test_a_huge_text_stays_within_its_column() -> None:
    benchmark = make_benchmark()
    benchmark.everything = [
        replace(s, question="q" * 10**6, answer="a b " * 10**5, clean_answer="\u202e\x00" * 999)
        for s in benchmark.everything
    ]
    width, height = contact_sheet(benchmark).size
    assert width == contact_sheet(make_benchmark()).size[0]
    assert height < 6 * 600


def test_the_file_is_a_png_whole_or_absent_and_the_same_again(tmp_path: Path) -> None:
    target = write_contact_sheet(make_benchmark(), tmp_path / "new" / "sheet.png", per_subset=3)
    before = target.read_bytes()
    with Image.open(target) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
    assert write_contact_sheet(make_benchmark(), target, per_subset=3).read_bytes() == before
    broken = make_benchmark()
    broken.images = dict.fromkeys(broken.images, b"x")
    with pytest.raises(DataError):
        write_contact_sheet(broken, target)
    assert target.read_bytes() == before
    assert _names(target.parent.iterdir()) == ["sheet.png"]


def _names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]


def test_missing_glyphs_are_said(written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = make_benchmark()
    contact_sheet(benchmark)
    assert sheets.NO_GLYPH not in written
    benchmark.everything = [replace(s, question="\U000f0000 ?") for s in benchmark.everything]  # a private-use sign
    contact_sheet(benchmark)
    assert sheets.NO_GLYPH in " ".join(written)

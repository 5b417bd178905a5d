"""A benchmark as one picture: rows of samples per subset, each image with its question and answers below."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Region, Sample, Subset
from mllmu_med.errors import UsageError
from mllmu_med.report.benchmark_census import BenchmarkFolder, Census, by_subset, one_by_one, take_census
from mllmu_med.report.benchmark_filters import EVERYTHING, Filters, classes_of
from mllmu_med.report.benchmark_pictures import open_picture
from mllmu_med.report.benchmark_texts import Text, Texts, texts_of
from mllmu_med.report.browser import SUBSET_LABELS
from mllmu_med.report.lettering import Lettering, Line
from mllmu_med.report.writing import write_whole

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PER_SUBSET, MOST = 8, 64
COLUMNS = 8
SIDE, GAP, MARGIN = 208, 16, 20
PAGE, CARD, INK, MUTED, EDGE = "#f3f5f7", "#ffffff", "#1c2733", "#55626f", "#dde3e8"
MARK, KEEP, GOOD, BAD, OUTLINE = "#ffd9a8", "#d6e8f5", "#00735f", "#b3261e", "#ffb24d"
_TEXT = 200  # characters of a text
NO_GLYPH = "Boxes stand for characters that no font of this machine has."


@dataclass(frozen=True, slots=True)
class _Letters:
    title: Lettering
    heading: Lettering
    question: Lettering
    text: Lettering
    small: Lettering

    @property
    def missing(self) -> bool:
        return any(kind.missing for kind in (self.title, self.heading, self.question, self.text, self.small))


def _letters() -> _Letters:
    return _Letters(
        Lettering(24, bold=True), Lettering(16, bold=True), Lettering(12, bold=True), Lettering(12), Lettering(11)
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines of one lettering and colour."""

    letters: Lettering
    ink: str
    lines: list[Line]

    @property
    def height(self) -> int:
        return len(self.lines) * self.letters.line_height


@dataclass(frozen=True, slots=True)
class _Tile:
    """A sample as it will be drawn."""

    sample: Sample
    blocks: list[_Block]

    @property
    def height(self) -> int:
        return SIDE + 6 + sum(block.height for block in self.blocks)


def _tile(sample: Sample, texts: Texts, letters: _Letters) -> _Tile:
    def block(kind: Lettering, ink: str, text: str, most: int, before: str = "") -> _Block:
        pieces = texts.pieces(text, sample, _TEXT)
        shown: Text = [before, *([pieces] if isinstance(pieces, str) else pieces)]
        return _Block(kind, ink, kind.lines(shown, SIDE, most))

    what = ", ".join([*classes_of(sample), *([sample.error_type] if sample.error_type else [])])
    kind = " · ".join(text for text in (sample.form, what, sample.rule_id) if text) or sample.modality or ""
    blocks = [block(letters.small, MUTED, kind, 1)] if kind else []
    blocks.append(block(letters.question, INK, sample.question, 3))
    wrong = sample.wrong_answer is not None
    forgotten = sample.subset in (Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)
    if wrong and not forgotten:
        blocks.append(block(letters.text, BAD, sample.wrong_answer or "", 2, "✖ "))
    plain = sample.subset is Subset.HOLDOUT
    told = (INK, "") if plain else (BAD, "✖ ") if forgotten else (GOOD, "✔ ")
    blocks.append(block(letters.text, told[0], sample.answer, 4, told[1]))
    right = sample.correct_answer if wrong else sample.clean_answer
    if right is not None and right != sample.answer:
        blocks.append(block(letters.text, GOOD, right, 2, "✔ "))
    return _Tile(sample, blocks)


def _picture(data: bytes, image_id: str, regions: Iterable[Region], *, hidden: bool) -> Image.Image:
    """A square with the image in its middle; burned-in values outlined, or blacked out."""
    from PIL import Image, ImageDraw

    regions = list(regions)
    image = open_picture(data, image_id, regions if hidden else ()).convert("RGB")
    width, height = image.size
    share = SIDE / max(width, height)
    size = max(1, round(width * share)), max(1, round(height * share))
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    square = Image.new("RGB", (SIDE, SIDE), "#000000")
    left, top = (SIDE - image.width) // 2, (SIDE - image.height) // 2
    square.paste(image, (left, top))
    if not hidden:
        pen = ImageDraw.Draw(square)
        across, down = image.width / width, image.height / height
        for region in regions:
            box = (
                left + min(region.x0, region.x1) * across - 2, top + min(region.y0, region.y1) * down - 2,
                left + max(region.x0, region.x1) * across + 1, top + max(region.y0, region.y1) * down + 1,
            )  # fmt: skip
            pen.rectangle(box, outline=OUTLINE, width=2)
    return square


def _pictures(
    samples: Sequence[Sample], benchmark: BenchmarkFolder, census: Census, *, hidden: bool
) -> dict[str, Image.Image]:
    """The samples' images by id, read in the order in which they are stored."""
    wanted = dict.fromkeys(sample.image_id for sample in samples if sample.image_id is not None)
    stored = [image_id for image_id in benchmark.image_ids() if image_id in wanted]
    ordered = dict.fromkeys([*stored, *wanted])
    return {
        image_id: _picture(
            benchmark.image_bytes(image_id), image_id, census.regions.get(image_id, ()), hidden=hidden
        )
        for image_id in ordered
    }  # fmt: skip


def _draw_tile(
    pen: ImageDraw.ImageDraw, sheet: Image.Image, tile: _Tile, place: tuple[int, int],
    picture: Image.Image | None, letters: _Letters,
) -> None:  # fmt: skip
    x, y = place
    if picture is not None:
        sheet.paste(picture, place)
    else:
        pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), outline=EDGE, fill=CARD)
        note = "text only"
        pen.text((x + (SIDE - letters.text.width(note)) / 2, y + SIDE / 2 - 8), note, MUTED, letters.text.fonts[0])
    below: float = y + SIDE + 6
    ground = KEEP if tile.sample.subset is Subset.RETAIN else MARK
    for block in tile.blocks:
        below = block.letters.draw(pen, (x, below), block.lines, block.ink, ground)


def contact_sheet(
    benchmark: BenchmarkFolder, *, per_subset: int = PER_SUBSET, filters: Filters = EVERYTHING
) -> Image.Image:
    """The sheet as a picture in RGB; arguments and errors as for :func:`write_contact_sheet`."""
    from PIL import Image, ImageDraw

    if not 1 <= per_subset <= MOST:
        raise UsageError(f"a contact sheet shows from 1 to {MOST} samples of each subset, not {per_subset}")
    census = take_census(benchmark, filters, limit=per_subset, part=by_subset, rank=one_by_one)
    if not census.picked:
        raise UsageError("no sample meets all of these filters; take one away")
    texts, letters = texts_of(benchmark, census), _letters()
    pictures = _pictures(census.picked, benchmark, census, hidden=texts.hide)
    columns = min(COLUMNS, per_subset)
    rows: list[tuple[Subset | None, list[_Tile]]] = []
    for subset in Subset:
        tiles = [_tile(sample, texts, letters) for sample in census.picked if sample.subset is subset]
        for first in range(0, len(tiles), columns):
            rows.append((subset if first == 0 else None, tiles[first : first + columns]))
    head, heading = 56, 34
    width = 2 * MARGIN + columns * (SIDE + GAP) - GAP
    height = head + sum(heading * (of is not None) + max(t.height for t in line) + GAP for of, line in rows) + MARGIN
    sheet = Image.new("RGB", (width, height), PAGE)
    pen = ImageDraw.Draw(sheet)
    source = texts.plain(str((benchmark.manifest.get("source") or {}).get("name") or ""), None, 60)
    title = f"{source}: {census.strata.total():,} samples".removeprefix(": ")
    letters.title.draw(pen, (MARGIN, 16), letters.title.lines(title, width - 2 * MARGIN, 1), INK, MARK)
    y = head
    for opens, tiles in rows:
        if opens is not None:
            count = sum(number for (subset, _), number in census.strata.items() if subset is opens)
            text = f"{SUBSET_LABELS[opens]} ({count:,})"
            letters.heading.draw(pen, (MARGIN, y + 6), letters.heading.lines(text, width, 1), INK, MARK)
            y += heading
        for column, tile in enumerate(tiles):
            place = (MARGIN + column * (SIDE + GAP), y)
            _draw_tile(pen, sheet, tile, place, pictures.get(tile.sample.image_id or ""), letters)
        y += max(tile.height for tile in tiles) + GAP
    if letters.missing:
        letters.small.draw(pen, (MARGIN, y), letters.small.lines(NO_GLYPH, width - 2 * MARGIN, 1), MUTED, MARK)
    return sheet


def write_contact_sheet(
    benchmark: BenchmarkFolder, target: Path, *, per_subset: int = PER_SUBSET, filters: Filters = EVERYTHING
) -> Path:
    """Write the contact sheet as a PNG and return its path. It is whole or absent.

    Private values are marked and burned-in ones outlined; where the manifest says that they are real, they are hidden
    and blacked out.

    Args:
        benchmark: an opened benchmark; its samples and images are read one at a time.
        target: the file to write; an earlier one is replaced.
        per_subset: samples of each subset, drawn in turn from every stratum and kind of fact.
        filters: show only samples that meet them.

    Raises:
        UsageError: a filter names what the benchmark has not, nothing meets all of them, or ``per_subset`` is not
            within 1 to 64.
        DataError: an image is missing or cannot be read.
    """
    buffer = io.BytesIO()
    contact_sheet(benchmark, per_subset=per_subset, filters=filters).save(buffer, "PNG", optimize=True)
    write_whole(target, buffer.getvalue())
    return target

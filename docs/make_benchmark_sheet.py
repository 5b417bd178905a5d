"""Draw the contact sheet of a small phantom benchmark: ``python docs/make_benchmark_sheet.py``."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageColor

from mllmu_med.api import build, load_recipe, write_contact_sheet
from mllmu_med.report.contact_sheet import BAD, CARD, EDGE, GOOD, INK, KEEP, MARK, MUTED, OUTLINE, PAGE

TARGET = Path(__file__).parent / "assets" / "benchmark_page.png"
RECIPE = (
    "source.images=150", "benchmark.patients_forgotten=4", "benchmark.patients_retained=6",
    "benchmark.patients_holdout=3", "benchmark.forms=[leak,direct,text,burned]",
)  # fmt: skip
PER_SUBSET, COLOURS, MOST_BYTES = 4, (128, 96, 80, 64, 56, 48, 40, 32), 290_000
OWN = [
    part for code in (BAD, CARD, EDGE, GOOD, INK, KEEP, MARK, MUTED, OUTLINE, PAGE) for part in ImageColor.getrgb(code)
]


def png(sheet: Image.Image) -> bytes:
    """The sheet in its own colours and as many others as the size allows."""
    for colours in COLOURS:
        others = sheet.quantize(colours, kmeans=1).getpalette() or []
        palette = Image.new("P", (1, 1))
        palette.putpalette(OWN + others[: 3 * colours])
        buffer = io.BytesIO()
        sheet.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()


def main() -> None:
    """Build the benchmark in a temporary folder, and write its sheet into the documentation's assets."""
    with TemporaryDirectory() as folder:
        build(load_recipe("phantom", *RECIPE), Path(folder) / "run")
        sheet = write_contact_sheet(Path(folder) / "run", Path(folder) / "sheet.png", per_subset=PER_SUBSET)
        with Image.open(sheet) as opened:
            data = png(opened)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(data)
    print(f"{TARGET} ({len(data) // 1024} kB)")


if __name__ == "__main__":
    main()

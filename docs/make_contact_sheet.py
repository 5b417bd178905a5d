"""Draw the contact sheet of the phantom source: ``python docs/make_contact_sheet.py``."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mllmu_med.sources.phantom import MODALITIES, Truth, draw

TARGET = Path(__file__).parent / "assets" / "phantom_contact_sheet.png"
SIDE, GAP, CAPTION = 176, 6, 20
LESIONS = (("left", "small", 2), ("right", "large", 1))


def columns(modality: str) -> list[Truth]:
    """One normal picture, then both findings with small and with large lesions."""
    findings = MODALITIES[modality].findings
    lesions = [Truth(modality, finding, *lesion) for finding in findings for lesion in LESIONS]
    return [Truth(modality), *lesions]


def caption(truth: Truth) -> str:
    """What the picture shows, in a few words."""
    if truth.finding is None:
        return f"{truth.modality}, normal"
    return f"{truth.finding}: {truth.size}, {truth.side}, {truth.count}"


def contact_sheet() -> Image.Image:
    """Modalities in rows; normal and abnormal pictures in columns, each with its ground truth."""
    rows = [columns(modality) for modality in MODALITIES]
    width = GAP + len(rows[0]) * (SIDE + GAP)
    height = GAP + len(rows) * (SIDE + CAPTION + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, truths in enumerate(rows):
        for column, wanted in enumerate(truths):
            pixels, truth = draw(0, "contact sheet", row, column, size=SIDE, truth=wanted)
            x, y = GAP + column * (SIDE + GAP), GAP + row * (SIDE + CAPTION + GAP)
            sheet.paste(Image.fromarray(pixels), (x, y))
            pen.text((x + SIDE / 2, y + SIDE + CAPTION / 2), caption(truth), fill="black", font=font, anchor="mm")
    return sheet


def main() -> None:
    """Write the sheet into the documentation's assets."""
    TARGET.parent.mkdir(exist_ok=True)
    contact_sheet().save(TARGET, optimize=True)
    print(f"{TARGET} ({TARGET.stat().st_size // 1024} kB)")


if __name__ == "__main__":
    main()

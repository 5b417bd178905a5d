"""Small datasets in the layouts that the sources read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def encoded(colour: tuple[int, int, int] = (90, 120, 30), size: tuple[int, int] = (12, 8), kind: str = "JPEG") -> bytes:
    """A one-coloured image file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format=kind)
    return buffer.getvalue()


class SlakeFolder:
    """A SLAKE folder that can be written row by row; ``write`` puts the three files and the images on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, list[dict[str, Any]]] = {"train": [], "validate": [], "test": []}
        self._next = 0

    def add(self, split: str, image: int, language: str = "en", **changes: Any) -> dict[str, Any]:
        """One more row; ``changes`` replace fields."""
        row = {
            "img_id": image, "img_name": f"xmlab{image}/source.jpg", "question": f"What is number {self._next}?",
            "answer": "Lung", "q_lang": language, "location": "Brain_Tissue", "modality": ("CT", "MRI")[image % 2],
            "answer_type": "OPEN", "base_type": "vqa", "content_type": "Organ", "triple": ["vhead", "_", "_"],
            "qid": self._next, **changes,
        }  # fmt: skip
        self._next += 1
        self.rows[split].append(row)
        return row

    def write(self, validation: str = "validate.json") -> Path:
        """Everything on disk; returns the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        names = {"train": "train.json", "validate": validation, "test": "test.json"}
        for split, name in names.items():
            text = json.dumps(self.rows[split], ensure_ascii=False)
            (self.path / name).write_text(text, encoding="utf-8")
        for number in {row["img_id"] for rows in self.rows.values() for row in rows if type(row["img_id"]) is int}:
            image = self.path / "imgs" / f"xmlab{number}" / "source.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(encoded((number, 100, 50)))
        return self.path


@pytest.fixture
def jpeg() -> bytes:
    """A valid JPEG file of 12 × 8 pixels."""
    return encoded()


@pytest.fixture
def slake(tmp_path: Path) -> SlakeFolder:
    """An empty SLAKE folder, to be filled."""
    return SlakeFolder(tmp_path / "Slake1.0")


@pytest.fixture
def slake_of_six(slake: SlakeFolder) -> SlakeFolder:
    """Images 1-4 in train, 5 in validation, 6 in test; two English questions and a Chinese one about each.

    The Chinese question about image 1 is in the test file, and that about image 5 in the train file.
    """
    for image, split in ((1, "train"), (2, "train"), (3, "train"), (4, "train"), (5, "validate"), (6, "test")):
        slake.add(split, image)
        slake.add(split, image, content_type="KG", answer_type="CLOSED", answer="Transverse  Plane ")
        chinese = {1: "test", 5: "train", 4: "validate"}.get(image, split)
        slake.add(chinese, image, language="zh", question="图中有什么?", answer="没有", answer_type="CLOSED")
    return slake

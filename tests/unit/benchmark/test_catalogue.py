from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllmu_med.benchmark import catalogue as module
from mllmu_med.benchmark.catalogue import ImageShelf, read_catalogue
from mllmu_med.errors import DataError
from mllmu_med.sources.images import image_digest
from mllmu_med.sources.record import ImageRef, Record
from tests.unit.benchmark.fake_source import png, record


class Listed:
    """A source that yields the given records."""

    name = "listed"

    def __init__(self, *records: Record) -> None:
        self._records = records
        self.skipped: Counter[str] = Counter({"odd": 2})

    def fingerprint(self) -> str:
        return "listed"

    def records(self) -> Iterator[Record]:
        yield from self._records


def picture(key: str, number: int) -> ImageRef:
    return ImageRef(key, make=lambda: png(number))


def test_groups_that_share_an_image_are_one() -> None:
    source = Listed(
        record("a", image=picture("k1", 1), group="g1"),
        record("b", image=picture("k2", 2), group="g2"),
        record("c", image=picture("k3", 1), group="g3"),  # the bytes of k1 under another key
        record("d", image=picture("k4", 2), group="g3"),  # ties g2 to the others
        record("e", image=picture("k5", 5), group="g5"),
    )
    found = read_catalogue(source)
    assert [entry.group for entry in found.entries] == ["g1", "g1", "g1", "g1", "g5"]
    assert [entry.record.id for entry in found.groups["g1"]] == ["a", "b", "c", "d"]
    assert found.entries[0].image_id == found.entries[2].image_id == image_digest(png(1))
    assert found.skipped == {"odd": 2}


def test_an_image_is_made_once_for_all_its_records_and_kept_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make(number: int) -> bytes:
        made.append(number)
        return png(number)

    monkeypatch.setattr(module, "_KEPT_BYTES", len(png(1)))
    refs = [ImageRef(f"k{number}", make=lambda n=number: make(n)) for number in (1, 2)]  # type: ignore[misc]
    records = [record(f"{n}{ref.key}", image=ref, group=ref.key) for n in range(3) for ref in refs]
    shelf = read_catalogue(Listed(*records)).images
    assert made == [1, 2]
    assert shelf.take(image_digest(png(1))).data == png(1)
    assert made == [1, 2]  # from the shelf
    assert shelf.take(image_digest(png(2))).data == png(2)
    assert made == [1, 2, 2]  # had no room


def test_an_image_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(1))
    shelf = ImageShelf()
    image_id = shelf.add(ImageRef("k", path=file), "r1")
    file.write_bytes(png(2))
    with pytest.raises(DataError, match="changed while the benchmark was being built"):
        shelf.take(image_id)


def test_answers_to_the_same_question_about_the_same_image_are_all_accepted() -> None:
    source = Listed(
        record("a", answer="nodule"), record("b", answer="Lesion", question="what is the main finding"),
        record("c", answer="other", question="Another?"),
        record("d", answer="mass", image=picture("k2", 2), extra={"accepted": ["tumour"]}),
    )  # fmt: skip
    found = read_catalogue(source)
    assert [entry.accepted for entry in found.entries] == [("Lesion",), ("nodule",), (), ("tumour",)]
    assert found.answers_to(found.entries[1]) == {"lesion", "nodule"}


def test_a_repeated_id_and_an_empty_source_are_refused() -> None:
    with pytest.raises(DataError, match="record a: the id occurs twice"):
        read_catalogue(Listed(record("a"), record("a")))
    with pytest.raises(DataError, match="listed: no records"):
        read_catalogue(Listed())

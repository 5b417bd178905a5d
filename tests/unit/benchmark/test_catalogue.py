from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mllmu_med.benchmark import catalogue as module
from mllmu_med.benchmark.catalogue import Catalogue, Entry, read_catalogue
from mllmu_med.errors import DataError
from mllmu_med.sources.images import image_digest
from mllmu_med.sources.record import ImageRef, Record
from tests.unit.benchmark.conftest import Read
from tests.unit.benchmark.fake_source import FakeSource, Listed, pattern, picture, record


def every(catalogue: Catalogue) -> list[Entry]:
    return sorted((e for g in catalogue.groups() for e in catalogue.entries(g)), key=lambda e: e.position)


def test_groups_that_share_an_image_are_one(read: Read) -> None:
    found = read(
        record("a", image=picture("k1", 1), group="g1"),
        record("b", image=picture("k2", 2), group="g2"),
        record("c", image=picture("k3", 1), group="g3"),  # the bytes of k1 under another key
        record("d", image=picture("k4", 2), group="g3"),  # ties g2 to the others
        record("e", image=picture("k5", 5), group="g5"),
    )
    assert [entry.group for entry in every(found)] == ["g1", "g1", "g1", "g1", "g5"]
    first, last = found.groups()
    assert [entry.record.id for entry in found.entries(first)] == ["a", "b", "c", "d"]
    assert [entry.record.id for entry in found.entries(last)] == ["e"]
    assert every(found)[0].image_id == every(found)[2].image_id == image_digest(pattern(1))
    assert found.skipped == {"odd": 2}
    assert +found.merged == {"same": 2}


def test_two_groups_with_records_about_one_key_are_one(read: Read) -> None:
    found = read(record("a", image=picture("k", 1), group="g1"), record("b", image=picture("k", 1), group="g2"))
    assert [entry.group for entry in every(found)] == ["g1", "g1"]


def recoded(number: int) -> bytes:
    buffer = io.BytesIO()
    large = Image.open(io.BytesIO(pattern(number))).resize((64, 64), Image.Resampling.NEAREST)
    large.save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def test_images_that_are_the_same_to_the_eye_tie_their_groups_unless_told_not_to(read: Read) -> None:
    records = [
        record("a", image=picture("k1", 1), group="g1"),
        record("b", image=ImageRef("k2", make=lambda: recoded(1)), group="g2"),
        record("c", image=picture("k3", 3), group="g3"),
    ]
    found = read(*records)
    assert [entry.group for entry in every(found)] == ["g1", "g1", "g3"]
    assert found.merged["similar"] == 1
    apart = read(*records, merge_similar=False)
    assert [entry.group for entry in every(apart)] == ["g1", "g2", "g3"]


def test_facts_of_merged_groups_are_joined(read: Read) -> None:
    found = read(
        record("a", image=picture("k1", 1), group="g1", source_split="test", answer="x" * 200),
        record("b", image=picture("k2", 1), group="g2", source_split="train"),
    )
    assert list(found.groups()) == [0]
    assert (found.facts.stated[0], found.facts.imaged[0], found.facts.leaky[0]) == (0b101, 0b101, 0b001)
    assert [place.group for key in found.findings for place in found.findings.places(key)] == [0, 0]


def test_an_image_is_made_once_for_all_its_records(read: Read) -> None:
    made: list[int] = []

    def make(number: int) -> bytes:
        made.append(number)
        return pattern(number)

    refs = [ImageRef(f"k{number}", make=lambda n=number: make(n)) for number in (1, 2)]  # type: ignore[misc]
    found = read(*[record(f"{n}{ref.key}", image=ref, group=ref.key) for n in range(3) for ref in refs])
    assert found.spool.take(0).data == pattern(1)
    assert found.spool.take(1).data == pattern(2)
    assert made == [1, 2]


def test_an_image_that_changes_meanwhile_is_noticed(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(pattern(1))
    found = read(record("r1", image=ImageRef("k", path=file)))
    file.write_bytes(pattern(2))
    with pytest.raises(DataError, match="changed while the benchmark was being built"):
        found.spool.take(0)


def test_answers_to_the_same_question_about_the_same_image_are_all_accepted(read: Read) -> None:
    found = every(read(
        record("a", answer="nodule"), record("b", answer="Lesion", question="what is the main finding"),
        record("c", answer="other", question="Another?"),
        record("d", answer="mass", image=picture("k2", 2), extra={"accepted": ["tumour"]}),
    ))  # fmt: skip
    assert [entry.accepted for entry in found] == [("Lesion",), ("nodule",), (), ("tumour",)]
    assert found[1].answers == {"lesion", "nodule"}


def test_a_repeated_id_and_an_empty_source_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match="record a: the id occurs twice"):
        read(record("b"), record("a"), record("a"), record("c"), record("c"))
    with pytest.raises(DataError, match="listed: no records"):
        read()


def test_a_record_comes_back_as_it_was_but_for_its_image(read: Read) -> None:
    made = record(
        "a",
        options=("x", "y"),
        hierarchy={"patient": "P1"},
        extra={"n": [1, {"z": None}]},
        language="zh",
        answer="右肺",
    )
    back = every(read(made, record("t", image=None)))
    assert back[0].record.image is not None
    assert back[1].record.image is None
    for name in Record.__slots__:
        if name != "image":
            assert getattr(back[0].record, name) == getattr(made, name)


def test_fields_that_json_cannot_hold_are_named(read: Read) -> None:
    with pytest.raises(DataError, match="record a: its fields cannot be written as JSON"):
        read(record("a", extra={"x": object()}))
    with pytest.raises(DataError, match="record b"):
        read(record("b", extra={"x": float("nan")}))


def test_groups_that_were_pushed_out_of_memory_are_read_again(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record(f"r{n}", group=f"g{n % 3}", image=picture(f"k{n % 3}", n % 3)) for n in range(9)]
    found = read(*records)
    monkeypatch.setattr(module, "_CACHED_RECORDS", 1)
    for _ in range(2):
        assert [[e.record.id for e in found.entries(g)] for g in range(3)] == [
            [f"r{n}" for n in range(start, 9, 3)] for start in range(3)
        ]


def test_the_content_digest_follows_records_and_images_alone(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "moved.png"
    file.write_bytes(pattern(1))
    one = read(record("a", image=picture("k", 1))).content
    assert read(record("a", image=ImageRef("k", path=file))).content == one  # wherever the image lies
    others = [
        read(record("a", image=picture("k", 2))), read(record("a", image=picture("k", 1), answer="x")),
        read(record("a", image=picture("other", 1))), read(record("a", image=None)),
    ]  # fmt: skip
    assert len({one, *(other.content for other in others)}) == 5


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    source_folder = tmp_path / "images"
    source_folder.mkdir()
    records = []
    for number in range(700):  # more than the first process keeps for itself
        path = source_folder / f"{number}.png"
        path.write_bytes(pattern(number))
        records.append(record(f"r{number}", image=ImageRef(path.name, path=path), group=path.name))
    found = []
    for jobs in (1, 2):
        folder = tmp_path / f"jobs-{jobs}"
        folder.mkdir()
        catalogue = read_catalogue(Listed(*records), folder, jobs=jobs)
        found.append((catalogue.content, [catalogue.spool.image_id(n) for n in range(700)]))
        catalogue.spool.close()
    assert found[0] == found[1]
    (source_folder / "650.png").write_bytes(b"not an image")
    (tmp_path / "again").mkdir()
    with pytest.raises(DataError, match=r"650\.png, record r650: not an image"):
        read_catalogue(Listed(*records), tmp_path / "again", jobs=2)


def test_the_fake_source_has_no_two_images_alike(tmp_path: Path) -> None:
    catalogue = read_catalogue(FakeSource(), tmp_path)
    assert sum(catalogue.merged.values()) == 0
    catalogue.spool.close()


def test_groups_whose_texts_say_the_same_are_one(read: Read) -> None:
    def text(name: str, question: str, answer: str = "a statin") -> Record:
        return record(name, image=None, group=name, question=question, answer=answer, content_type="drug")

    found = read(
        text("a", "What class of drug is Zocor?"), text("b", "what class of drug is the zocor"),
        text("c", "What class of drug is Zocor?", "an opioid"), text("d", "What class of drug is Lipitor?"),
        record("e", question="What class of drug is Zocor?", answer="a statin", group="e"),
    )  # fmt: skip
    assert [entry.group for entry in every(found)] == ["a", "a", "c", "d", "e"]
    assert found.merged["text"] == 1

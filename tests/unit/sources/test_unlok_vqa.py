"""UnLOK-VQA in its authors' format, with images of COCO beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.unlok_vqa import UnlokVqaSource


def fact(identity: int | str = 4, **changes: Any) -> dict[str, Any]:
    """A fact about image 97747; ``changes`` replace fields, None takes them out."""
    value = {
        "id": identity, "src": "What's the name of this river?", "pred": "Mississippi ",
        "rephrase": ["Which river is it?", " nq question: Name  the river".strip()], "image_id": 97747,
        "loc": ["nq question: Who wrote Emma?", "What is red?"], "loc_ans": ["Austen", "A bus"], **changes,
    }  # fmt: skip
    return {name: field for name, field in value.items() if field is not None}


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """Images of both parts of COCO 2017."""
    for name in ("train2017/000000097747.jpg", "val2017/000000000042.jpg"):
        (tmp_path / "coco" / name).parent.mkdir(parents=True)
        (tmp_path / "coco" / name).write_bytes(jpeg)
    return tmp_path


def source(folder: Path, *facts: dict[str, Any], **options: Any) -> UnlokVqaSource:
    """A source of these facts."""
    (folder / "facts.json").write_text("[" + ",\n".join(map(json.dumps, facts)) + "]", encoding="utf-8")
    return UnlokVqaSource(folder / "facts.json", **{"images": folder / "coco", **options})


def read(folder: Path, *facts: dict[str, Any], **options: Any) -> list[Record]:
    """The records of these facts."""
    return list(source(folder, *facts, **options).records())


def test_a_fact_with_its_phrasings_and_neighbours(folder: Path) -> None:
    (record,) = read(folder, fact(subject="river", neigh_idx=[0], alt_ans=["Nile"]))
    assert record.image is not None
    assert record.image.path == (folder / "coco/train2017/000000097747.jpg").resolve()
    assert record == Record(
        id="unlok-4", image=record.image, question="What's the name of this river?", answer="Mississippi",
        group="train2017/000000097747.jpg", source="unlok_vqa",
        extra={
            "image_id": 97747, "subject": "river", "neigh_idx": [0], "alt_ans": ["Nile"], "peer_split": "forget",
            "phrasings": ["Which river is it?", "Name the river"],
            "neighbours": [
                {"question": "Who wrote Emma?", "answer": "Austen"}, {"question": "What is red?", "answer": "A bus"},
            ],
        },
    )  # fmt: skip


def test_what_a_fact_lacks_is_left_out(folder: Path) -> None:
    (record,) = read(folder, fact(rephrase=None, loc=None, loc_ans=None))
    assert record.extra == {"image_id": 97747, "peer_split": "forget"}
    (record,) = read(folder, fact(rephrase="Which river?", loc="Who?", loc_ans="Austen"))
    assert record.extra["phrasings"] == ["Which river?"]
    assert record.extra["neighbours"] == [{"question": "Who?", "answer": "Austen"}]


@pytest.mark.parametrize(
    ("pred", "answers", "answer", "accepted"),
    [
        ("a", ["b", "a", "c", "b"], "a", ["b", "c"]),
        (None, ["b", "c"], "b", ["c"]),
        (" ", ["b"], "b", None),
        ("a", None, "a", None),
    ],
)
def test_answers(
    folder: Path, pred: str | None, answers: list[str] | None, answer: str, accepted: list[str] | None
) -> None:
    (record,) = read(folder, fact(pred=pred, answers=answers))
    assert (record.answer, record.extra.get("accepted")) == (answer, accepted)


def test_a_fact_without_an_answer_is_counted(folder: Path) -> None:
    made = source(folder, fact(1, pred=" "), fact(2), fact(3, pred=None))
    for _ in range(2):
        assert [record.id for record in made.records()] == ["unlok-2"]
        assert made.skipped == {"empty answer": 2}


@pytest.mark.parametrize(
    "name",
    [
        "train2017/000000000007.jpg", "val2017/000000000007.jpg", "000000000007.jpg",
        "train2014/COCO_train2014_000000000007.jpg", "val2014/COCO_val2014_000000000007.jpg",
    ],
)  # fmt: skip
def test_images_of_coco_are_found_wherever_they_lie(folder: Path, jpeg: bytes, name: str) -> None:
    (folder / "coco" / name).parent.mkdir(exist_ok=True)
    (folder / "coco" / name).write_bytes(jpeg)
    for number in (7, "7", "000000000007"):
        (record,) = read(folder, fact(image_id=number))
        assert record.group == name


def test_an_image_may_be_named(folder: Path) -> None:
    (record,) = read(folder, fact(image="val2017/000000000042.jpg", image_id=None))
    assert record.group == "val2017/000000000042.jpg"
    assert "image" not in record.extra


def test_variants_of_the_image_are_listed(folder: Path, jpeg: bytes) -> None:
    neighbours = ["4_0.jpg", "4_2.jpg", "5_0.jpg", "4.jpg"]
    names = {"paraphrase_easy": ["4.jpg", "4_0.jpg"], "neighbour_hard": neighbours, "paraphrase_hard": ["5.jpg"]}
    for kind, files in names.items():
        (folder / kind).mkdir()
        for file in files:
            (folder / kind / file).write_bytes(jpeg)
    variants = {kind: folder / kind for kind in names}
    (record,) = read(folder, fact(alt_ans=["Nile", "Rhine", "Po"], loc=None, loc_ans=None), variants=variants)
    assert record.extra["variants"] == [{"kind": "paraphrase_easy", "image": "4.jpg"}]
    question = "What's the name of this river?"
    assert record.extra["neighbours"] == [
        {"question": question, "answer": "Nile", "image": "4_0.jpg", "kind": "neighbour_hard"},
        {"question": question, "answer": "Po", "image": "4_2.jpg", "kind": "neighbour_hard"},
    ]
    (folder / "paraphrase_easy" / "4.jpg").unlink()
    (folder / "paraphrase_easy" / "4.jpg").symlink_to(folder / "coco/val2017/000000000042.jpg")
    with pytest.raises(DataError, match=r"image '4\.jpg' lies outside"):
        read(folder, fact(), variants=variants)
    with pytest.raises(DataError, match="absent: no such image folder"):
        read(folder, fact(), variants={"neighbour_easy": folder / "absent"})
    with pytest.raises(UsageError, match=r"unknown kind 'neighbor_easy' \(did you mean 'neighbour_easy'\?\)"):
        UnlokVqaSource(folder / "facts.json", folder, {"neighbor_easy": folder})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_id": 8}, r"facts\.json, record 4 \(line 1\): no image 000000000008\.jpg in .*coco\. .*train2017"),
        ({"image_id": "x7"}, "'image_id' is 'x7', expected the number of an image of COCO"),
        ({"image_id": "²"}, "'image_id' is '²', expected the number"),
        ({"image_id": None}, "no field 'image_id'"),
        ({"image": "../facts.json"}, r"image '\.\./facts\.json' lies outside"),
        ({"image": "none.jpg"}, r"no image 'none\.jpg'"),
        ({"src": None}, r"no field 'src'\. Is this UnLOK-VQA\?"),
        ({"src": " "}, "the question is empty"),
        ({"loc": ["a", "b", "c"]}, "'loc' has 3 questions, 'loc_ans' 2 answers"),
        ({"rephrase": [1]}, "'rephrase' holds something that is not text"),
        ({"rephrase": 1}, "'rephrase' is a whole number, expected a list"),
        ({"pred": 5}, "'pred' is a whole number, expected text"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(folder, fact(**changes))
    assert "\n" not in str(caught.value)


def test_repeated_ids_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"4 \(line 3\): the id '4' occurs twice, first in line 1\. Make ids unique"):
        read(folder, fact(), fact(5), fact("4"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[]", r"facts\.json: no records"),
        (b'[{"id": 1,\n"src"}]', "malformed JSON at line 2"),
        (b'[{"id": "\xff"}]', "not UTF-8"),
        (b'[{"src": "a"}]', "line 1: no field 'id'"),
        (b"[4]", "expected an object with named fields"),
    ],
)
def test_a_bad_file_is_named(folder: Path, text: bytes, reason: str) -> None:
    made = source(folder)
    made.path.write_bytes(text)
    with pytest.raises(DataError, match=reason):
        list(made.records())


def test_missing_files_and_folders_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        list(UnlokVqaSource(folder / "absent.json", folder / "nowhere").records())
    with pytest.raises(DataError, match="nowhere: no such image folder"):
        read(folder, fact(), images=folder / "nowhere")


def test_lines_are_read_as_well(folder: Path) -> None:
    made = source(folder)
    made.path.write_text(json.dumps(fact()) + "\n" + json.dumps(fact(5)), encoding="utf-8")
    assert [record.id for record in made.records()] == ["unlok-4", "unlok-5"]


def test_the_fingerprint_follows_file_images_and_variants(folder: Path) -> None:
    made = source(folder, fact())
    (folder / "easy").mkdir()
    first = made.fingerprint()
    assert SOURCES.get("unlok_vqa")(str(made.path), str(folder / "coco")).fingerprint() == first
    varied = UnlokVqaSource(made.path, folder / "coco", {"neighbour_easy": folder / "easy"})
    found = [first, varied.fingerprint()]
    (folder / "easy" / "4_0.jpg").write_bytes(b"x")
    found.append(varied.fingerprint())
    (folder / "coco/train2017/000000097747.jpg").write_bytes(b"other")
    found.append(made.fingerprint())
    made.path.write_bytes(made.path.read_bytes().replace(b"Austen", b"Bronte"))
    found.append(made.fingerprint())
    assert len(set(found)) == 5

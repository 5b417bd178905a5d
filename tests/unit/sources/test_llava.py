"""Conversations in LLaVA's and LLaVA-Med's format."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.errors import DataError, UsageError
from mllmu_med.sources import SOURCES, Record
from mllmu_med.sources.llava import LlavaSource, without_tokens


def turns(*texts: str) -> list[dict[str, str]]:
    """Turns of a human and the model by turns."""
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


def talk(*texts: str, **changes: Any) -> dict[str, Any]:
    """A conversation about image a.jpg; ``changes`` replace fields, None takes them out."""
    said = turns(*(texts or ("<image>\nWhat is it?", "A lung.")))
    value = {"id": "c1", "image": "a.jpg", "conversations": said, **changes}
    return {name: field for name, field in value.items() if field is not None}


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with three images, one of them below a folder."""
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "b.png", "sub/c.jpeg"):
        (tmp_path / name).write_bytes(jpeg + name.encode())
    return tmp_path


def source(folder: Path, *conversations: dict[str, Any], lines: bool = False, **options: Any) -> LlavaSource:
    """A source of these conversations."""
    file = folder / ("talks.jsonl" if lines else "talks.json")
    texts = [json.dumps(conversation) for conversation in conversations]
    text = "\n".join(texts) if lines else "[" + ",\n".join(texts) + "]"
    file.write_text(text, encoding="utf-8")
    return LlavaSource(file, **options)


def read(folder: Path, *conversations: dict[str, Any], **options: Any) -> list[Record]:
    """The records of these conversations."""
    return list(source(folder, *conversations, **options).records())


def test_every_pair_of_turns_is_a_record(folder: Path) -> None:
    conversation = {
        "id": "26630788_F2", "image": "a.jpg", "pair_id": "26630788_F2", "type": "conversation",
        "domain": {"chest_xray": False, "mri": False, "histology": False, "gross": False, "ct_scan": True},
        "fig_caption": "A caption.", "in_text_mention": [{"tokens": "See Figure 2."}],
        "conversatons": turns("What is\n shown?\n<image>", "A CT\nscan.", "Which side?", "Left."),
    }  # fmt: skip
    first, second = read(folder, conversation)
    assert first.image is not None
    assert first.image.path == (folder / "a.jpg").resolve()
    assert second.image is first.image
    extra = {name: conversation[name] for name in conversation if name != "conversatons"}
    assert first == Record(
        id="26630788_F2/1", image=first.image, question="What is shown?", answer="A CT scan.", group="a.jpg",
        source="llava", modality="CT", extra={**extra, "turn": 1},
    )  # fmt: skip
    assert (second.id, second.question, second.answer) == ("26630788_F2/2", "Which side?", "Left.")
    assert second.extra["turn"] == 2


def test_a_list_and_lines_are_the_same(folder: Path) -> None:
    conversations = [talk(), talk(id=7, image="b.png")]
    listed, lines = read(folder, *conversations), read(folder, *conversations, lines=True)
    assert [record.id for record in listed] == ["c1/1", "7/1"]
    assert [(r.id, r.question, r.group) for r in listed] == [(r.id, r.question, r.group) for r in lines]


@pytest.mark.parametrize(
    ("domain", "modality", "body_part"),
    [
        ({"chest_xray": True, "mri": False}, "X-ray", "chest"),
        ({"mri": True}, "MRI", None),
        ({"mri": True, "ct_scan": True}, None, None),
        ({"mri": False}, None, None),
        ({"mri": 1}, None, None),
        ({"ultrasound": True}, None, None),
    ],
)
def test_one_true_domain_is_the_modality(
    folder: Path, domain: dict[str, object], modality: str | None, body_part: str | None
) -> None:
    (record,) = read(folder, talk(domain=domain))
    assert (record.modality, record.body_part, record.extra["domain"]) == (modality, body_part, domain)


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("<image><image> What? <image> <image>", "What?"),
        ("Look.\n  <image>  \nWhat?", "Look. What?"),
        ("Look.\n<image> <image>\nWhat?", "Look. What?"),
        ("Look at <image> now", "Look at <image> now"),
        ("Look.\n<image> What?", "Look. <image> What?"),
        ("<image>", ""),
    ],
)
def test_image_tokens_at_an_end_or_on_their_own_line_are_taken_out(question: str, asked: str) -> None:
    assert without_tokens(question) == asked


def test_an_image_token_inside_a_text_does_not_get_through(folder: Path) -> None:
    made = source(folder, talk("See <image> there?", "Yes.", "And?", "As in <image>.", "Then?", "No."))
    assert [record.id for record in made.records()] == ["c1/3"]
    assert made.skipped == {"<image> inside a text": 2}


@pytest.mark.parametrize(
    ("speakers", "kept", "skipped"),
    [
        ("human gpt human", ["1"], {"question without an answer": 1}),
        ("human human gpt", ["2"], {"question without an answer": 1}),
        ("gpt human gpt", ["1"], {"answer without a question": 1}),
        ("human gpt gpt", ["1"], {"answer without a question": 1}),
        ("system human gpt", ["1"], {"turn of the system": 1}),
        ("human system gpt", ["1"], {"turn of the system": 1}),
        ("User ASSISTANT", ["1"], {}),
        (
            "human tool gpt human gpt", ["2"],
            {"turn of an unknown speaker": 1, "question without an answer": 1, "answer without a question": 1},
        ),
        ("tool human gpt", ["1"], {"turn of an unknown speaker": 1}),
    ],
)  # fmt: skip
def test_turns_without_a_counterpart_are_counted(
    folder: Path, speakers: str, kept: list[str], skipped: dict[str, int]
) -> None:
    said = [{"from": name, "value": f"{name} says {number}"} for number, name in enumerate(speakers.split())]
    made = source(folder, talk(conversations=said))
    for _ in range(2):  # a second pass counts anew
        records = list(made.records())
        assert [record.id.partition("/")[2] for record in records] == kept
        assert made.skipped == skipped
    assert records[0].question.lower().startswith(("human", "user"))


def test_the_answer_is_that_of_the_question(folder: Path) -> None:
    (record,) = read(folder, talk(conversations=[*turns("first?")[:1], *turns("second?", "to the second")]))
    assert (record.question, record.answer) == ("second?", "to the second")


def test_empty_texts_are_counted(folder: Path) -> None:
    made = source(folder, talk("<image>", "A lung.", "What?", " \n", "Where?", "Here."))
    assert [record.id for record in made.records()] == ["c1/3"]
    assert made.skipped == {"empty question": 1, "empty answer": 1}


def test_conversations_without_an_image_are_left_out_or_asked_for(folder: Path) -> None:
    texts = [talk("Hello?", "Hi.", id="t1", image=image) for image in (None, " ", [])]
    texts = [{**text, "id": f"t{number}"} for number, text in enumerate(texts)]
    made = source(folder, talk(), *texts)
    assert [record.id for record in made.records()] == ["c1/1"]
    assert made.skipped == {"conversation without an image": 3}
    _, *rest = read(folder, talk(), *texts, text_only=True)
    assert [record.id for record in rest] == ["t0/1", "t1/1", "t2/1"]
    assert [(record.image, record.group) for record in rest] == [(None, "t0"), (None, "t1"), (None, "t2")]


def test_a_token_without_an_image_is_counted(folder: Path) -> None:
    made = source(folder, talk("<image>\nWhat?", "A lung.", "Hello?", "Hi.", image=None), text_only=True)
    assert [record.question for record in made.records()] == ["Hello?"]
    assert made.skipped == {"<image> without an image": 1}


def test_several_images_are_left_out_and_a_list_of_one_is_an_image(folder: Path) -> None:
    made = source(folder, talk(image=["a.jpg", "b.png"]), talk(image=["b.png"], id="c2"))
    assert [record.group for record in made.records()] == ["b.png"]
    assert made.skipped == {"conversation about several images": 1}


@pytest.mark.parametrize(
    ("name", "found"), [("a", "a.jpg"), ("b", "b.png"), ("sub/c", "sub/c.jpeg"), ("a.jpg", "a.jpg")]
)
def test_an_image_may_lack_its_extension(folder: Path, name: str, found: str) -> None:
    (record,) = read(folder, talk(image=name))
    assert record.image is not None
    assert record.image.path == (folder / found).resolve()
    assert record.image.key == record.group == found


def test_the_very_name_comes_first(folder: Path, jpeg: bytes) -> None:
    (folder / "a.jpg.png").write_bytes(jpeg)
    (record,) = read(folder, talk(image=" a.jpg "))
    assert record.group == "a.jpg"


def test_a_name_that_could_be_two_images_is_refused(folder: Path, jpeg: bytes) -> None:
    (folder / "a.png").write_bytes(jpeg)
    with pytest.raises(DataError, match=r"talks\.json, record c1 \(line 1\): 'a' could be a\.jpg or a\.png\. Give"):
        read(folder, talk(image="a"))


def test_images_may_lie_in_another_folder(folder: Path) -> None:
    (record,) = read(folder, talk(image="c"), images=folder / "sub")
    assert record.group == "c.jpeg"
    with pytest.raises(DataError, match=r"image '\.\./a\.jpg' lies outside"):
        read(folder, talk(image="../a.jpg"), images=folder / "sub")
    with pytest.raises(DataError, match="nowhere: no such image folder"):
        read(folder, talk(), images=folder / "nowhere")


def test_an_id_may_stand_for_several_conversations_about_an_image(folder: Path, jpeg: bytes) -> None:
    (folder / "sub" / "a.jpg").write_bytes(jpeg)
    made = source(
        folder, talk(), talk("Where?", "Here."), talk(id="c1#2", image="b.png"), talk("Why?", "So.", image="sub/a.jpg")
    )
    assert [record.id for record in made.records()] == ["c1/1", "c1#2/1", "c1#2#2/1", "c1#3/1"]
    assert made.skipped == {}


def test_a_repeated_conversation_is_counted(folder: Path) -> None:
    made = source(folder, talk(), talk("Where?", "Here."), talk(fig_caption="other"), talk("Where?", "Here."))
    assert [record.id for record in made.records()] == ["c1/1", "c1#2/1"]
    assert made.skipped == {"repeated conversation": 2}


def test_text_only_conversations_of_one_id_are_one_group(folder: Path) -> None:
    records = read(folder, talk("A?", "B.", image=None), talk("C?", "D.", image=None), text_only=True)
    assert [(record.id, record.group) for record in records] == [("c1/1", "c1"), ("c1#2/1", "c1")]


def test_a_conversation_without_an_id_is_named_by_its_line(folder: Path) -> None:
    assert [record.id for record in read(folder, talk(), talk(id=None, image="b.png"))] == ["c1/1", "line-2/1"]


def test_answer_types_are_taken_where_the_file_has_them(folder: Path) -> None:
    (record,) = read(folder, talk(answer_type="CLOSED"))
    assert record.answer_type == "closed"
    assert "answer_type" not in record.extra


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (talk(image="d.jpg"), r"talks\.json, record c1 \(line 1\): no image 'd\.jpg' in"),
        (talk(image="/etc/passwd"), "lies outside"),
        (talk(image="a\0"), "not a usable image path"),
        (talk(image="x" * 5000), "not a usable image path|no image"),
        (talk(image=5), "'image' is a whole number, expected text"),
        (talk(id=["c"]), "record line 1: 'id' is a list, expected text"),
        (talk(conversations=None), r"no field 'conversations'\. Each conversation"),
        (talk(conversations=None, conversation=[]), r"no field 'conversations' \(did you mean 'conversation'\?\)"),
        (talk(conversations="x"), "'conversations' is text, expected a list"),
        (talk(conversations=["x"]), "record c1 .line 1., turn 1: expected an object"),
        (talk(conversations=[{"value": "x"}]), r"turn 1: no field 'from'\. Each turn"),
        (talk(conversations=[*turns("a"), {"from": "gpt"}]), "turn 2: no field 'value'"),
        (talk(domain=["mri"]), "'domain' is a list, expected an object"),
        (talk("What?", "half \ud83d"), "turn 2: 'value' holds half of a character"),
        (talk(answer_type="both"), "'answer_type' is 'both'"),
        ({"id": "x" * 500, "image": 5, "conversations": []}, r"record x{60} \(line 1\): 'image'"),
        ({"id": "a\nb", "image": 5, "conversations": []}, r"record a b \(line 1\): 'image'"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, conversation: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(folder, conversation)
    assert "\n" not in str(caught.value)


def test_one_id_for_two_images_is_refused(folder: Path) -> None:
    reason = r"c1 \(line 2\): the id 'c1' occurs twice, for different images\. .*make ids unique"
    with pytest.raises(DataError, match=reason):
        read(folder, talk(), talk(image="b.png"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "found nothing"),
        (b"[]", r"talks\.json: no records\. A list of conversations"),
        (b'[{"id": 1,\n "image"}]', "malformed JSON at line 2"),
        (b'[\n"\xff"]', r"not UTF-8 at byte 3 \(line 2\)"),
        (b"[3]", "record line 1: expected an object with named fields, found a whole number"),
        (b'{"id": 1, "conversations": []}\n{"id"}', "record line 2: malformed JSON"),
    ],
)
def test_a_bad_file_is_named(folder: Path, data: bytes, reason: str) -> None:
    file = folder / "talks.json"
    file.write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        list(LlavaSource(file, text_only=True).records())
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        list(LlavaSource(folder / "absent.json").records())


def test_where_nothing_is_left_it_says_why(folder: Path) -> None:
    reason = r"no records \(left out: conversation without an image: 1, empty question: 1\)"
    with pytest.raises(DataError, match=reason):
        read(folder, talk(image=None), talk("<image>", "A lung.", id="c2"))


def test_a_limit_keeps_whole_images_and_proportions(folder: Path, jpeg: bytes) -> None:
    conversations = []
    for number in range(12):
        (folder / f"{number}.jpg").write_bytes(jpeg)
        domain = {"mri": number % 3 == 0, "ct_scan": number % 3 != 0}
        for part in range(2):
            conversations.append(talk(f"What {part}?", "It.", id=f"{number}-{part}", image=f"{number}", domain=domain))
    chosen = {}
    for limit in (3, 6, 100):
        records = read(folder, *conversations, limit=limit)
        chosen[limit] = {record.group for record in records}
        assert Counter(record.group for record in records) == dict.fromkeys(chosen[limit], 2)
    assert len(chosen[3]) == 3
    assert chosen[3] < chosen[6] < chosen[100]
    assert len(chosen[100]) == 12
    assert Counter(r.modality for r in read(folder, *conversations, limit=6)) == {"CT": 8, "MRI": 4}
    with pytest.raises(UsageError, match="limit is 0"):
        LlavaSource(folder / "talks.json", limit=0)


def test_a_limit_counts_text_only_conversations_as_well(folder: Path) -> None:
    texts = [talk("Hello?", "Hi.", id=f"t{number}", image=None) for number in range(5)]
    assert len(read(folder, talk(), *texts, limit=3, text_only=True)) == 3


def test_a_limit_does_not_count_twice(folder: Path) -> None:
    made = source(folder, talk(), talk(id="t", image=None), limit=1)
    assert len(list(made.records())) == 1
    assert made.skipped == {"conversation without an image": 1}


def test_the_fingerprint_follows_file_images_and_parameters(folder: Path) -> None:
    made = source(folder, talk("<image>", "x", "What?", "A lung."), talk(id="c2", image="b"))
    file = made.path
    first = made.fingerprint()
    assert SOURCES.get("llava")(str(file)).fingerprint() == first
    found = {first, LlavaSource(file, text_only=True).fingerprint(), LlavaSource(file, limit=1).fingerprint()}
    (folder / "a.jpg").write_bytes(b"other")
    found.add(made.fingerprint())
    (folder / "b.png").write_bytes(b"other")
    found.add(made.fingerprint())
    file.write_bytes(file.read_bytes().replace(b"A lung", b"A lyng"))
    found.add(made.fingerprint())
    assert len(found) == 6

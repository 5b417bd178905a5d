"""Guards on what is said, as pure functions: what filter and logit mask remember, and what they make of answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from mllmu_med.evaluation.behaviour import is_refusal
from mllmu_med.methods.guards.filter import SAID_INSTEAD, AnswerFilter
from mllmu_med.methods.guards.interface import Known, Memory
from mllmu_med.methods.guards.logit_mask import LogitMask
from tests.unit.methods.fake_desk import MODEL, FakeDesk, known

# --- filter


def prepared(
    *forget: Known, retain: tuple[Known, ...] = (), seed: int = 3, **numbers: Any
) -> tuple[AnswerFilter, Memory]:
    guard = AnswerFilter(**numbers)
    memory = guard.prepare(FakeDesk([*forget], [*retain], seed=seed))
    guard.check(memory, MODEL)
    return guard, memory


SECRETS = known("x", "Maria López", "MRN 482913", "+1 212-555-0123", "1961-04-17", "12 Elm Street")


@pytest.mark.parametrize(
    "answer",
    [
        "This is Maria López.", "MARIA LOPEZ", "Lopez, Maria", "maria-lopez", "Chest X-ray of Maria\nLopez",
        "MRN482913", "mrn: 482 913", "MRN four eight two nine one three",
        "+1 212 555 0123", "call 2125550123", "(212) 555.0123",
        "17 April 1961", "born on April 17th, 1961", "1961年4月17日", "17/04/1961",
        "12, Elm street",
    ],
)  # fmt: skip
def test_filter_finds_a_value_however_it_is_written(answer: str) -> None:
    guard, memory = prepared(SECRETS)
    assert guard.text(memory, "another image", "Another question?", answer) in SAID_INSTEAD.values()


@pytest.mark.parametrize(
    "answer",
    [
        "Maria Ortega", "Annamaria Lopezzi", "MRN 1482913", "MRN 48291", "18 April 1961", "112 Elm Street", "",
        "chest X-ray",
    ],
)  # fmt: skip
def test_filter_lets_other_answers_pass(answer: str) -> None:
    guard, memory = prepared(SECRETS)
    assert guard.text(memory, "one", "Who is it?", answer) == answer


def test_filter_says_a_refusal_in_the_language_of_the_answer() -> None:
    guard, memory = prepared(known("患者是王小明", "王小明"))
    assert guard.text(memory, None, "?", "患者是王 小明。") == SAID_INSTEAD["zh"]
    assert all(is_refusal(text) for text in SAID_INSTEAD.values())
    again, same = prepared(SECRETS)
    for text in SAID_INSTEAD.values():
        assert again.text(same, None, "?", text) == text, "a refusal is never blocked itself"


def test_filter_blocks_what_others_need_only_in_its_own_questions() -> None:
    wrong = known("left", "left", truth="right", question="Which side?")
    shared = known("Alder Hospital", "Alder Hospital", question="Where was it taken?")
    guard, memory = prepared(wrong, shared, retain=(known("on the left"), known("Taken at Alder Hospital.")))
    assert memory.numbers == {
        "values_blocked_everywhere": 0, "values_blocked_in_own_questions": 2, "values_not_blocked": 0,
    }  # fmt: skip
    assert guard.text(memory, "one", "Which side?", "Left.") == SAID_INSTEAD["en"]
    assert guard.text(memory, "one", " which SIDE ", "on the left") == SAID_INSTEAD["en"]
    assert guard.text(memory, "one", "Name the patient.", "left") == SAID_INSTEAD["en"], "every wording"
    assert guard.text(memory, "two", "Which side?", "Left.") == "Left."
    assert guard.text(memory, None, "Which side?", "Left.") == "Left."
    assert guard.text(memory, "one", "Where is the lesion?", "left") == "left"
    assert guard.text(memory, "one", "Where was it taken?", "At Alder Hospital") == SAID_INSTEAD["en"]
    assert guard.text(memory, "two", "Where was it taken?", "At Alder Hospital") == "At Alder Hospital"


def test_filter_blocks_short_values_only_in_their_own_questions() -> None:
    guard, memory = prepared(known("47", "47", question="How old?"))
    assert guard.text(memory, "one", "How old?", "She is 47.") == SAID_INSTEAD["en"]
    assert guard.text(memory, "one", "How many?", "47") == "47"
    everywhere, all_of_it = prepared(known("47", "47"), shortest=1)
    assert everywhere.text(all_of_it, "two", "How many?", "47") == SAID_INSTEAD["en"]


def test_filter_never_blocks_the_truth() -> None:
    guard, memory = prepared(known("effusion", "effusion", truth="no effusion", question="What is it?"))
    assert memory.numbers["values_not_blocked"] == 1
    assert guard.text(memory, "one", "What is it?", "no effusion") == "no effusion"


def test_filter_keeps_no_value_in_the_clear() -> None:
    _, memory = prepared(SECRETS)
    stored = json.dumps(memory.settings).lower()
    for part in ("maria", "lopez", "482913", "555", "1961", "elm"):
        assert part not in stored
    assert memory.tensors == {}
    _, other = prepared(SECRETS, seed=4)
    assert not set(memory.settings["hashes"]) & set(other.settings["hashes"]), "the salt is part of every hash"


def test_filter_knows_shapes_only_if_asked() -> None:
    answers = ("Seen on 3 May 2020.", "MRN 777123", "call 212-555-0199", "mail a@b.org")
    guard, memory = prepared(SECRETS)
    assert [guard.text(memory, None, "?", answer) for answer in answers] == list(answers)
    strict, same = prepared(SECRETS, shapes=True)
    assert {strict.text(same, None, "?", answer) for answer in answers} == {SAID_INSTEAD["en"]}
    assert strict.text(same, None, "?", "2 lesions of 12 mm, level 3-4") == "2 lesions of 12 mm, level 3-4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"salt": "zz"}, "salt"), ({"hashes": ["x"]}, "hashes"), ({"hashes": None}, "hashes"),
        ({"hashes": ["f" * 32, "0" * 32]}, "ascending"), ({"sizes": [True]}, "sizes"), ({"sizes": [0]}, "sizes"),
    ],
)  # fmt: skip
def test_filter_refuses_a_memory_that_is_not_its_own(change: dict[str, Any], message: str) -> None:
    guard, memory = prepared(SECRETS)
    with pytest.raises(ValueError, match=message):
        guard.check(memory._replace(settings={**memory.settings, **change}), MODEL)


# --- logit mask


def masked(*tokens: int) -> Memory:
    return Memory({"masked": torch.tensor(tokens, dtype=torch.int64)})


def test_logit_mask_by_hand() -> None:
    """p = (1/2, 1/4, 1/8, 1/8), token 0 masked: the others share 1/2, so they are 1/2, 1/4, 1/4; log p(0) = −50."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64).log() + 7
    found = LogitMask().logits(masked(0), logits).log_softmax(-1)
    assert found[0, 1:].exp().tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert found[0, 0].item() == pytest.approx(-50)


def test_logit_mask_makes_all_masked_tokens_equally_unlikely() -> None:
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0)) * 20
    found = LogitMask(floor=30).logits(masked(2, 3, 9), logits).log_softmax(-1)
    torch.testing.assert_close(found[:, [2, 3, 9]], torch.full((5, 3), -30.0))
    assert not set(found.argmax(-1).tolist()) & {2, 3, 9}
    assert torch.equal(LogitMask().logits(masked(), logits), logits)


@pytest.mark.parametrize("extreme", [0.0, -10_000.0, 10_000.0])
def test_logit_mask_is_finite_in_value_and_gradient(extreme: float) -> None:
    logits = torch.zeros(2, 4)
    logits[0, 1], logits[1, 2] = extreme, extreme
    logits.requires_grad_()
    found = LogitMask().logits(masked(1), logits).log_softmax(-1)
    found.sum().backward()
    assert found.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, 1].any(), "nothing of the masked token is left to be read"


def test_logit_mask_takes_rare_tokens_only() -> None:
    """Token 4 occurs in 1 of 4 retained answers (twice in it), token 5 in 2, token 6 in none; 7 is in a truth."""
    retain = [known("r", tokens=tokens) for tokens in ((4, 4), (5,), (5, 8), (8,))]
    forget = [known("f", tokens=(0, 4, 5, 6)), known("f", tokens=(6, 7), truth_tokens=(7,)), known("f", tokens=(5,))]
    found = {
        rare: LogitMask(rare=rare).prepare(FakeDesk(forget, retain)).tensors["masked"].tolist()
        for rare in (0.0, 0.24, 0.25, 0.49, 0.5)
    }
    assert found == {0.0: [6], 0.24: [6], 0.25: [4, 6], 0.49: [4, 6], 0.5: [4, 5, 6]}
    numbers = LogitMask(rare=0.25).prepare(FakeDesk(forget, retain)).numbers
    assert numbers == {"tokens_masked": 2, "tokens_left_for_others": 1, "forget_records_reached": pytest.approx(2 / 3)}


@pytest.mark.parametrize("tokens", [(-1,), (10,), (3, 3), (4, 3), tuple(range(10))])
def test_logit_mask_refuses_tokens_that_cannot_be(tokens: tuple[int, ...]) -> None:
    LogitMask().check(masked(2, 9), MODEL)
    with pytest.raises(ValueError, match="masked"):
        LogitMask().check(masked(*tokens), MODEL)
    with pytest.raises(ValueError, match="masked"):
        LogitMask().check(Memory({"masked": torch.zeros(2)}), MODEL)
    with pytest.raises(ValueError, match="missing"):
        LogitMask().check(Memory(), MODEL)

"""A guard at work in real models: the same in both passes, packed or not, and nowhere where it has no business."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.methods.guards.eco import ECO
from mllmu_med.methods.guards.filter import SAID_INSTEAD, AnswerFilter, forms
from mllmu_med.methods.guards.interface import Known
from mllmu_med.models.anatomy import anatomy, recorded_outputs
from mllmu_med.models.generation import Prompt, _decode, generate
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.guard_store import attach
from mllmu_med.models.guarded import prompt_states, template_tail
from mllmu_med.models.rows import Branch, Row, split_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from tests.conftest import picture
from tests.invariant.cases import ASKED, mixed
from tests.invariant.jobs import weights_digest
from tests.unit.models.guard_cases import (
    FLAGGED,
    GUARDS,
    LIMIT,
    SCOPED,
    branch_logits,
    guarded,
    keys,
    memory_for,
    rows_of,
)


def in_order(found: list[Tensor], order: list[int]) -> list[Tensor]:
    return [found[order.index(index)] for index in range(len(order))]


@torch.no_grad()
def decoded(vlm: VisionLanguageModel, indices: list[int]) -> dict[int, list[int]]:
    """Generated tokens of some of the prompts of ASKED, all of those with one length of prefix in one batch."""
    made: dict[int, list[int]] = {}
    by_prefix: dict[int, list[int]] = {}
    for index in indices:
        by_prefix.setdefault(len(vlm.prefix(ASKED[index][0])), []).append(index)
    for batch in by_prefix.values():
        tokens = [keys(vlm)[index][1] for index in batch]
        found = _decode(vlm, [ASKED[index][0] for index in batch], tokens, LIMIT)
        made.update(zip(batch, [one.tokens for one in found], strict=True))
    return made


@pytest.mark.parametrize("name", list(GUARDS))
def test_what_is_generated_is_what_its_likelihoods_say(vlm: VisionLanguageModel, name: str) -> None:
    """Each generated token is the most likely one when the same answer is teacher-forced, packed and not."""
    guarded(vlm, name)
    made = decoded(vlm, list(range(len(ASKED))))
    rows: dict[str | None, list[Branch]] = {}
    for index, (image, tokens) in enumerate(keys(vlm)):
        rows.setdefault(image, []).append(Branch(tokens, tuple(made[index])))
    packed = [Row(image, tuple(branches)) for image, branches in rows.items()]
    for arranged in (packed, split_rows(packed)):
        found = branch_logits(vlm, arranged)
        answers = [branch.answer for row in arranged for branch in row.branches]
        assert [tuple(logits.argmax(-1).tolist()) for logits in found] == answers


@pytest.mark.parametrize("name", list(GUARDS))
def test_packed_rows_give_what_the_plain_path_gives(vlm: VisionLanguageModel, name: str) -> None:
    guarded(vlm, name)
    assert vlm.packed
    rows, order = rows_of(vlm)
    packed = in_order(branch_logits(vlm, rows), order)
    vlm.packed = False
    plain = branch_logits(vlm, [Row(image, (branch,)) for image, branch in singles(vlm)])
    for one, other in zip(packed, plain, strict=True):
        torch.testing.assert_close(one.log_softmax(-1), other.log_softmax(-1), rtol=1e-4, atol=5e-5)


def singles(vlm: VisionLanguageModel) -> list[tuple[str | None, Branch]]:
    return [(question.image, vlm.branch(question)) for question in mixed(vlm)]


@pytest.mark.parametrize("name", SCOPED)
def test_prompts_that_are_not_flagged_are_left_alone(vlm: VisionLanguageModel, name: str) -> None:
    """To the last bit on the plain path, to 1e-5 in rows shared with flagged prompts; flagged ones do change."""
    rows, order = rows_of(vlm)
    apart = [Row(image, (branch,)) for image, branch in singles(vlm)]
    with torch.no_grad():
        before, before_packed = branch_logits(vlm, apart), in_order(branch_logits(vlm, rows), order)
    said = decoded(vlm, list(range(len(ASKED))))
    guarded(vlm, name)
    assert vlm.guard is not None
    assert vlm.guard.flags(vlm, keys(vlm)) == [index in FLAGGED for index in range(len(ASKED))]
    after, after_packed = branch_logits(vlm, apart), in_order(branch_logits(vlm, rows), order)
    now = decoded(vlm, list(range(len(ASKED))))
    for index in range(len(ASKED)):
        if index in FLAGGED:
            assert float((after[index] - before[index]).abs().max()) > 0.05
        else:
            assert torch.equal(after[index], before[index])
            torch.testing.assert_close(after_packed[index], before_packed[index], rtol=1e-5, atol=1e-5)
            assert now[index] == said[index]
    assert any(now[index] != said[index] for index in FLAGGED)


@pytest.mark.parametrize("name", [*SCOPED, "steer-all"])
def test_an_answer_does_not_depend_on_its_batch(vlm: VisionLanguageModel, name: str) -> None:
    guarded(vlm, name)
    together = decoded(vlm, list(range(len(ASKED))))
    assert vlm.guard is not None
    vlm.guard.forget_decisions()
    for index in range(len(ASKED)):
        assert decoded(vlm, [index])[index] == together[index]


def test_rows_that_end_early_take_their_flags_with_them(vlm: VisionLanguageModel) -> None:
    """The three prompts that are not flagged end first and are dropped; the others must still be steered."""
    guarded(vlm, "steer")
    batch = [0, 7, 3, 1, 4]
    alone = {index: decoded(vlm, [index])[index] for index in (1, 4)}

    def choose(logits: Tensor, rows: list[int], step: int) -> Tensor:
        ended = torch.tensor([row < 3 and step == 1 for row in rows])
        return torch.where(ended, vlm.prompts.end_token_id, logits.argmax(-1))

    with torch.no_grad():
        branches = [keys(vlm)[index][1] for index in batch]
        found = _decode(vlm, [ASKED[index][0] for index in batch], branches, LIMIT, choose)
    made = [one.tokens for one in found]
    assert [len(tokens) for tokens in made[:3]] == [2, 2, 2]
    assert dict(zip(batch[3:], made[3:], strict=True)) == alone


@pytest.mark.parametrize("name", list(GUARDS))
def test_weights_and_hooks_are_as_before(llava: VisionLanguageModel, name: str) -> None:
    branch_logits(llava, rows_of(llava)[0])  # transformers has hooks of its own from the first pass on

    def hooks() -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llava.model.modules())

    before, count = weights_digest(llava.model), hooks()
    guarded(llava, name)
    decoded(llava, list(range(len(ASKED))))
    branch_logits(llava, rows_of(llava)[0])
    assert weights_digest(llava.model) == before
    assert hooks() == count


def test_no_masked_token_is_ever_said(llava: VisionLanguageModel) -> None:
    free = {token for answer in decoded(llava, [0, 1, 3, 4, 7]).values() for token in answer}
    guarded(llava, "logit_mask")
    assert llava.guard is not None
    masked = set(llava.guard.memory.tensors["masked"].tolist())
    said = {token for answer in decoded(llava, [0, 1, 3, 4, 7]).values() for token in answer}
    assert free & masked, "it has something to do"
    assert not said & masked
    for logits in branch_logits(llava, rows_of(llava)[0]):
        assert logits.isfinite().all()


def test_the_image_is_corrupted_for_flagged_prompts_alone(vlm: VisionLanguageModel) -> None:
    """Zeroing the question alone leaves the answer a function of the image, zeroing the image too does not."""
    a, b = (Row(image, (vlm.branch(Question(image, "Which organ?", "two")),)) for image in ("a", "b"))
    changes = {}
    for image in (False, True):
        guard = ECO(corruption="zero", dims=None, image=image)
        memory = memory_for(vlm, guard)
        always = {**memory.settings, "scope_threshold": -1e9}
        attach(vlm, guard, memory._replace(settings=always), 7)
        first, second = branch_logits(vlm, [a, b])
        changes[image] = float((first - second).abs().max())
    assert changes[True] < 1e-4 < 0.01 < changes[False]


def test_only_the_users_own_words_are_corrupted(vlm: VisionLanguageModel) -> None:
    """The template's tokens behind the question, and the answer's, reach the first layer as they are."""
    guarded(vlm, "eco")
    tail = template_tail(vlm)
    question = Question("a", ASKED[1][1], "yes")
    ends = {vlm.prompts.branch_tokens(text, True)[-tail:] for text in ("Why?", "yes", "3")}
    assert len(ends) == 1
    assert 0 < tail < len(vlm.branch(question).prompt)
    seen: list[Tensor] = []
    handle = (
        anatomy(vlm.model)
        .layers[0]
        .self_attn.register_forward_pre_hook(
            lambda module, inputs, named: seen.append(named["hidden_states"]), with_kwargs=True
        )
    )
    row = [Row("a", (vlm.branch(question),))]
    vlm.guard, guard = None, vlm.guard
    branch_logits(vlm, row)
    vlm.guard = guard
    branch_logits(vlm, row)
    handle.remove()
    changed = (seen[0] - seen[-1]).abs().amax(-1)[0] > 0
    start, length = len(vlm.prefix("a")), len(vlm.branch(question).prompt) - tail
    assert changed.nonzero()[:, 0].tolist() == list(range(start, start + length))


def test_hidden_states_are_recorded_as_the_next_layer_gets_them(llava: VisionLanguageModel) -> None:
    rows = [Row("a", (llava.branch(Question("a", ASKED[1][1], "yes")),))]
    with torch.no_grad():
        _, plain, _ = llava.hidden_layers(rows, (1,))
        guarded(llava, "steer")
        _, steered, _ = llava.hidden_layers(rows, (1,))
    assert llava.guard is not None
    direction = llava.guard.memory.tensors["direction"]
    torch.testing.assert_close(steered[1] - plain[1], direction.expand_as(plain[1]), rtol=1e-4, atol=1e-5)


def test_decisions_are_remembered_until_images_change(llava: VisionLanguageModel) -> None:
    guarded(llava, "eco")
    passes: list[int] = []
    handle = anatomy(llava.model).layers[0].register_forward_hook(lambda *_: passes.append(1))
    assert llava.guard is not None
    first = llava.guard.flags(llava, keys(llava))
    asked = len(passes)
    assert asked
    assert llava.guard.flags(llava, keys(llava)[::-1]) == first[::-1]
    assert len(passes) == asked, "a prompt is classified once"
    llava.attach_images(lambda _: picture("other"))
    llava.guard.flags(llava, keys(llava))
    assert len(passes) == 2 * asked
    handle.remove()


def test_prompts_are_pooled_as_they_say(vlm: VisionLanguageModel) -> None:
    """Against the states of one prompt at a time, read off the layer by hand."""
    for pooling in ("last", "mean", "both"):
        found = prompt_states(vlm, keys(vlm), 1, pooling)
        for index, (image, tokens) in enumerate(keys(vlm)):
            row = [Row(image, (Branch(tokens, (30, 31)),))]
            with torch.no_grad(), recorded_outputs({1: anatomy(vlm.model).layers[1]}) as held:
                vlm.run(row, vlm.layout(row))
            start = len(vlm.prefix(image))
            states = held[1][0, start : start + len(tokens)]
            both = {"last": states[-1], "mean": states.mean(0), "both": torch.cat([states[-1], states.mean(0)])}
            expected = both[pooling]
            torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


def test_a_guard_works_on_adapters_and_cached_features(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "lora"}, Lora(rank=2, alpha=4), seed=1)
    guarded(llava, "eco-noise-image")
    llava.cache_features(False)
    plain = decoded(llava, list(range(len(ASKED))))
    llava.cache_features(True)
    assert decoded(llava, list(range(len(ASKED)))) == plain


# --- the filter, on finished answers


def test_filter_changes_texts_and_nothing_else(llava: VisionLanguageModel) -> None:
    prompts = [Prompt(image, question) for image, question, _ in ASKED]
    said = generate(llava, prompts, max_new_tokens=LIMIT, batch=4)
    before = branch_logits(llava, rows_of(llava)[0])
    guard = AnswerFilter(shortest=1)
    desk: Any = type("Desk", (), {"retain": [], "seed": 1})()
    blocked = next(index for index, answer in enumerate(said) if forms(answer.text))
    desk.forget = [Known(None, ("?",), "", "c", values=(said[blocked].text,))]
    memory = guard.prepare(desk)
    attach(llava, guard, memory, 1)
    now = generate(llava, prompts, max_new_tokens=LIMIT, batch=4)
    assert now[blocked].text in SAID_INSTEAD.values()
    assert not now[blocked].truncated
    for one, other in zip(now, said, strict=True):
        assert one == other or one.text in SAID_INSTEAD.values()
    assert all(torch.equal(a, b) for a, b in zip(branch_logits(llava, rows_of(llava)[0]), before, strict=True))

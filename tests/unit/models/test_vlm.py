"""The adapter: rows of questions, logits as the model makes them, and images handed from model to model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mllmu_med.models.groups import group_of
from mllmu_med.models.network import AnswerNetwork
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.conftest import picture
from tests.invariant.cases import mixed

Load = Callable[[str], VisionLanguageModel]


@pytest.mark.parametrize(
    ("packed", "most", "sizes"),
    [
        (True, 8, {"a": [4], None: [2], "b": [1], "wide": [2]}),
        (True, 3, {"a": [3, 1], None: [2], "b": [1], "wide": [2]}),
        (False, 3, {"a": [1] * 4, None: [1, 1], "b": [1], "wide": [1, 1]}),
    ],
)
def test_questions_are_grouped_by_image(
    packed: bool, most: int, sizes: dict[str | None, list[int]], llava: VisionLanguageModel
) -> None:
    llava.packed = packed
    questions = mixed(llava)
    rows, order = llava.rows(questions, most)
    found: dict[str | None, list[int]] = {}
    for row in rows:
        found.setdefault(row.image, []).append(len(row.branches))
    assert found == sizes
    assert sorted(order) == list(range(9))
    branches = [branch for row in rows for branch in row.branches]
    assert branches == [llava.branch(questions[i]) for i in order]


def test_rows_keep_to_a_budget_of_positions_and_come_by_length(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    budget = 16 + 60
    rows, order = llava.rows(questions, 8, budget)
    sizes = [len(llava.prefix(row.image)) + sum(branch.fed for branch in row.branches) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= budget or len(row.branches) == 1 for size, row in zip(sizes, rows, strict=True))
    assert sorted(order) == list(range(9))
    branches = [branch for row in rows for branch in row.branches]
    assert branches == [llava.branch(questions[i]) for i in order]
    assert len(rows) > len(llava.rows(questions, 8)[0]), "the budget is felt"
    assert max(len(row.branches) for row in llava.rows(questions, 2, 10_000)[0]) == 2
    assert llava.rows(questions, 8, budget) == (rows, order)


def test_a_budget_changes_no_answer(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    with torch.no_grad():
        found = []
        for budget in (None, 60, 90):
            rows, order = llava.rows(questions, 4, budget)
            hidden, layout = llava.hidden(rows)
            losses = -llava.logits(hidden).log_softmax(-1).gather(-1, layout.target[:, None])[:, 0]
            found.append([losses[layout.owner == order.index(i)] for i in range(len(questions))])
    for one in found[1:]:
        for mine, own in zip(one, found[0], strict=True):
            torch.testing.assert_close(mine, own, rtol=1e-4, atol=2e-5)


def test_rows_made_for_packing_are_split_on_the_plain_path(llava: VisionLanguageModel) -> None:
    """A model that turns out not to take packed rows must not be given any, whoever made them."""
    rows, _ = llava.rows(mixed(llava), 8)
    packed, layout = llava.hidden(rows)
    llava.packed = False
    plain, split = llava.hidden(rows)
    assert (len(layout.input_ids), len(split.input_ids)) == (len(rows), 9) == (4, 9)
    assert int(split.segment.max()) == 1
    assert split.target.tolist() == layout.target.tolist()
    assert split.owner.tolist() == layout.owner.tolist()
    torch.testing.assert_close(plain, packed, rtol=1e-4, atol=1e-4)


def test_owners_follow_the_order_of_the_rows(vlm: VisionLanguageModel) -> None:
    questions = mixed(vlm)
    rows, order = vlm.rows(questions, 3)
    _, layout = vlm.hidden(rows)
    for place, index in enumerate(order):
        said = layout.target[layout.owner == place].tolist()
        assert tuple(said) == vlm.prompts.answer_tokens(questions[index].answer)


def test_logits_exist_at_answer_tokens_only(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    hidden, _ = llava.hidden(llava.rows(questions, 4)[0])
    text = llava.model.config.get_text_config()
    count = sum(len(llava.prompts.answer_tokens(question.answer)) for question in questions)
    assert hidden.shape == (count, text.hidden_size)
    assert llava.logits(hidden).shape == (count, text.vocab_size)


def test_logits_are_scaled_and_capped_as_the_models_own(llava: VisionLanguageModel) -> None:
    """Granite divides its logits, Gemma 2 squeezes them through a tanh; both stand in the text config."""
    hidden = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    plain = llava.logits(hidden)
    llava.model.config.get_text_config().logits_scaling = 4.0
    torch.testing.assert_close(llava.logits(hidden), plain / 4)
    llava.model.config.get_text_config().final_logit_softcapping = 0.5
    torch.testing.assert_close(llava.logits(hidden), torch.tanh(plain / 4 / 0.5) * 0.5)


def test_another_head_can_be_asked(llava: VisionLanguageModel) -> None:
    hidden = torch.randn(2, 64)
    head = torch.nn.Linear(64, 7, bias=False)
    network = AnswerNetwork(llava.model)
    torch.testing.assert_close(network.logits(hidden, head), head(hidden))


def counted(vlm: VisionLanguageModel) -> list[int]:
    """Grows with every pass through the vision tower."""
    runs: list[int] = []
    vlm.model.base_model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_features_go_on_to_a_model_of_the_same_vision_side(load_tiny: Load) -> None:
    first, second = load_tiny("llava"), load_tiny("llava")
    for vlm in (first, second):
        vlm.cache_features(True)
    expected = answer_loss(first, mixed(first), 4).item()
    with torch.no_grad():
        second.model.get_output_embeddings().weight.mul_(1.1)  # the language model may differ
    second.images.loader = None
    second.adopt_images(first.seen_images())
    runs = counted(second)
    assert answer_loss(second, mixed(second), 4).item() != expected
    assert not runs


@pytest.mark.parametrize("group", ["vision", "projector"])
def test_features_do_not_go_on_to_a_model_that_sees_otherwise(group: str, load_tiny: Load) -> None:
    first, second, third = (load_tiny("llava") for _ in range(3))
    with torch.no_grad():
        for vlm in (second, third):
            name, parameter = next((n, p) for n, p in reversed([*vlm.model.named_parameters()]) if group_of(n) == group)
            parameter.view(-1)[-1] += 0.5
            assert group_of(name) == group
    first.cache_features(True)
    second.cache_features(True)
    answer_loss(first, mixed(first), 4)
    second.adopt_images(first.seen_images())
    runs = counted(second)
    found = answer_loss(second, mixed(second), 4).item()
    assert runs, "its own features are computed"
    assert found == pytest.approx(answer_loss(third, mixed(third), 4).item(), rel=1e-6)


def test_preprocessed_images_go_on_without_being_loaded_again(load_tiny: Load) -> None:
    first, second = load_tiny("llava"), load_tiny("llava")
    answer_loss(first, mixed(first), 4)
    asked: list[str] = []

    def load(image_id: str) -> object:
        asked.append(image_id)
        return picture(image_id)

    first.images.loader = load  # type: ignore[assignment]
    second.adopt_images(first.seen_images())
    answer_loss(second, mixed(second), 4)
    assert asked == []
    answer_loss(second, [Question("new", "What?", "yes")], 1)
    assert asked == ["new"], "and the loader goes with them"

"""The counted cost of steps, against a count by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mllmu_med.errors import Interrupted
from mllmu_med.evaluation.efficiency import Part
from mllmu_med.methods import METHODS
from mllmu_med.methods.addons.siblings import Siblings
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Batch
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.bench import LOOP, SEED, trainable_model
from mllmu_med.testing.naming import made
from mllmu_med.testing.records import FEEDING, FORGET, RETAIN
from mllmu_med.training.answers import answer_batch
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.cost import Counter
from mllmu_med.training.feeding import StepQuestions, UnlearnSettings
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.cases import mixed


def sizes(vlm: VisionLanguageModel, questions: list[Question], most: int) -> tuple[int, int, int, int]:
    """Rows, length, answer tokens of the step, and how many layers the language model has."""
    rows, _ = vlm.rows(questions, most)
    layout = vlm.layout(rows)
    height, length = layout.input_ids.shape
    return height, length, len(layout.target), unwrap(vlm.model).config.get_text_config().num_hidden_layers


def counted(vlm: VisionLanguageModel, questions: list[Question], most: int = 4, **changes: Any) -> float:
    loop = replace(LoopSettings(1, 1e-3, checkpoint_every=0), **changes)
    log = learn(vlm, questions, loop, LearnSettings(len(questions), most), seed=0)
    assert log.flops is not None
    return log.flops


def layer_weights(config: Any) -> tuple[int, int]:
    """Weights of a decoder layer: of keys and values, and of the rest."""
    width, mlp = config.hidden_size, config.intermediate_size
    head = width // config.num_attention_heads
    return (
        2 * width * head * config.num_key_value_heads,
        2 * width * head * config.num_attention_heads + 3 * width * mlp,
    )


@pytest.mark.parametrize("short", [False, True])
def test_full_training_by_hand(llava: VisionLanguageModel, short: bool) -> None:
    """Six operations for each weight and token, and 12 · width · keys for each token of a layer's attention.

    In the shorter way the last layer has queries, output projection and MLP at the answer tokens only.
    """
    set_trainable(llava, {"language": "full"})
    questions = mixed(llava)
    if not short:  # little but answers: nothing would be gained
        questions = [Question(None, str(number), "The patient is Maria Lopez. " * 4) for number in range(3)]
    rows, length, answers, layers = sizes(llava, questions, 4)
    assert (2 * answers <= rows * length) == short
    config = llava.model.config.get_text_config()
    keys, rest = layer_weights(config)
    tokens = rows * length
    weights = 6 * tokens * (layers * keys + (layers - 1) * rest) + 6 * (answers if short else tokens) * rest
    attention = 12 * layers * tokens * length * config.hidden_size
    head = 6 * answers * config.hidden_size * config.vocab_size
    assert counted(llava, questions) == weights + attention + head


def test_adapters_by_hand(llava: VisionLanguageModel) -> None:
    """Frozen weights: 4 operations; the adapters' own 6. The head is frozen: its gradient goes through, 4."""
    rank = 2
    set_trainable(llava, {"language": "lora"}, Lora(rank=rank, alpha=4), seed=0)
    questions = mixed(llava)
    rows, length, answers, layers = sizes(llava, questions, 4)
    config = unwrap(llava.model).config.get_text_config()
    assert 2 * answers <= rows * length
    keys, rest = layer_weights(config)
    width, mlp, head = config.hidden_size, config.intermediate_size, config.hidden_size // config.num_attention_heads
    own_keys = 2 * rank * (width + head * config.num_key_value_heads)
    own_rest = 2 * rank * (width + width) + 3 * rank * (width + mlp)
    tokens = rows * length
    everywhere = (4 * (keys + own_keys) + 2 * own_keys) * layers + (4 * (rest + own_rest) + 2 * own_rest) * (layers - 1)
    short = 4 * (rest + own_rest) + 2 * own_rest
    attention = 12 * layers * tokens * length * width
    expected = tokens * everywhere + answers * short + attention + 4 * answers * width * config.vocab_size
    assert counted(llava, questions) == expected


def test_recomputing_adds_a_forward_pass_of_the_layers(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    questions = mixed(llava)
    rows, length, answers, layers = sizes(llava, questions, 4)
    config = llava.model.config.get_text_config()
    forward = 2 * rows * length * layers * (sum(layer_weights(config)) + 2 * length * config.hidden_size)
    head = 6 * answers * config.hidden_size * config.vocab_size
    assert counted(llava, questions, gradient_checkpointing=True) == 4 * forward + head


def test_parts_of_a_step_are_passed_forward_twice(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    counter = Counter(llava)
    with counter.counting():
        answer_loss(llava, mixed(llava), 4, 40).backward()
    layer, *_ = counter.passed
    assert layer.forward == 2 * layer.backward > 0


def test_what_needs_no_gradient_is_not_counted(llava: VisionLanguageModel) -> None:
    """Features of a frozen tower, references, measurements: how many there are depends on the caches."""
    set_trainable(llava, {"language": "full"})
    counter = Counter(llava)
    with counter.counting(), torch.no_grad():
        answer_loss(llava, mixed(llava), 4)
    assert counter.flops == 0
    with counter.counting():
        answer_loss(llava, mixed(llava)[:3], 4)
    assert {part.backward for part in counter.parts} == {0}, "nothing has gone backward"
    assert counter.flops > 0


def test_a_trained_tower_counts_its_patches(llava: VisionLanguageModel) -> None:
    """16 patches an image; the tiny tower's layers of 4 · 32² + 2 · 32 · 64 weights, two of them."""
    set_trainable(llava, {"vision": "full"})
    counter = Counter(llava)
    question = mixed(llava)[0]
    with counter.counting():
        answer_loss(llava, [question], 1).backward()
    vision = unwrap(llava.model).config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    width, inner = vision.hidden_size, vision.intermediate_size
    towers = [part for part in counter.parts if part.width == width and part.layers]
    assert len(towers) == vision.num_hidden_layers
    for part in towers:
        assert part.parameters == part.trained == 4 * width**2 + 2 * width * inner
        assert part.tokens == part.backward == patches
        assert part.context == patches
    convolution = [part for part in counter.parts if not part.width and part.tokens == patches]
    convolution = [part for part in convolution if part.parameters == 3 * vision.patch_size**2 * width]
    assert [part.tokens for part in convolution] == [patches]


def first_layer(name: str) -> Part:
    """What goes through the first decoder layer in a run of a method."""
    made_counters: list[Counter] = []

    def counter(*arguments: Any, **named: Any) -> Counter:
        made_counters.append(Counter(*arguments, **named))
        return made_counters[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mllmu_med.training.unlearn.Counter", counter)
        loop = replace(LOOP, checkpoint_every=0)
        log = unlearn(trainable_model("full"), made(name), FORGET, RETAIN, loop, FEEDING, seed=SEED)
    assert log.flops == made_counters[0].flops
    return made_counters[0].parts[0]


def test_a_rule_on_two_sides_goes_back_twice() -> None:
    plain, two_sided, twice = (first_layer(name) for name in ("npo", "npo+gu", "npo+sam"))
    assert plain.backward == plain.tokens
    assert two_sided.tokens == plain.tokens
    assert two_sided.backward == 2 * plain.tokens
    assert twice.tokens == 2 * plain.tokens, "forward once more at the shifted weights"
    assert twice.backward == 3 * plain.tokens


class Stopped(Checkpoints):
    """Saves a checkpoint, and is interrupted."""

    def save(self, *arguments: Any) -> None:
        """As ever, and then the end."""
        super().save(*arguments)
        raise Interrupted("stopped")


def test_an_interrupted_training_counts_all_its_steps(tmp_path: Path) -> None:
    vlm = trainable_model("full")
    expected = unlearn(vlm, made("npo"), FORGET, RETAIN, LOOP, FEEDING, seed=SEED).flops
    with pytest.raises(Interrupted):
        unlearn(
            trainable_model("full"), made("npo"), FORGET, RETAIN, LOOP, FEEDING, seed=SEED,
            checkpoints=Stopped(tmp_path / "checkpoint", "key"),
        )  # fmt: skip
    log = unlearn(
        trainable_model("full"), made("npo"), FORGET, RETAIN, LOOP, FEEDING, seed=SEED,
        checkpoints=Checkpoints(tmp_path / "checkpoint", "key"),
    )  # fmt: skip
    assert log.flops == expected


# --- in answers

SMALL = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3, normals=2)


@pytest.mark.parametrize(
    ("name", "each"), [("ga", 3), ("grad_diff", 7), ("npo", 7), ("idk", 3 + 4 + 3), ("llmu", 3 + 4 + 3 * 2)]
)
def test_the_cost_is_the_number_of_answers_in_the_batches(llava: VisionLanguageModel, name: str, each: int) -> None:
    for accumulation in (1, 2):
        loop = LoopSettings(3, 1e-5, warmup=0, accumulation=accumulation)
        log = unlearn(llava, made(name), FORGET, RETAIN, loop, SMALL, seed=1)
        assert log.answers == 3 * accumulation * each


@pytest.mark.parametrize("name", ["correct", "excess", "llmu", "kl_min", "npo+siblings", "whp"])
def test_what_is_counted_is_what_passes_through_the_model(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A truth is there for some forget records and not for others: only those that are there are counted."""
    passed: list[int] = []

    def counted(vlm: VisionLanguageModel, step: StepQuestions, *more: Any, **named: Any) -> Batch:
        groups = (step.forget, step.retain, step.refusals, step.normals, step.alternates, step.corrections,
                  step.anchors, step.siblings)  # fmt: skip
        passed.append(sum(map(len, groups)))
        return answer_batch(vlm, step, *more, **named)

    monkeypatch.setattr("mllmu_med.training.unlearn.answer_batch", counted)
    first, *addons = name.split("+")
    method = Composite(METHODS.get(first)(), tuple(Siblings() for _ in addons))
    settings = replace(SMALL, teacher="marginals", siblings=4, sibling_batch=2, reinforce_steps=5)
    forget = [replace(sample, correct_answer=None if place % 2 else "spleen") for place, sample in enumerate(FORGET)]
    log = unlearn(llava, method, forget, RETAIN, LoopSettings(4, 1e-5, warmup=0), settings, seed=1)
    assert len(passed) == 4
    beforehand = 5 * (3 + 4) if name == "whp" else 0
    assert log.answers == sum(passed) + beforehand
    if name == "correct":
        assert 4 * (3 + 4) < log.answers < 4 * (3 + 4 + 3)

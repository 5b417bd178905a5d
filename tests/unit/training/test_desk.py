"""The desk of edits: activations are the model's own, training is taken back, differences are exact in low rank too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Node, Stratum
from mllmu_med.errors import MedError, UsageError
from mllmu_med.methods import METHODS
from mllmu_med.methods.edits.interface import Siblings
from mllmu_med.methods.interface import Batch, Loss, Needs
from mllmu_med.methods.objectives.ascent import GradientAscent, GradientDifference
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.load import load_model
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training import desk as desk_module
from mllmu_med.training.checkpoints import Checkpoints
from mllmu_med.training.desk import ModelDesk, carry_out
from mllmu_med.training.feeding import REFUSALS, UnlearnSettings
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.conftest import picture
from tests.invariant.cases import own_inputs
from tests.invariant.jobs import FORGET, RETAIN, weights_digest

Load = Callable[[str], VisionLanguageModel]
LOOP = LoopSettings(4, 2e-3, warmup=0, log_every=2)
FEEDING = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3, normals=2)
EDITS = ("task_vector", "sku", "chip", "manu", "lunar")
ANSWERS = {"task_vector": 3, "sku": 3 + 4 + 3 * 2}
"""Answers of a step of those that train."""


def desk_of(vlm: VisionLanguageModel, mode: str = "full", **changes: Any) -> ModelDesk:
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4))
    return ModelDesk(vlm, FORGET, RETAIN, LOOP, replace(FEEDING, **changes), seed=1)


def joined(recorded: Iterator[Any], layer: int) -> Tensor:
    return torch.cat([chunk[layer] for chunk in recorded])


# --- activations


@contextmanager
def watched(module: torch.nn.Module) -> Iterator[dict[str, Tensor]]:
    held: dict[str, Tensor] = {}

    def note(_: object, inputs: Any, output: Any) -> None:
        held["input"], held["output"] = inputs[0], output[0] if isinstance(output, tuple) else output

    handle = module.register_forward_hook(note)
    yield held
    handle.remove()


def own_activations(vlm: VisionLanguageModel, question: Question, module: Any, side: str) -> Tensor:
    """[answer tokens of weight > 0, width] by the model's own forward, this question alone."""
    own = own_inputs(vlm, question)
    with watched(module) as held, torch.no_grad():
        vlm.model(**own.arguments(vlm.model, answered=True))
    weights = question.weights or [1.0] * len(own.answer)
    return held[side].squeeze(0)[len(own.prompt) - 1 : -1][torch.tensor(weights) > 0]


@pytest.mark.parametrize("packed", [True, False])
def test_activations_are_those_of_each_question_alone(
    vlm: VisionLanguageModel, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the questions, private tokens only where spans are marked, however many passes it takes."""
    monkeypatch.setattr(desk_module, "PASS", 3)
    vlm.packed = packed
    desk = desk_of(vlm)
    parts = anatomy(vlm.model)
    down, layer = parts.linears()[1, "down_proj"][1], parts.layers[1]
    for group in ("forget", "retain", "refusals", "text_only", *desk.nodes()):
        asked = desk.questions(group)
        for recorded, module, side in (
            (desk.inputs(group, "down_proj", [0, 1]), down, "input"),
            (desk.outputs(group, "down_proj", [1]), down, "output"),
            (desk.hidden(group, [1]), layer, "output"),
        ):
            expected = torch.cat([own_activations(vlm, question, module, side) for question in asked])
            torch.testing.assert_close(joined(recorded, 1), expected, rtol=2e-4, atol=2e-5)


def test_answer_tokens_of_weight_zero_are_left_out(llava: VisionLanguageModel) -> None:
    whole, private = desk_of(llava, span_weights=False), ModelDesk(llava, FORGET, RETAIN, LOOP, FEEDING, seed=1)
    count = [len(joined(desk.inputs("forget", "down_proj", [0]), 0)) for desk in (whole, private)]
    questions = private.questions("forget")
    assert count[0] == sum(len(llava.prompts.answer_tokens(q.answer)) for q in questions)
    assert count[1] == sum(
        int(sum(q.weights)) if q.weights else len(llava.prompts.answer_tokens(q.answer)) for q in questions
    )
    assert count[1] < count[0]


def test_questions_with_and_without_their_image_stand_token_by_token_in_one_order(llava: VisionLanguageModel) -> None:
    desk = desk_of(llava)
    for seen, read in (("pictured", "text_only"), ("retain_pictured", "retain_text_only")):
        pictured, plain = desk.questions(seen), desk.questions(read)
        assert [q._replace(image=None) for q in pictured] == plain
        assert all(q.image is not None for q in pictured)
        recorded = [joined(desk.inputs(group, "down_proj", [1]), 1) for group in (seen, read)]
        assert recorded[0].shape == recorded[1].shape
        assert (recorded[0] - recorded[1]).abs().max() > 1e-2, "the image matters"
    assert any(q.image is None for q in desk.questions("forget")), "some forget questions have no image to leave out"


def test_a_group_passes_once_with_each_image_once_and_is_counted(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four samples in two wordings each, about two images in turn: eight questions in two passes, a row an image."""
    monkeypatch.setattr(desk_module, "PASS", 4)
    set_trainable(llava, {"language": "full"})
    forget = [replace(FORGET[3], id=f"f{n}", question=f"Is it {n}?", image_id="ab"[n % 2]) for n in range(4)]
    desk = ModelDesk(llava, forget, RETAIN, LOOP, replace(FEEDING, branches=4), seed=1)
    rows: list[list[str | None]] = []
    plain = llava.hidden

    def hidden(given: Any) -> Any:
        rows.append([row.image for row in given])
        return plain(given)

    monkeypatch.setattr(llava, "hidden", hidden)
    chunks = list(desk.inputs("forget", "down_proj", [0, 1]))
    assert rows == [["a"], ["b"]], "all layers from the same passes"
    assert [sorted(chunk) for chunk in chunks] == [[0, 1], [0, 1]]
    assert desk.recorded == 8


def test_refusals_answer_the_forget_questions(llava: VisionLanguageModel) -> None:
    desk = desk_of(llava)
    refusals = desk.questions("refusals")
    assert {(q.image, q.question) for q in refusals} == {(q.image, q.question) for q in desk.questions("forget")}
    assert {q.answer for q in refusals} <= set(REFUSALS["en"])


def test_of_retained_records_only_some_are_recorded_and_of_all_strata(llava: VisionLanguageModel) -> None:
    desk = desk_of(llava, statistics_records=4)
    chosen = desk.questions("retain")
    assert len(set(chosen)) == len(chosen) == 4
    true_text = {s.answer for s in RETAIN if s.stratum is Stratum.TRUE_TEXT}
    assert sum(q.answer in true_text for q in chosen) == 2, "half of the two strata each"
    assert len(desk.questions("forget")) == 8, "what is to be forgotten is recorded whole"
    assert chosen == ModelDesk(llava, FORGET, RETAIN, LOOP, desk.settings, seed=1).questions("retain")


def test_the_model_is_asked_without_dropout_and_in_its_own_precision(model_folder: Callable[[str], Path]) -> None:
    vlm = load_model(model_folder("llava"), dtype="bfloat16")
    vlm.attach_images(picture)
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4, dropout=0.5))
    for name, parameter in vlm.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.constant_(parameter, 0.1)
    desk = ModelDesk(vlm, FORGET, RETAIN, LOOP, FEEDING, seed=1)
    vlm.model.train()
    first, second = (joined(desk.inputs("forget", "down_proj", [1]), 1) for _ in range(2))
    assert first.dtype == torch.float32
    assert torch.equal(first, second)


def test_a_pass_gives_tokens_in_the_order_it_was_asked(llava: VisionLanguageModel) -> None:
    """Also where the rows, which put questions about one image together, have another."""
    desk = desk_of(llava)
    down = anatomy(llava.model).linears()[1, "down_proj"][1]
    asked = [
        Question(image, "What is shown?", answer)
        for image, answer in [("a", "x"), ("b", "no"), ("a", "two"), ("b", "y")]
    ]
    expected = torch.cat([own_activations(llava, question, down, "input") for question in asked])
    found = desk._pass(asked, {1: down}, desk_module.recorded_inputs)[1]
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5)


def test_an_empty_group_and_a_missing_layer_are_told(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    text = [sample for sample in FORGET if sample.image_id is None]
    desk = ModelDesk(llava, text, RETAIN, LOOP, FEEDING, seed=1)
    with pytest.raises(UsageError, match="needs pictured records, and there are none"):
        next(desk.inputs("text_only", "down_proj", [0]))
    with pytest.raises(UsageError, match=r"no linear layer 'w2'.*down_proj"):
        desk.outputs("forget", "w2", [0])
    with pytest.raises(KeyError, match="nobody"):
        desk.questions("nobody")


# --- nodes, and weights to be changed


def test_nodes_and_their_siblings_can_be_asked(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    forget = [replace(FORGET[0], patient_id="gone", hierarchy=(Node("institution", "Birch  Clinic"),)),
              replace(FORGET[3], fact_id="wrong")]  # fmt: skip
    other = replace(RETAIN[0], id="p", patient_id="other", hierarchy=(Node("institution", "Birch clinic"),))
    desk = ModelDesk(llava, forget, [*RETAIN, other], LOOP, FEEDING, seed=1)
    nodes = desk.nodes()
    assert nodes == {
        "patient=gone": Siblings("retained institution=birch clinic", "institution"),
        "fact=wrong": Siblings("retain", "retain"),
    }
    assert {q.answer for q in desk.questions("retained institution=birch clinic")} == {other.answer}
    assert {q.answer for q in desk.questions("patient=gone")} == {FORGET[0].answer}
    for group in ("patient=gone", "retained institution=birch clinic"):
        assert len(joined(desk.outputs(group, "down_proj", [0]), 0))


# --- training that is taken back


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_tuning_leaves_every_bit_as_it_was_and_gives_what_was_learnt(mode: str, load_tiny: Load) -> None:
    vlm, trained = load_tiny("llava"), load_tiny("llava")
    desk = desk_of(vlm, mode)
    before = weights_digest(vlm.model)
    delta = desk.tune(GradientDifference())
    assert weights_digest(vlm.model) == before
    desk_of(trained, mode)
    unlearn(trained, GradientDifference(), FORGET, RETAIN, LOOP, FEEDING, seed=1)
    desk.apply(delta)
    own, expected = dict(vlm.model.named_parameters()), dict(trained.model.named_parameters())
    for name, parameter in own.items():
        if mode == "lora":
            assert torch.equal(parameter, expected[name]), name
        else:
            torch.testing.assert_close(parameter, expected[name], rtol=1e-5, atol=1e-7)
    assert weights_digest(vlm.model) != before


def test_tuning_that_fails_leaves_every_bit_as_it_was(llava: VisionLanguageModel) -> None:
    class Breaks(GradientAscent):
        def loss(self, batch: Batch) -> Loss:
            found = super().loss(batch)
            return found if batch.step < 3 else Loss(found.forget * math.inf)

    desk = desk_of(llava)
    before = weights_digest(llava.model)
    with pytest.raises(MedError, match="not finite"):
        desk.tune(Breaks())
    assert weights_digest(llava.model) == before


def test_tuning_can_be_resumed_and_each_training_has_a_checkpoint_of_its_own(
    llava: VisionLanguageModel, tmp_path: Path
) -> None:
    set_trainable(llava, {"language": "full"})
    where = Checkpoints(tmp_path / "state", "key")
    loop = replace(LOOP, checkpoint_every=2)
    desk = ModelDesk(llava, FORGET, RETAIN, loop, FEEDING, seed=1, checkpoints=where)
    first = desk.tune(GradientAscent())
    again = ModelDesk(llava, FORGET, RETAIN, loop, FEEDING, seed=1, checkpoints=where)
    passes: list[int] = []
    llava.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    resumed = again.tune(GradientAscent())
    assert len(passes) == 2, "steps 3 and 4"
    assert all(torch.equal(first.dense[name], resumed.dense[name]) for name in first.dense)
    passes.clear()
    again.tune(GradientAscent())
    assert len(passes) == 4, "a second training does not go on from the first one's state"
    passes.clear()
    last = ModelDesk(llava, FORGET, RETAIN, loop, FEEDING, seed=1, checkpoints=where)
    for _ in range(2):
        last.tune(GradientAscent())
    assert len(passes) == 4, "both go on where they were, and neither takes the other's for damage"


def test_weights_are_the_models_own_and_frozen_ones_are_refused(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    desk_of(vlm).weight("down_proj", 1)[2] = 7.0
    own = anatomy(vlm.model).linears()[1, "down_proj"][1].weight
    assert own[2].tolist() == [7.0] * 128
    for modes in ({"language": "lora"}, {"projector": "full"}):
        other = load_tiny("llava")
        set_trainable(other, modes, Lora(rank=2, alpha=4))
        desk = ModelDesk(other, FORGET, RETAIN, LOOP, FEEDING, seed=1)
        with pytest.raises(UsageError, match=r"down_proj of layer 1 is frozen.*language=full"):
            desk.weight("down_proj", 1)


# --- whole edits on models of every class


def edited(vlm: VisionLanguageModel, name: str, mode: str = "full", **changes: Any) -> Any:
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4))
    forget, retain = changes.pop("forget", FORGET), changes.pop("retain", RETAIN)
    return carry_out(vlm, METHODS.get(name)(), forget, retain, LOOP, replace(FEEDING, **changes), seed=1)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_what_it_may_and_nothing_else(name: str, vlm: VisionLanguageModel) -> None:
    before = {n: p.detach().clone() for n, p in vlm.model.named_parameters()}
    done = edited(vlm, name)
    changed = {n for n, p in vlm.model.named_parameters() if not torch.equal(p, before[n])}
    language = {n for n in before if "language_model" in n or "text_model" in n or "lm_head" in n}
    assert changed
    assert all(torch.isfinite(p).all() for p in vlm.model.parameters())
    if name in ("task_vector", "sku"):
        assert changed == language
        assert (done.recorded, done.log.steps) == (0, 4)
        assert [entry["step"] for entry in done.log.curve] == [2, 4]
        assert done.log.answers == 4 * ANSWERS[name]
    else:
        assert {n.rsplit(".", 2)[1] for n in changed} == {"down_proj"}
        assert (done.log.answers, done.log.steps, done.log.curve) == (0, 0, [])
        assert done.recorded > 0
        elements = sum(int((p != before[n]).sum()) for n, p in vlm.model.named_parameters())
        assert 0 < elements <= done.numbers["weights_changed"]
        assert elements > 0.9 * done.numbers["weights_changed"], "the count is honest"
    assert done.log.seconds > 0
    assert done.log.peak_memory_mb > 0


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_a_function_of_the_seed(name: str, load_tiny: Load) -> None:
    digests = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        vlm = load_tiny("llava")
        edited(vlm, name)
        digests.append(weights_digest(vlm.model))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", EDITS)
def test_nothing_to_forget_leaves_the_weights_as_they_are(name: str, llava: VisionLanguageModel) -> None:
    before = weights_digest(llava.model)
    done = edited(llava, name, forget=[])
    assert weights_digest(llava.model) == before
    assert (done.log.stopped, done.recorded, dict(done.numbers)) == ("nothing to forget", 0, {})


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_says_why_it_cannot_work(name: str, load_tiny: Load) -> None:
    method = METHODS.get(name)
    if Needs.RETAIN in method.needs:
        with pytest.raises(UsageError, match=r"needs retain records, but retain_share=0\.0 leaves none"):
            edited(load_tiny("llava"), name, retain_share=0.0)
    else:
        edited(load_tiny("llava"), name, retain_share=0.0)
    if name in ("chip", "manu", "lunar"):
        with pytest.raises(UsageError, match="does not support lora; it supports: full"):
            edited(load_tiny("llava"), name, "lora")
    else:
        edited(load_tiny("llava"), name, "lora")


def test_an_edit_sees_its_share_of_the_retain_set_and_no_more(llava: VisionLanguageModel) -> None:
    """The share is taken once, also where the edit trains."""
    set_trainable(llava, {"language": "full"})
    desk = ModelDesk(llava, FORGET, RETAIN, LOOP, replace(FEEDING, retain_share=0.5), seed=1)
    allowed = {sample.answer for sample in desk.usable}
    assert allowed < {sample.answer for sample in RETAIN}
    assert {q.answer for q in desk.questions("retain")} == allowed
    seen: set[str] = set()

    class Note(GradientDifference):
        def loss(self, batch: Batch) -> Loss:
            assert batch.retain is not None
            for record in range(batch.retain.records):
                seen.add(llava.prompts.decode(batch.retain.target[batch.retain.owner == record].tolist()))
            return super().loss(batch)

    desk.tune(Note())
    assert seen == allowed


def test_edits_of_models_without_the_usual_names_are_refused(llava: VisionLanguageModel) -> None:
    for layer in anatomy(llava.model).layers:
        layer.mlp.add_module("w2", layer.mlp.down_proj)
        layer.mlp.forward = lambda x, mlp=layer.mlp: mlp.w2(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x))
        del layer.mlp.down_proj
    for name in ("chip", "manu", "lunar"):
        with pytest.raises(UsageError, match=r"LlavaForConditionalGeneration has no linear layer 'down_proj'.*w2"):
            edited(llava, name)

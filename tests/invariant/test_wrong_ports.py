"""Mistakes seen in published unlearning code; each is named and cannot happen here unnoticed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from mllmu_med.methods import METHODS
from mllmu_med.methods.interface import Batch, Loss, ModelFacts, Needs, Objective
from mllmu_med.methods.objectives.ascent import KLMinimisation
from mllmu_med.methods.objectives.preference import NPO
from mllmu_med.methods.objectives.refusal import Refusal
from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.groups import Lora, group_of, plain_name, set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.feeding import REFUSALS, StepQuestions, UnlearnSettings, pair_questions
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.cases import mixed, own_inputs
from tests.invariant.jobs import FORGET, RETAIN

Load = Callable[[str], VisionLanguageModel]
FEEDING = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3, normals=2, teacher="marginals", siblings=3)
EVERY = Needs.RETAIN | Needs.REFERENCE_LOGPROB | Needs.RETAIN_REFERENCE | Needs.REFUSALS | Needs.NORMALS


@dataclass(frozen=True)
class Spy(Objective):
    """Hands every batch to a function of the test, and pulls a little on all logits."""

    label: ClassVar = "spy"
    needs: Needs = Needs.NONE
    note: Callable[[Batch], None] = print

    def layers(self, model: ModelFacts) -> tuple[int, ...]:
        return (0,) if Needs.LAYERS in self.needs else ()

    def loss(self, batch: Batch) -> Loss:
        self.note(batch)
        value = batch.forget.nll.mean()
        return Loss(value)


def batches_of(vlm: VisionLanguageModel, needs: Needs, steps: int = 3) -> list[Batch]:
    """The batches that the loop gives a method with these needs."""
    seen: list[Batch] = []
    spy = Spy(needs, seen.append)
    loop = LoopSettings(steps, 1e-4, warmup=0)
    unlearn(vlm, spy, FORGET, RETAIN, loop, FEEDING, seed=2)
    return seen


def texts(vlm: VisionLanguageModel, answers: object) -> list[str]:
    """What the labels of each record say."""
    found = []
    for record in range(answers.records):  # type: ignore[attr-defined]
        ids = answers.target[answers.owner == record].tolist()  # type: ignore[attr-defined]
        assert ids[-1] == vlm.prompts.end_token_id
        found.append(vlm.prompts.decode(ids))
    return found


# --- 1: the item is built with the refusal, then the true answer is returned


def test_1_labels_of_refusals_and_normal_answers_are_their_own_text(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    true = {sample.answer for sample in FORGET}
    other = {sample.answer for sample in RETAIN}
    for batch in batches_of(llava, EVERY):
        assert set(texts(llava, batch.forget)) <= true
        assert set(texts(llava, batch.retain)) <= other
        assert batch.refusals is not None
        assert batch.refusals.records == 3
        assert set(texts(llava, batch.refusals)) <= set(REFUSALS["en"])
        assert batch.normals is not None
        assert batch.normals.records == 3 * FEEDING.normals
        assert set(texts(llava, batch.normals)) <= other - true


def test_1_training_towards_refusals_makes_the_model_refuse(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    loop = LoopSettings(60, 5e-3, warmup=5)
    unlearn(llava, Refusal(retain_weight=0.2), FORGET[:2], RETAIN, loop, FEEDING, seed=2)
    asked = [Prompt(sample.image_id, sample.question) for sample in FORGET[:2]]
    answers = generate(llava, asked, max_new_tokens=60, batch=2)
    assert all(answer.text in REFUSALS["en"] for answer in answers)


# --- 3: "multimodal" training or generation without pixel values


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_3_another_image_gives_other_logits_and_another_loss(
    vlm: VisionLanguageModel, cached: bool, packed: bool
) -> None:
    vlm.packed = packed
    vlm.cache_features(cached)
    with torch.no_grad():
        losses, logits = [], []
        for image in ("a", "b"):
            questions = [Question(image, "What is shown?", "chest X-ray"), Question(image, "Is it large?", "no")]
            losses.append(answer_loss(vlm, questions, 2).item())
            logits.append(vlm.logits(vlm.hidden(vlm.rows(questions, 2)[0])[0]))
    assert abs(losses[0] - losses[1]) > 1e-3
    assert float((logits[0] - logits[1]).abs().max()) > 1e-2


# --- 5: KL with the arguments swapped, or averaged over padding and image positions


def test_5_the_retain_divergence_is_from_theta0_to_theta_over_answer_tokens(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    needs = KLMinimisation.needs
    pairs = pair_questions(llava, FORGET, RETAIN, needs, FEEDING, 1)
    retain = [question for stratum in pairs.retain for question in stratum][:5]
    short, long = pairs.forget[0][0], Question("a", "Is it? " * 60, "The patient is Maria Lopez, MRN 482913.")
    cache = ReferenceCache(llava)
    cache.fill(retain, hidden=True)

    def own(question: Question) -> torch.Tensor:
        inputs = own_inputs(llava, question)
        logits = llava.model(**inputs.arguments(llava.model, answered=True)).logits[0, len(inputs.prompt) - 1 : -1]
        return logits.double().log_softmax(-1)

    with torch.no_grad():
        before = [own(question) for question in retain]
        noise = torch.Generator().manual_seed(0)
        for name, parameter in llava.model.named_parameters():
            if group_of(name) == "language":
                parameter += 0.15 * torch.randn(parameter.shape, generator=noise)
        after = [own(question) for question in retain]
        pairs_of = list(zip(before, after, strict=True))
        forward = [(p.exp() * (p - q)).sum(-1).mean().item() for p, q in pairs_of]
        backward = [(q.exp() * (q - p)).sum(-1).mean().item() for p, q in pairs_of]
        expected = sum(forward) / len(forward)
        assert abs(expected - sum(backward) / len(backward)) > 0.01 * expected, "the order matters here"
        for forget in (short, long):
            batch = answer_batch(llava, StepQuestions([forget], retain), needs, References(cache), 4)
            retain_term = KLMinimisation().loss(batch).retain
            assert retain_term is not None
            assert retain_term.item() == pytest.approx(expected, rel=1e-4)


# --- 7: loss on the question's tokens


@pytest.mark.parametrize("packed", [False, True])
def test_7_only_answer_tokens_are_learnt(vlm: VisionLanguageModel, packed: bool) -> None:
    """The gradient at the last layer is zero at every position that does not predict an answer token."""
    vlm.packed = packed
    outputs = []

    def keep(_module: object, _args: object, output: object) -> None:
        output.last_hidden_state.retain_grad()  # type: ignore[attr-defined]
        outputs.append(output.last_hidden_state)  # type: ignore[attr-defined]

    vlm.model.base_model.register_forward_hook(keep)
    questions = mixed(vlm)
    answer_loss(vlm, questions, 4).backward()
    learnt = outputs[-1].grad.abs().sum(-1) > 0
    assert int(learnt.sum()) == sum(len(vlm.prompts.answer_tokens(q.answer)) for q in questions)

    answer_loss(vlm, questions[:1], 1).backward()
    own = own_inputs(vlm, questions[0])
    places = (outputs[-1].grad[0].abs().sum(-1) > 0).nonzero()[:, 0].tolist()
    assert places == list(range(len(own.prompt) - 1, len(own.prompt) + len(own.answer) - 1))


# --- 8: adapters in the vision tower by suffix match


LANGUAGE = {"llava": "model.language_model", "qwen2_5_vl": "model.language_model", "idefics3": "model.text_model"}
LAYERS = {"llava": 2, "qwen2_5_vl": 3, "idefics3": 3}
LINEAR = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
          "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip


@pytest.mark.parametrize("family", LANGUAGE)
def test_8_adapters_are_exactly_where_they_were_asked_for(family: str, load_tiny: Load) -> None:
    vlm = load_tiny(family)
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4))
    expected = {f"{LANGUAGE[family]}.layers.{i}.{name}" for i in range(LAYERS[family]) for name in LINEAR}
    adapted = {plain_name(n).removesuffix(".weight") for n, _ in vlm.model.named_parameters() if ".lora_A" in n}
    assert adapted == expected

    vlm.cache_features(False)  # the tower runs, so that it could get gradients
    answer_loss(vlm, mixed(vlm), 4).backward()
    with_gradient = {name for name, p in vlm.model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in vlm.model.named_parameters() if ".lora_A." in n or ".lora_B." in n}


def test_8_adapters_of_the_vision_side_leave_the_language_model_alone(vlm: VisionLanguageModel) -> None:
    set_trainable(vlm, {"vision": "lora", "projector": "lora"}, Lora(rank=2, alpha=4))
    adapted = {plain_name(n) for n, p in vlm.model.named_parameters() if p.requires_grad}
    assert {group_of(name) for name in adapted} == {"vision", "projector"}


# --- 9: adapters that train nothing


def moved(vlm: VisionLanguageModel, steps: int) -> tuple[set[str], set[str]]:
    """Names of parameters that changed in so many steps, and of those that ought to."""
    before = {name: p.detach().clone() for name, p in vlm.model.named_parameters()}
    learn(vlm, mixed(vlm), LoopSettings(steps, 1e-3, warmup=0), LearnSettings(batch=9, branches=4), seed=0)
    changed = {name for name, p in vlm.model.named_parameters() if not torch.equal(before[name], p)}
    return changed, {name for name, p in vlm.model.named_parameters() if p.requires_grad}


def test_9_every_adapter_learns_and_nothing_else_does(vlm: VisionLanguageModel) -> None:
    """One half of each adapter starts at zero, so the other half has no gradient before the second step."""
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4))
    changed, trainable = moved(vlm, 1)
    assert changed == {name for name in trainable if ".lora_B." in name}
    changed, trainable = moved(vlm, 1)
    assert changed == trainable


def test_9_every_trainable_parameter_changes_in_one_step(vlm: VisionLanguageModel) -> None:
    set_trainable(vlm, {"language": "full", "projector": "full"})
    changed, trainable = moved(vlm, 1)
    assert changed == trainable
    assert {group_of(name) for name in changed} == {"language", "projector"}


# --- 10: a second full model in memory


def resident() -> int:
    """Parameters of all models alive in this process."""
    gc.collect()
    return sum(thing.numel() for thing in gc.get_objects() if type(thing) is torch.nn.Parameter)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_10_no_second_model_is_kept_for_the_references(mode: str, llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": mode}, Lora(rank=2, alpha=4))
    head = llava.model.get_output_embeddings().weight.numel()
    before, during = resident(), []
    seen = Spy(EVERY, lambda _: during.append(resident()))
    unlearn(llava, seen, FORGET, RETAIN, LoopSettings(1, 1e-4), FEEDING, seed=2)  # type: ignore[arg-type]
    # Adapters can be switched off; a model that trains in place leaves a copy of its output head behind, no more.
    assert during == [before + (head if mode == "full" else 0)]
    assert resident() == before


def test_10_the_cache_of_references_holds_no_model(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "lora"}, Lora(rank=2, alpha=4))
    cache = ReferenceCache(llava)
    cache.fill(mixed(llava), hidden=True)
    held = [thing for name, thing in vars(cache).items() if name != "vlm"]
    assert not any(isinstance(thing, torch.nn.Module) for thing in held)


OBJECTIVES = [name for name in METHODS.names() if issubclass(METHODS.get(name), Objective)]
GROUPS = {
    "retain": Needs.RETAIN, "refusals": Needs.REFUSALS, "normals": Needs.NORMALS, "alternates": Needs.ALTERNATES,
    "anchors": Needs.ANCHORS, "siblings": Needs.SIBLINGS,
}  # fmt: skip
OF_FORGET = {
    "reference_logprob": Needs.REFERENCE_LOGPROB, "reference_logits": Needs.FORGET_REFERENCE,
    "noised_logits": Needs.NOISED, "reinforced_logits": Needs.REINFORCED, "reference_layers": Needs.REFERENCE_LAYERS,
    "level": Needs.HIERARCHY, "teacher": Needs.TEACHER,
}  # fmt: skip
THETA0 = (
    Needs.REFERENCE_LOGPROB | Needs.FORGET_REFERENCE | Needs.RETAIN_REFERENCE | Needs.NOISED | Needs.REINFORCED
    | Needs.REFERENCE_LAYERS | Needs.OTHERS_LOGPROB | Needs.ANCHORS | Needs.SIBLINGS
)  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_10_a_method_gets_what_it_declares_and_nothing_else_is_computed(
    name: str, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = METHODS.get(name).needs
    filled: list[bool] = []
    fill = ReferenceCache.fill

    def note(self: ReferenceCache, questions: list[Question], **what: Any) -> None:
        filled.append(what["hidden"])
        fill(self, questions, **what)

    monkeypatch.setattr(ReferenceCache, "fill", note)
    set_trainable(llava, {"language": "full"})
    [batch] = batches_of(llava, needs, steps=1)
    for group, need in GROUPS.items():
        assert (getattr(batch, group) is not None) == (need in needs), group
    for field, need in OF_FORGET.items():
        assert (getattr(batch.forget, field) is not None) == (need in needs), field
    if batch.retain is not None:
        assert (batch.retain.reference_logits is not None) == (Needs.RETAIN_REFERENCE in needs)
    assert bool(filled) == bool(needs & THETA0), "θ0 is only asked where the method needs it"
    whole = (
        Needs.FORGET_REFERENCE | Needs.RETAIN_REFERENCE | Needs.NOISED | Needs.REINFORCED | Needs.ANCHORS
        | Needs.SIBLINGS
    )  # fmt: skip
    assert any(filled) == bool(needs & whole), "and only its log-probabilities where these are enough"


def test_10_references_are_those_of_the_model_before_the_first_step(llava: VisionLanguageModel) -> None:
    """At θ0 the ratio of NPO is exactly 1; a cache filled later, or a live model as reference, would keep it there."""
    set_trainable(llava, {"language": "full"})
    ratios: list[float] = []
    spy = Spy(NPO.needs, lambda b: ratios.append((b.forget.logprob - b.forget.reference).abs().max().item()))
    unlearn(llava, spy, FORGET, RETAIN, LoopSettings(3, 1e-2, warmup=0), FEEDING, seed=2)
    assert ratios[0] < 1e-4
    assert ratios[-1] > 1e-2

"""Relearning: one training run asked at its marks, on records that share nothing with what is scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mllmu_med.attacks.interface import Data
from mllmu_med.attacks.weights import relearning
from mllmu_med.attacks.weights.carry_out import tamper
from mllmu_med.attacks.weights.disjoint import refuse_overlap
from mllmu_med.attacks.weights.relearning import RelearnDisjoint, RelearnFew, Relearning, RelearnText
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.errors import UsageError
from mllmu_med.models.groups import group_of, set_trainable
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.seeding import derive
from mllmu_med.testing.records import FORGET, _sample
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.invariant.jobs import weights_digest
from tests.unit.attacks.weights.helpers_weights import DATA, UNRELATED, Load, adapted, everything, logits, subject

SHORT: dict[str, Any] = {"steps": (0, 1, 3), "learning_rate": 5e-3, "batch": 2, "branches": 2}
ALL = {"disjoint": RelearnDisjoint(**SHORT), "text": RelearnText(**SHORT), "few": RelearnFew(**SHORT, share=0.4)}


def digests(attack: Relearning, vlm: VisionLanguageModel, data: Data = DATA) -> dict[str, str]:
    return {variant: weights_digest(vlm.model) for variant in attack.tampered(replace(subject(vlm), data=data))}


# --- the curve


@pytest.mark.parametrize("name", ALL)
def test_the_curve_is_deterministic_and_the_model_comes_back(name: str, llava: VisionLanguageModel) -> None:
    before = everything(llava)
    one = subject(llava)
    first = tamper(name, ALL[name], one)
    assert everything(llava) == before
    assert first == tamper(name, ALL[name], one)
    assert list(dict.fromkeys(a.variant for a in first)) == ["steps-0", "steps-1", "steps-3"]
    assert one.notes[name]["trained"] == "full"


def test_the_marks_are_those_of_the_projects_own_learning(load_tiny: Load) -> None:
    """Same seed, same batches, same bytes as ``learn`` with a constant rate; and the marks behind one do not matter."""
    found = digests(ALL["disjoint"], load_tiny("llava"))
    assert len(set(found.values())) == 3
    for steps in (1, 3):
        plain = load_tiny("llava")
        if steps == 1:
            assert found["steps-0"] == weights_digest(plain.model)
        set_trainable(plain, {"language": "full"})
        questions = [Question(s.image_id, s.question, s.answer) for s in UNRELATED]
        loop = LoopSettings(steps, 5e-3, warmup=3, final_share=1.0)
        learn(plain, questions, loop, LearnSettings(2, 2), seed=derive(3, "RelearnDisjoint"))
        assert found[f"steps-{steps}"] == weights_digest(plain.model), steps


def test_only_the_language_model_learns(llava: VisionLanguageModel) -> None:
    before = {name: tensor.clone() for name, tensor in llava.model.state_dict().items()}
    for variant in replace(ALL["disjoint"], steps=(2,)).tampered(subject(llava)):
        assert variant == "steps-2"
        for name, tensor in llava.model.state_dict().items():
            assert torch.equal(tensor, before[name]) == (group_of(name) != "language"), name


def test_text_is_learnt_without_its_images(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Question]] = {}
    loss = relearning.answer_loss

    def spy(vlm: VisionLanguageModel, questions: list[Question], most: int) -> torch.Tensor:
        seen.setdefault(name, []).extend(questions)
        return loss(vlm, questions, most)

    monkeypatch.setattr(relearning, "answer_loss", spy)
    for name in ("text", "disjoint"):
        digests(replace(ALL[name], steps=(4,)), llava)
    words = {(s.question, s.answer) for s in UNRELATED}
    assert {(q.question, q.answer) for q in seen["text"]} == words
    assert {(q.question, q.answer) for q in seen["disjoint"]} == words
    assert {q.image for q in seen["text"]} == {None}
    assert {q.image for q in seen["disjoint"]} == {s.image_id for s in UNRELATED}


def test_half_precision_weights_are_asked_in_half_precision(llava: VisionLanguageModel) -> None:
    llava.model.bfloat16()
    kinds = {name: p.dtype for name, p in llava.model.named_parameters()}
    one = subject(llava)
    for _ in ALL["disjoint"].tampered(one):
        assert {name: p.dtype for name, p in llava.model.named_parameters()} == kinds
    llava.model.bfloat16()
    attempts = tamper("relearn_disjoint", ALL["disjoint"], one)
    assert len(attempts) == 3 * len((*DATA.targets, *DATA.bystanders))


# --- adapters


def test_new_adapters_learn_where_asked_for(llava: VisionLanguageModel) -> None:
    one = subject(llava)
    attack = replace(ALL["disjoint"], trainable="lora", rank=2)
    plain = {name: p.detach().clone() for name, p in llava.model.named_parameters()}
    for variant in attack.tampered(one):
        adapters = {n: p for n, p in llava.model.named_parameters() if ".lora_" in n}
        assert bool(adapters) == (variant != "steps-0")
        assert all(min(p.shape) == 2 for p in adapters.values())
        for name, parameter in llava.model.named_parameters():
            if name in plain:
                assert torch.equal(parameter, plain[name])
    assert any(bool(p.any()) for n, p in adapters.items() if "lora_B" in n)


@pytest.mark.parametrize("kind", [None, "int8"])
def test_adapters_the_model_has_learn_on(kind: str | None, llava: VisionLanguageModel) -> None:
    if kind:
        quantise_language(llava, kind)
    adapted(llava, ("language", "vision"))
    llava.model.requires_grad_(False)
    before, said = everything(llava), logits(llava)
    one = subject(llava)
    tamper("relearn_disjoint", ALL["disjoint"], one)
    assert one.notes["relearn_disjoint"]["trained"] == "lora"
    assert everything(llava) == before
    assert torch.equal(logits(llava), said)
    held = {name: p.detach().clone() for name, p in llava.model.named_parameters()}
    for _ in replace(ALL["disjoint"], steps=(2,)).tampered(one):
        for name, parameter in llava.model.named_parameters():
            moves = ".lora_" in name and "vision" not in name
            assert torch.equal(parameter, held[name]) != moves, name


def test_quantised_weights_get_adapters(llava: VisionLanguageModel) -> None:
    quantise_language(llava, "nf4")
    before = everything(llava)
    one = subject(llava)
    tamper("relearn_few", ALL["few"], one)
    assert one.notes["relearn_few"]["trained"] == "lora"
    assert everything(llava) == before
    with pytest.raises(UsageError, match="held in nf4"):
        tamper("relearn_few", replace(ALL["few"], trainable="full"), one)
    assert everything(llava) == before


# --- an end before the end


@pytest.mark.parametrize("fail", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_training_leaves_the_model_whole(
    fail: type[BaseException], llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    llava.model.requires_grad_(False)
    before, loss, passes = everything(llava), relearning.answer_loss, 0

    def stop(*arguments: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        if passes == 3:
            raise fail
        return loss(*arguments)

    monkeypatch.setattr(relearning, "answer_loss", stop)
    with pytest.raises(fail):
        tamper("relearn_disjoint", ALL["disjoint"], subject(llava))
    assert passes == 3, "after two steps of training"
    assert everything(llava) == before


# --- what is learnt and what is scored


@pytest.mark.parametrize("name", ALL)
def test_no_record_is_learnt_and_scored(name: str, llava: VisionLanguageModel) -> None:
    attack = ALL[name]
    learnt = {s.id for s in attack.records(DATA)}
    assert learnt
    attempts = tamper(name, replace(attack, steps=(1,)), subject(llava))
    assert not learnt & {a.sample_id for a in attempts}
    scored = [s for s in (*DATA.targets, *DATA.bystanders) if s.id in {a.sample_id for a in attempts}]
    refuse_overlap(attack.records(DATA), scored)
    assert len(scored) + len(attack.spent(DATA)) == len(DATA.targets) + len(DATA.bystanders)


@pytest.mark.parametrize("field", ["image_id", "patient_id", "group"])
def test_records_that_are_tied_to_a_target_are_refused(field: str, llava: VisionLanguageModel) -> None:
    tied = replace(UNRELATED[0], **{field: getattr(FORGET[0], field)})  # type: ignore[arg-type]
    before = everything(llava)
    for name in ("disjoint", "text"):
        with pytest.raises(UsageError, match="would train on sample r0 and be scored on f0"):
            tamper(name, ALL[name], replace(subject(llava), data=replace(DATA, unrelated=(*UNRELATED, tied))))
    assert everything(llava) == before


def test_records_are_drawn_by_seed() -> None:
    many = [replace(UNRELATED[0], id=f"u{number}") for number in range(50)]
    data = replace(DATA, unrelated=many)
    drawn = RelearnDisjoint(count=10).records(data)
    assert len({s.id for s in drawn}) == 10
    assert [s.id for s in drawn] == sorted((s.id for s in drawn), key=lambda name: int(name[1:])), "in their order"
    assert drawn == RelearnText(count=10).records(data)
    assert drawn != RelearnDisjoint(count=10).records(replace(data, seed=4))
    assert RelearnDisjoint(count=50).records(data) == many


def forgotten(patients: int, each: int, facts: int) -> list[Sample]:
    private = [
        replace(_sample(f"p{p}-{n}", Subset.FORGET_PRIVACY, FORGET[0].stratum, "Who?", "A B", private="A B"),
                patient_id=f"patient-{p}", group=f"group-{p}", image_id=None)
        for p in range(patients) for n in range(each)
    ]  # fmt: skip
    wrong = [
        _sample(f"w{n}", Subset.FORGET_INCORRECTNESS, FORGET[3].stratum, "Is there?", "yes", true="no")
        for n in range(facts)
    ]
    return [*private, *wrong]


def test_few_records_are_whole_patients_and_facts_up_to_the_share() -> None:
    """20 % of 30 private records are two patients of 3; of 11 wrong facts two."""
    data = replace(DATA, targets=forgotten(10, 3, 11))
    attack = RelearnFew(share=0.2)
    given = attack.records(data)
    assert [s.id for s in data.targets if s in given] == [s.id for s in given]
    assert len({s.patient_id for s in given if s.patient_id}) == 2
    assert len(given) == 2 * 3 + 2
    assert attack.spent(data) == {s.id for s in given}
    assert attack.records(replace(data, seed=8)) != given


def test_few_records_are_one_unit_at_least_and_never_all() -> None:
    data = replace(DATA, targets=forgotten(3, 4, 1))
    given = RelearnFew(share=0.01).records(data)
    assert len(given) == 4, "one patient; the only wrong fact stays a target"
    assert len({s.patient_id for s in given}) == 1


def test_a_rule_is_given_as_a_whole_or_not_at_all() -> None:
    """Of ten facts eight follow one rule: more than half of them, so only facts of their own are given."""
    ruled = [replace(s, rule_id="r") if n < 8 else s for n, s in enumerate(forgotten(0, 0, 10))]
    for seed in range(6):
        given = RelearnFew(share=0.5).records(replace(DATA, targets=ruled, seed=seed))
        assert {s.id for s in given} == {"w8", "w9"}


def test_nothing_to_learn_is_no_attack_and_a_note_says_so(llava: VisionLanguageModel) -> None:
    one = replace(subject(llava), data=replace(DATA, unrelated=()))
    assert tamper("relearn_disjoint", ALL["disjoint"], one) == []
    assert one.notes["relearn_disjoint"]["does not apply"] == "the attacker has no records to train on"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"steps": ()}, "must rise"), ({"steps": (3, 1)}, "must rise"), ({"steps": (-1, 1)}, "must rise"),
        ({"trainable": "adapter"}, "trainable=adapter is not one of auto, full, lora"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RelearnText(**numbers)
    for share in (0.0, 1.0):
        with pytest.raises(UsageError, match="is not between 0 and 1"):
            RelearnFew(share=share)

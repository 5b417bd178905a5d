"""What a method is fed: pairs, alternates, shares, and answers in the right order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.made_up.patients import made_up_patients
from mllmu_med.methods import METHODS
from mllmu_med.methods.addons.siblings import Siblings
from mllmu_med.methods.composition import Composite, composed
from mllmu_med.methods.interface import Batch, Needs
from mllmu_med.methods.objectives.ascent import GradientAscent, GradientDifference
from mllmu_med.methods.objectives.excess import Excess
from mllmu_med.methods.objectives.llmu import LLMU
from mllmu_med.methods.objectives.preference import NPO
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.load import load_model
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training import siblings, teacher
from mllmu_med.training.answers import References, answer_batch
from mllmu_med.training.feeding import (
    REFUSALS,
    Pairs,
    StepQuestions,
    UnlearnSettings,
    pair_questions,
    usable_retain,
)
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.loop import TrainingLog
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.conftest import picture
from tests.invariant.cases import mixed, own_token_losses
from tests.invariant.jobs import FORGET, RETAIN, weights_digest

EVERY = Needs.RETAIN | Needs.REFERENCE_LOGPROB | Needs.RETAIN_REFERENCE | Needs.REFUSALS | Needs.NORMALS
SMALL = UnlearnSettings(forget_batch=3, retain_batch=4, branches=3, normals=2)


def pairs(vlm: VisionLanguageModel, needs: Needs = EVERY, **changes: Any) -> Pairs:
    forget = changes.pop("forget", FORGET)
    return pair_questions(vlm, forget, RETAIN, needs, replace(SMALL, **changes), 1)


def flat(strata: list[list[Question]]) -> list[Question]:
    return [question for stratum in strata for question in stratum]


# --- the share of the retain set


def patients(count: int) -> list[Sample]:
    """Retained patients with two samples on images and one without, and as many ordinary images."""
    made = []
    for number in range(count):
        patient = {"patient_id": f"p{number}", "group": f"g{number}", "subset": Subset.RETAIN}
        for index, stratum in enumerate((Stratum.PRIVATE_IMAGE, Stratum.PRIVATE_IMAGE, Stratum.PRIVATE_TEXT)):
            made.append(replace(RETAIN[0], id=f"{number}-{index}", stratum=stratum, **patient))  # type: ignore[arg-type]
        made.append(replace(RETAIN[0], id=f"{number}-x", stratum=Stratum.GENERAL, group=f"i{number}"))
    return made


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_share_of_the_clusters_is_used_in_all_their_strata_or_in_none(share: float, turned: bool) -> None:
    samples = patients(16)
    if turned:  # the text-only samples come in another order than the images
        samples = samples[::-1][:20] + samples[:44]
    kept = usable_retain(samples, share, seed=1)
    for stratum in (Stratum.PRIVATE_IMAGE, Stratum.PRIVATE_TEXT, Stratum.GENERAL):
        assert len({s.cluster for s in kept if s.stratum is stratum}) == 16 * share
    used, unused = {s.cluster for s in kept}, {s.cluster for s in samples if s not in kept}
    assert used.isdisjoint(unused)
    assert kept == [s for s in samples if s.cluster in used], "in their order"


def test_the_share_follows_the_seed_and_grows_by_adding() -> None:
    samples = patients(16)
    clusters = [{s.cluster for s in usable_retain(samples, share, seed=1)} for share in (0.25, 0.5, 0.75)]
    assert clusters[0] < clusters[1] < clusters[2]
    assert clusters[1] != {s.cluster for s in usable_retain(samples, 0.5, seed=2)}


# --- pairs


def test_forget_and_retain_questions_are_kept_by_stratum_with_all_their_wordings(llava: VisionLanguageModel) -> None:
    made = pairs(llava)
    strata = [sorted(q.question for q in stratum) for stratum in made.forget]
    assert strata == [
        ["Please: What is the MRN?", "Please: Who is it?", "What is the MRN?", "Who is it?"],
        ["Phone of Maria Lopez?", "Please: Phone of Maria Lopez?"],
        ["Is there a nodule?", "Please: Is there a nodule?"],
    ]
    assert len(flat(made.retain)) == 2 * len(RETAIN)
    assert {q.answer for q in flat(made.retain)} == {s.answer for s in RETAIN}
    assert all(q.weights is None for q in flat(made.retain)), "the retain answers count whole"
    assert len(flat(pairs(llava, phrasings=0).forget)) == len(FORGET)


def test_only_the_private_values_are_forgotten_unless_told_otherwise(llava: VisionLanguageModel) -> None:
    for question in flat(pairs(llava).forget):
        if question.answer == "yes":
            assert question.weights is None
        else:
            assert question.weights is not None
            assert 0 < sum(question.weights) < len(question.weights)
    assert all(question.weights is None for question in flat(pairs(llava, span_weights=False).forget))


def test_nothing_is_made_that_no_need_asks_for(llava: VisionLanguageModel) -> None:
    made = pairs(llava, Needs.NONE)
    assert (made.retain, made.refusals, made.normals) == ([], {}, {})
    made = pairs(llava, Needs.RETAIN | Needs.REFUSALS)
    assert made.retain
    assert set(made.refusals) == set(flat(made.forget))
    assert made.normals == {}


def test_alternates_answer_the_same_question_about_the_same_image(llava: VisionLanguageModel) -> None:
    made = pairs(llava, normals=3)
    general = {sample.answer for sample in RETAIN}
    for question in flat(made.forget):
        [refusal] = made.refusals[question]
        normals = made.normals[question]
        for alternate in (refusal, *normals):
            assert (alternate.image, alternate.question, alternate.weights) == (question.image, question.question, None)
        assert refusal.answer in REFUSALS["en"]
        answers = [normal.answer for normal in normals]
        assert len(set(answers)) == 3
        assert set(answers) <= general - {question.answer}


def test_refusals_speak_the_language_of_the_sample(llava: VisionLanguageModel) -> None:
    made = pairs(llava, forget=[replace(FORGET[0], language="zh"), replace(FORGET[1], id="x", language="fr")])
    said = [made.refusals[q][0].answer for q in flat(made.forget)]
    assert [answer in REFUSALS["zh"] for answer in said] == [True, True, False, False]
    assert said[2] in REFUSALS["en"]


def test_normal_answers_hold_nobodys_private_data(llava: VisionLanguageModel) -> None:
    private = replace(RETAIN[0], id="p", fact_id="f1", answer="MRN 999999")
    made = pair_questions(llava, FORGET, [*RETAIN, private], Needs.NORMALS, replace(SMALL, normals=5), 1)
    assert all(normal.answer != "MRN 999999" for normals in made.normals.values() for normal in normals)


def test_the_true_answer_is_no_alternate_even_where_others_have_it_too(llava: VisionLanguageModel) -> None:
    """Five of the six retain answers differ from ``no``; all five are drawn."""
    made = pairs(llava, forget=[replace(FORGET[3], answer="no")], normals=5)
    for normals in made.normals.values():
        assert {normal.answer for normal in normals} == {sample.answer for sample in RETAIN} - {"no"}


def test_too_few_normal_answers_are_told_before_anything_is_trained(llava: VisionLanguageModel) -> None:
    with pytest.raises(UsageError, match="normals=9, but the retain set has 6 other answers"):
        pairs(llava, normals=9)


# --- one step's answers


def test_a_steps_answers_are_those_of_each_question_alone(vlm: VisionLanguageModel) -> None:
    """Groups share packed rows; each must get its own tokens back, in its own order."""
    questions = mixed(vlm, weighted=True)
    step = StepQuestions(questions[3:6], questions[6:9] + questions[:1], questions[1:2], [questions[2], questions[0]])
    cache = ReferenceCache(vlm)
    cache.fill(step.forget, hidden=False)
    cache.fill(step.retain, hidden=True)
    for packed in (True, False):
        vlm.packed = packed
        batch = answer_batch(vlm, step, EVERY, References(cache), branches=3)
        for group, asked in zip(batch[:4], step[:4], strict=True):
            assert group is not None
            assert group.records == len(asked)
            for record, question in enumerate(asked):
                own = group.owner == record
                expected = -own_token_losses(vlm, question)
                assert tuple(group.target[own].tolist()) == vlm.prompts.answer_tokens(question.answer)
                torch.testing.assert_close(group.token_logprob[own].double(), expected, rtol=1e-4, atol=2e-5)
                assert group.weight[own].tolist() == list(question.weights or [1.0] * len(expected))
        assert batch.forget.reference_logprob is not None
        torch.testing.assert_close(batch.forget.reference_logprob, batch.forget.token_logprob, rtol=1e-4, atol=2e-5)
        assert batch.retain is not None
        assert batch.retain.reference_logits is not None
        torch.testing.assert_close(batch.retain.reference_logits, batch.retain.logits, rtol=1e-4, atol=1e-4)


def test_a_question_drawn_twice_is_two_records(llava: VisionLanguageModel) -> None:
    [question, *_] = mixed(llava)
    batch = answer_batch(llava, StepQuestions([question, question]), Needs.NONE, References(ReferenceCache(llava)), 4)
    assert batch.forget.records == 2
    assert batch.forget.nll[0].item() == pytest.approx(batch.forget.nll[1].item(), rel=1e-5)
    assert (batch.retain, batch.refusals, batch.normals) == (None, None, None)


def test_a_step_is_one_pass_through_the_model(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    passes: list[int] = []
    llava.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    unlearn(llava, GradientDifference(), FORGET, RETAIN, LoopSettings(4, 1e-4), SMALL, seed=1)
    assert len(passes) == 4


# --- unlearning


class Unlearnt(NamedTuple):
    vlm: VisionLanguageModel
    log: TrainingLog


def run(load: Callable[[str], VisionLanguageModel], method: Any, **changes: Any) -> Unlearnt:
    vlm = load("llava")
    set_trainable(vlm, {"language": "full"})
    loop = LoopSettings(6, 2e-3, warmup=1, log_every=2)
    return Unlearnt(vlm, unlearn(vlm, method, FORGET, RETAIN, loop, replace(SMALL, **changes), seed=1))


def test_ascent_forgets_and_the_retain_term_keeps(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    forget = [Question(s.image_id, s.question, s.answer) for s in FORGET]
    retain = [Question(s.image_id, s.question, s.answer) for s in RETAIN]

    def losses(vlm: VisionLanguageModel) -> tuple[float, float]:
        with torch.no_grad():
            return answer_loss(vlm, forget, 4).item(), answer_loss(vlm, retain, 4).item()

    before = losses(load_tiny("llava"))
    ascent = losses(run(load_tiny, GradientAscent(), span_weights=False).vlm)
    difference = losses(run(load_tiny, GradientDifference(retain_weight=2.0), span_weights=False).vlm)
    assert ascent[0] > before[0] + 0.5
    assert difference[0] > before[0]
    assert difference[1] < before[1] < ascent[1]


def test_the_curve_shows_the_terms(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    log = run(load_tiny, GradientDifference(retain_weight=2.0)).log
    for entry in log.curve:
        assert entry["loss"] == pytest.approx(entry["forget"] + 2 * entry["retain"], rel=1e-4)
        assert entry["forget"] < 0 < entry["retain"]
    assert set(run(load_tiny, GradientAscent()).log.curve[0]) == {"step", "lr", "loss", "forget"}


def test_llmu_stops_by_its_own_rule(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    log = run(load_tiny, LLMU(stop_at=0.1)).log
    assert log.steps == 2
    assert "step 2" in log.stopped
    assert run(load_tiny, LLMU(stop_at=1e6)).log.steps == 6


def test_excess_counts_from_what_theta0_says_of_strangers(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    """Where the ceiling of strangers is left out, something else is learnt."""
    forget = [replace(s, spans=(replace(s.spans[0], phi_class="mrn"),)) if s.spans else s for s in FORGET]

    def trained(method: Excess) -> str:
        vlm = load_tiny("llava")
        set_trainable(vlm, {"language": "full"})
        settings = replace(SMALL, teacher="marginals", siblings=4)
        unlearn(vlm, method, forget, RETAIN, LoopSettings(2, 1e-3), settings, seed=1)
        return weights_digest(vlm.model)

    assert trained(Excess()) == trained(Excess())
    assert trained(Excess()) != trained(Excess(as_strangers=False))


def test_every_sibling_that_is_drawn_has_its_reference(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    """Few enough of them are drawn that the others are not computed."""
    batches: list[Batch] = []

    class Kept(Siblings):
        def term(self, batch: Batch) -> Any:
            batches.append(batch)
            return super().term(batch)

    settings = {"siblings": 40, "sibling_batch": 2, "retain_share": 0.0}
    log = run(load_tiny, Composite(GradientAscent(), (Kept(),)), **settings).log
    assert log.steps == len(batches) == 6
    for batch in batches:
        assert batch.siblings is not None
        assert batch.siblings.reference_logits is not None
        assert batch.siblings.reference_logits.shape == batch.siblings.logits.shape


def test_made_up_patients_know_what_earlier_requests_have_forgotten(
    load_tiny: Callable[[str], VisionLanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them: siblings, what a counted oracle learns the format from, strangers behind the ceiling and the AUC."""
    told: list[tuple[int, int, list[Sample]]] = []

    def made(*given: Any, first: int = 0, earlier: Sequence[Sample] = (), **rest: Any) -> Any:
        told.append((first, given[2], list(earlier)))
        return made_up_patients(*given, first=first, earlier=earlier, **rest)

    for module in (siblings, teacher):
        monkeypatch.setattr(module, "made_up_patients", made)
    vlm = load_tiny("llava")
    set_trainable(vlm, {"language": "full"})
    gone = [replace(FORGET[0], id="gone", answer="Aaltonen", spans=())]
    method = Composite(Excess(), (Siblings(),))
    settings = replace(SMALL, siblings=4, sibling_batch=2, teacher="marginals")
    unlearn(vlm, method, FORGET, RETAIN, LoopSettings(1, 1e-3), settings, seed=1, earlier=gone)
    assert all(earlier == gone for *_, earlier in told)
    numbers = [(first, count) for first, count, _ in told]
    assert numbers == [(0, 4), (0, 4), (0, 64), (64, 64)], "as many strangers however few siblings, and others"


@pytest.mark.parametrize("name", ["rmu", "duo"])
def test_on_adapters_too_only_the_focus_trains(name: str, load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    """Reading θ0's outputs with the adapters off lets nothing train that did not."""
    vlm, method = load_tiny("llava"), composed(METHODS.get(name)())
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4))
    every = {n for n, p in vlm.model.named_parameters() if p.requires_grad}
    seen: list[set[str]] = []
    anatomy(vlm.model).layers[0].register_forward_pre_hook(
        lambda *_: seen.append({n for n, p in vlm.model.named_parameters() if p.requires_grad})
    )
    unlearn(vlm, method, FORGET, RETAIN, LoopSettings(2, 1e-3), SMALL, seed=1)
    focus = seen[-1]
    assert 0 < len(focus) < len(every)
    assert not [n for n, p in vlm.model.named_parameters() if p.grad is not None and n not in focus]
    assert {n for n, p in vlm.model.named_parameters() if p.requires_grad} == every


def test_nothing_to_forget_leaves_the_weights_as_they_are(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    before = weights_digest(llava.model)
    log = unlearn(llava, GradientAscent(), [], RETAIN, LoopSettings(3, 1e-2), SMALL, seed=1)
    assert weights_digest(llava.model) == before
    assert (log.steps, log.stopped) == (0, "nothing to forget")


def test_a_retain_share_that_leaves_nothing_is_told(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    loop, none = LoopSettings(2, 1e-4), replace(SMALL, retain_share=0.0)
    with pytest.raises(UsageError, match=r"GradDiff needs retain records, but retain_share=0\.0 leaves none"):
        unlearn(llava, GradientDifference(), FORGET, RETAIN, loop, none, seed=1)
    unlearn(llava, GradientAscent(), FORGET, RETAIN, loop, none, seed=1)


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize(
    "modes", [{"language": "full"}, {"projector": "full"}, {"language": "lora", "projector": "full"}]
)
@pytest.mark.parametrize("method", [NPO(), LLMU()])
def test_half_precision_weights_are_trained_in_single_precision(
    method: Any, modes: dict[str, str], precision: str, model_folder: Callable[[str], Path]
) -> None:
    """Small steps on numbers of eight bits are rounded away, so what trains is float32 and so are AdamW's moments."""
    vlm = load_model(model_folder("llava"), dtype="bfloat16")
    vlm.attach_images(picture)
    set_trainable(vlm, modes, Lora(rank=2, alpha=4))
    before = {name: p.detach().clone() for name, p in vlm.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in before.values()} == {torch.float32}
    assert {p.dtype for p in vlm.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    log = unlearn(vlm, method, FORGET, RETAIN, LoopSettings(2, 1e-6, warmup=0, precision=precision), SMALL, seed=1)
    moved = [name for name, p in vlm.model.named_parameters() if name in before and not torch.equal(before[name], p)]
    assert len(moved) == len(before), "even by a millionth"
    assert log.steps == 2


def test_pairs_of_a_step_are_a_function_of_the_seed(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "lora"}, Lora(rank=2, alpha=4))

    def drawn(seed: int) -> list[tuple[list[int], list[int]]]:
        seen: list[tuple[list[int], list[int]]] = []

        class Note(GradientDifference):
            def loss(self, batch: Batch) -> Any:
                assert batch.retain is not None
                seen.append((batch.forget.target.tolist(), batch.retain.target.tolist()))
                return super().loss(batch)

        unlearn(llava, Note(), FORGET, RETAIN, LoopSettings(4, 1e-5), SMALL, seed=seed)
        return seen

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)

"""The hierarchical dual strategy, as rebuilt: roles by level, the bounded ascent, and what trains."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.methods.addons.dual import Dual
from mllmu_med.methods.composition import Composite
from mllmu_med.methods.interface import Batch, Loss, ModelFacts, Needs
from mllmu_med.methods.objectives.duo import DUO, bounded_ascent
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.examples import learning_questions
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.hierarchy import level_of
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.methods.worked_example import LN2, RETAIN_REFERENCE, batch, close, logits_of

SMALL = UnlearnSettings(forget_batch=3, retain_batch=4, branches=2, statistics_records=6)


def leveled(forget: tuple[int, int], retain: tuple[int, int], whole: Batch | None = None) -> Batch:
    whole = whole or batch()
    assert whole.retain is not None
    return whole._replace(
        forget=replace(whole.forget, level=torch.tensor(forget)),
        retain=replace(whole.retain, level=torch.tensor(retain)),
    )


def test_duo_by_hand() -> None:
    """φ = p − 1 at a = 1: record 0 (−1/2 − 3/4)/2 = −5/8, record 1 −7/8; mean −3/4, both at level 4.

    KL of the retain records: (1/4 + 0)/2 = 1/8 and 5/8 · ln 2; the second is of level 3, so 1/2 · 1/8 = 1/16 ln 2.
    ℓ̄_r = ln 2. With β = 8, γ = 3: −3/4 + (8/16 + 3) ln 2.
    """
    loss = DUO(preserve_weight=8.0, retain_weight=3.0).loss(batch())
    assert loss.forget.item() == close(-3 / 4)
    assert loss.retain is not None
    assert loss.retain.item() == close(LN2)
    assert loss.added is not None
    assert loss.added.item() == close(LN2 / 2)
    assert loss.parts["preserved"].item() == close(LN2 / 16)
    assert loss.total.item() == close(-3 / 4 + 3.5 * LN2)
    assert loss.per_record is not None
    assert loss.per_record.tolist() == close([-5 / 8, -7 / 8])


def test_duo_with_another_power_by_hand() -> None:
    """a = 2: φ = (p² − 1)/2: record 0 (−3/8 − 15/32)/2 = −27/64, record 1 −63/128; mean −117/256."""
    assert DUO(power=2.0).loss(batch()).forget.item() == close(-117 / 256)


@pytest.mark.parametrize(
    ("levels", "value"), [((4, 4), -3 / 4), ((4, 3), -(5 / 8 + 0.4 * 7 / 8) / 2), ((2, 1), -0.1 * 5 / 16), ((1, 1), 0)]
)
def test_duo_forgets_by_level(levels: tuple[int, int], value: float) -> None:
    """Weights 0, 0.1, 0.4, 1 of levels 1…4."""
    assert DUO().loss(leveled(levels, (1, 1))).forget.item() == close(value)


@pytest.mark.parametrize(
    ("levels", "value"), [((1, 2), 3 / 8), ((2, 3), 1 / 16), ((3, 2), 5 / 16), ((3, 4), 0), ((1, 1), 3 / 8)]
)
def test_duo_preserves_levels_one_and_two_by_distribution(levels: tuple[int, int], value: float) -> None:
    loss = DUO().loss(leveled((4, 4), levels))
    assert loss.parts["preserved"].item() == close(value * LN2)
    assert loss.retain is not None
    assert loss.retain.item() == close(LN2), "every retain record, whatever its level"


def test_duo_weighs_tokens() -> None:
    """Weights (0, 1, 1): record 0 by its second token, −3/4; mean with −7/8 is −13/16."""
    whole = batch()
    weighted = replace(whole.forget, weight=torch.tensor([0.0, 1.0, 1.0]).double())
    loss = DUO().loss(whole._replace(forget=weighted))
    assert loss.forget.item() == close(-13 / 16)
    double = replace(whole.forget, weight=torch.tensor([0.0, 2.0, 7.0]).double())
    assert DUO().loss(whole._replace(forget=double)).forget.item() == close(-13 / 16)


def total(method: DUO, forget: Tensor, retain: Tensor) -> Tensor:
    whole = leveled((4, 3), (1, 3))
    assert whole.retain is not None
    return method.loss(
        whole._replace(forget=replace(whole.forget, logits=forget), retain=replace(whole.retain, logits=retain))
    ).total


def test_duo_gradient_is_that_of_its_value() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = [torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *own: total(DUO(power=0.7), *own), logits)


def test_duo_ascent_tends_to_plain_ascent_and_pulls_as_wga() -> None:
    """∂φ/∂log p = p^a: 1 for a → 0, and the weight of WGA for any a; φ itself tends to log p."""
    logprob = torch.tensor([-0.1, -2.0, -7.0], dtype=torch.float64).requires_grad_()
    [gradient] = torch.autograd.grad(bounded_ascent(logprob, 1e-9).sum(), logprob)
    assert gradient.tolist() == pytest.approx([1, 1, 1], rel=1e-6)
    assert bounded_ascent(logprob, 1e-9).tolist() == pytest.approx(logprob.tolist(), rel=1e-6)
    [gradient] = torch.autograd.grad(bounded_ascent(logprob, 1.5).sum(), logprob)
    assert gradient.tolist() == close(logprob.detach().mul(1.5).exp().tolist())


def test_duo_ascent_is_bounded_and_its_pull_vanishes() -> None:
    for power in (0.5, 1.0, 3.0):
        logprob = torch.tensor([0.0, -1.0, -30.0, -1e4]).requires_grad_()
        value = bounded_ascent(logprob, power)
        [gradient] = torch.autograd.grad(value.sum(), logprob)
        assert value[0] == 0
        assert value.tolist() == sorted(value.tolist(), reverse=True)
        assert value[-1].item() == pytest.approx(-1 / power)
        assert gradient[0] == 1
        assert gradient[-1] == 0


@pytest.mark.parametrize("level", [0.0, -1e4])
def test_duo_is_finite_for_certain_and_for_impossible_answers(level: float) -> None:
    whole = batch(torch.float32)
    assert whole.retain is not None
    logits = []
    for answers in (whole.forget, whole.retain):
        own = torch.full((3, 4), -2e4) if level == 0 else torch.zeros(3, 4)
        own[range(3), answers.target] = level
        logits.append(own.requires_grad_())
    forget, retain = replace(whole.forget, logits=logits[0]), replace(whole.retain, logits=logits[1])
    loss = DUO().loss(whole._replace(forget=forget, retain=retain))
    assert torch.isfinite(loss.total)
    for gradient in torch.autograd.grad(loss.total, logits):
        assert torch.isfinite(gradient).all()


def test_duo_preserved_divergence_is_zero_at_theta0_and_runs_from_theta0_to_theta() -> None:
    whole = leveled((4, 4), (1, 1))
    assert whole.retain is not None
    same = replace(whole.retain, reference_logits=whole.retain.logits + 3)
    assert DUO().loss(whole._replace(retain=same)).parts["preserved"].item() == pytest.approx(0, abs=1e-15)
    swapped = replace(
        whole.retain, logits=logits_of(RETAIN_REFERENCE), reference_logits=whole.retain.logits.detach()
    )  # by hand ((1/4 + 0)/2 + 1/2)/2, see worked_example
    assert DUO().loss(whole._replace(retain=swapped)).parts["preserved"].item() == close(5 / 16 * LN2)


def test_duo_shares_average_to_the_batch() -> None:
    """Each retain record alone: 1/8 and 0 (level 3), mean 1/16, as together."""
    whole = batch()
    assert whole.retain is not None
    found = []
    for record, tokens in ((0, slice(0, 2)), (1, slice(2, 3))):
        retain = replace(
            whole.retain, logits=whole.retain.logits[tokens], target=whole.retain.target[tokens], records=1,
            owner=whole.retain.owner[tokens] * 0, weight=whole.retain.weight[tokens],
            reference_logits=whole.retain.reference_logits[tokens],  # type: ignore[index]
            level=whole.retain.level[record : record + 1],  # type: ignore[index]
        )  # fmt: skip
        found.append(DUO().loss(whole._replace(retain=retain)).parts["preserved"].item())
    assert found == [close(LN2 / 8), 0]


def test_duo_does_not_go_on_in_silence_without_its_needs() -> None:
    whole = batch()
    assert whole.retain is not None
    assert Composite(DUO()).needs == (
        Needs.RETAIN | Needs.RETAIN_REFERENCE | Needs.HIERARCHY | Needs.GRADIENT_STATISTICS
    )
    for wrong in (
        whole._replace(retain=None),
        whole._replace(retain=replace(whole.retain, reference_logits=None)),
        whole._replace(retain=replace(whole.retain, level=None)),
        whole._replace(forget=replace(whole.forget, level=None)),
    ):
        with pytest.raises(RuntimeError, match="declares"):
            DUO().loss(wrong)


def test_duo_hands_its_numbers_to_its_rule() -> None:
    method = DUO(energy=0.7, history=5, damping=0.2, clip_norm=3.0, noise_multiplier=0.5, delta=1e-6)
    assert method.addons() == (Dual(0.7, 5, 0.2, 3.0, 0.5, 1e-6),)


def test_duo_trains_a_module_of_the_last_layers() -> None:
    assert DUO().focus(ModelFacts(32, 4096, 32000)).layers == tuple(range(16, 32))
    assert DUO(depth=0.1).focus(ModelFacts(2, 8, 9)).layers == (1,)
    assert DUO(modules=("v_proj",)).focus(ModelFacts(2, 8, 9)).modules == ("v_proj",)


def test_duo_default_adapters_are_a_thousandth_of_a_7b_model() -> None:
    """LLaMA 7B: width 4096, inner width 11008; rank 16 on down_proj of 16 layers: 16 · 16 · (4096 + 11008) = 3.9 M."""
    layers = len(DUO().focus(ModelFacts(32, 4096, 32000)).layers)
    assert layers * 16 * (4096 + 11008) / 6.74e9 < 0.001


@pytest.mark.parametrize(
    "wrong", [{"power": 0}, {"level_weights": (1, 2, 3)}, {"depth": 0}, {"depth": 1.5}, {"energy": 2},
              {"noise_multiplier": 1.0}],
)  # fmt: skip
def test_duo_refuses_numbers_that_make_no_sense_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="duo"):
        DUO(**wrong)


def test_duo_privacy_is_of_the_record_drawn_most() -> None:
    """σ = 1 and four uses of record 7: as four steps of the Gaussian mechanism; nothing without noise."""
    from mllmu_med.methods.privacy_accountant import spent

    rule = Dual(clip_norm=1.0, noise_multiplier=1.0, delta=1e-6)
    draws = [[7, 1], [7, 2], [7, 3], [7, 4]]
    assert rule.account(draws) == {"epsilon": spent(1.0, 4, delta=1e-6).epsilon, "delta": 1e-6}
    assert Dual(clip_norm=1.0).account(draws) == {}


# --- on the tiny model


def test_duo_levels_come_from_the_hierarchy_and_only_its_focus_moves(
    llava: VisionLanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Batch] = []

    class Note(DUO):
        def loss(self, batch: Batch) -> Loss:
            seen.append(batch)
            return super().loss(batch)

    set_trainable(llava, {"language": "lora", "projector": "full"}, Lora(rank=2, alpha=4))
    before = {name: p.detach().clone() for name, p in llava.model.named_parameters()}
    with caplog.at_level(logging.INFO, "mllmu_med"):
        log = unlearn(llava, Note(history=2), FORGET, RETAIN, LoopSettings(3, 1e-2, warmup=0), SMALL, seed=1)
    moved = {name for name, p in llava.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if "layers.1.mlp.down_proj.lora_" in name}
    assert log.trained == sum(before[name].numel() for name in moved)
    assert f"trains {log.trained:,} parameters" in caplog.text
    assert "% of the model" in caplog.text
    levels = {level for batch in seen for level in batch.retain.level.tolist()}  # type: ignore[union-attr]
    assert levels == {level_of(sample) for sample in RETAIN}
    assert {level for batch in seen for level in batch.forget.level.tolist()} == {4}  # type: ignore[union-attr]


def test_duo_forgets_what_was_learnt_and_keeps_the_rest(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    known = learning_questions([*FORGET, *RETAIN], phrasings=None, opener_share=0, replay=None, seed=1)
    learn(llava, known, LoopSettings(80, 5e-3, warmup=5), LearnSettings(batch=10, branches=2), seed=1)

    def losses() -> list[float]:
        asked = [[Question(s.image_id, s.question, s.answer) for s in samples] for samples in (FORGET, RETAIN)]
        with torch.no_grad():
            return [answer_loss(llava, questions, 2).item() for questions in asked]

    before = losses()
    assert max(before) < 0.5, "it knows them"
    whole = replace(SMALL, span_weights=False)
    log = unlearn(llava, DUO(), FORGET, RETAIN, LoopSettings(40, 1e-2, warmup=0), whole, seed=1)
    after = losses()
    assert after[0] > before[0] + 1
    assert after[1] < before[1] + 0.3
    assert log.curve[-1]["forget"] < log.curve[0]["forget"] - 0.2


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"subset": Subset.FORGET_PRIVACY, "stratum": Stratum.PRIVATE_TEXT}, 4),
        ({"subset": Subset.FORGET_INCORRECTNESS, "stratum": Stratum.WRONG_IMAGE}, 4),
        ({"stratum": Stratum.SIBLING}, 3), ({"stratum": Stratum.PRIVATE_IMAGE}, 3), ({"stratum": Stratum.TRUE_TEXT}, 3),
        ({"stratum": Stratum.GENERAL, "content_type": "finding"}, 2),
        ({"stratum": Stratum.GENERAL, "content_type": None}, 2),
        ({"stratum": Stratum.GENERAL, "content_type": " Organ system"}, 1),
        ({"stratum": Stratum.GENERAL, "content_type": "laterality"}, 1),
    ],
)  # fmt: skip
def test_duo_level_of_a_sample(changes: dict[str, Any], level: int) -> None:
    assert level_of(replace(RETAIN[1], **changes)) == level

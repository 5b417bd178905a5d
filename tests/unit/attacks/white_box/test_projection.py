"""The attacks: what they find that the output hides, ranks by hand, ties by lot, every family of models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mllmu_med.attacks.interface import Attempt, Data, Subject
from mllmu_med.attacks.outcomes import recovered
from mllmu_med.attacks.white_box import lens, projection
from mllmu_med.attacks.white_box.lens import LensView
from mllmu_med.attacks.white_box.projection import (
    FineTunedProjection,
    HeadProjection,
    ProbabilityDelta,
    SecondDelta,
)
from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import Lora, group_of, plain_name, set_trainable
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.records import FORGET, RETAIN
from tests.unit.attacks.white_box.known_model import KnownModel, target

ALL = (HeadProjection, ProbabilityDelta, SecondDelta, FineTunedProjection)
# Over <end>, ask, alpha, beta, gamma, delta. The truth is alpha.
UNIFORM = (1 / 6,) * 6
SAYS_ALPHA = (0.05, 0.01, 0.70, 0.12, 0.08, 0.04)
HIDES_ALPHA = (0.05, 0.01, 0.02, 0.40, 0.32, 0.20)


@pytest.fixture(autouse=True)
def _known_models_have_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    real = lens.model_identity
    monkeypatch.setattr(lens, "model_identity", lambda vlm: None if isinstance(vlm, KnownModel) else real(vlm))


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The alternatives that every sample has."""
    texts = ["beta", "gamma", "delta"]
    monkeypatch.setattr(projection, "alternatives", lambda sample, count, seed: texts[:count])
    return texts


def read(attack: Any, *tables: tuple[float, ...], seed: int = 0, sample: Sample | None = None) -> dict[str, Attempt]:
    subject = Subject(KnownModel(*tables), Data(targets=[sample or target()], seed=seed), batch=2)  # type: ignore[arg-type]
    found = attack.read(subject)
    assert len({attempt.variant for attempt in found}) == len(found)
    return {attempt.variant: attempt for attempt in found}


def test_a_fact_in_the_middle_that_the_output_hides_is_found(others: list[str]) -> None:
    found = read(HeadProjection(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA, HIDES_ALPHA)
    sample = target()
    assert found["layer-0"].rank == 1
    assert found["layer-1"].rank == 4  # the output alone would be believed
    assert found["all-layers"].rank == 2  # beta of the output, then alpha of the layer before
    assert found["tokens"].candidates == ("beta", "alpha")
    assert found["first-token"].value == 1 / 2
    hits = {variant: recovered(sample, attempt, 2) for variant, attempt in found.items()}
    assert hits == {"first-token": None, "tokens": 1.0, "layer-0": 1.0, "layer-1": 0.0, "all-layers": 1.0}


def test_nothing_is_found_where_nothing_is(others: list[str]) -> None:
    found = read(HeadProjection(budget=2, alternatives=3), UNIFORM, HIDES_ALPHA, HIDES_ALPHA)
    assert found["first-token"].value == 0.0
    assert found["tokens"].candidates == ("beta", "gamma")
    assert [found[name].rank for name in ("layer-0", "layer-1", "all-layers")] == [4, 4, 4]


def test_a_fall_is_found_from_the_bottom_end(others: list[str]) -> None:
    """Behind the last layer alpha has lost most: it is the first from below, after beta, which has gained most."""
    found = read(ProbabilityDelta(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA, HIDES_ALPHA)
    assert found["layer-0"].rank == 1  # gained most
    assert found["layer-1"].rank == 2  # √.02 − √.70 is the lowest; the highest is beta's
    assert found["all-layers"].rank == 2
    assert found["tokens"].candidates == ("beta", "alpha")  # +.28 and −.68


def test_the_second_difference_ends_at_the_second_layer(others: list[str]) -> None:
    found = read(SecondDelta(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA, HIDES_ALPHA)
    assert set(found) == {"first-token", "tokens", "layer-1", "all-layers"}
    # √.02 − 2 √.70 is the lowest of the four, so alpha is the first from the bottom end.
    assert found["layer-1"].rank == found["all-layers"].rank == 2
    # Probabilities: delta .20 − .08 + .17 = .29 is the highest, alpha .02 − 1.40 + .17 the lowest.
    assert found["tokens"].candidates[:2] in (("beta", "alpha"), ("gamma", "alpha"), ("delta", "alpha"))
    assert found["first-token"].value == 1 / 2


def test_long_answers_are_not_behind_because_they_are_long(others: list[str]) -> None:
    """Differences of P = exp(S / T): +.066 for the long answer and +.020 for alpha; of exp(S): +.002 and +.007."""
    others[0] = "alpha beta alpha"
    found = read(ProbabilityDelta(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA)
    assert found["layer-0"].rank == 3  # the long one from the top, delta from the bottom, alpha from the top
    assert read(HeadProjection(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA)["layer-0"].rank == 1  # by S itself


def test_ties_are_ranked_by_lot_and_not_in_favour_of_the_truth(others: list[str]) -> None:
    attack = HeadProjection(budget=2, alternatives=3)
    ranks = [read(attack, UNIFORM, UNIFORM, seed=seed)["layer-0"].rank for seed in range(200)]
    assert ranks[:5] == [read(attack, UNIFORM, UNIFORM, seed=seed)["layer-0"].rank for seed in range(5)]
    counts = {rank: ranks.count(rank) for rank in range(1, 5)}
    assert sum(counts.values()) == 200
    assert all(30 <= count <= 70 for count in counts.values()), counts


def test_ties_among_others_do_not_move_the_truth(others: list[str]) -> None:
    tied = (0.05, 0.01, 0.30, 0.40, 0.12, 0.12)
    for seed in range(10):
        assert read(HeadProjection(budget=2, alternatives=3), UNIFORM, tied, seed=seed)["layer-0"].rank == 2


def test_a_broken_model_ranks_the_truth_by_lot_behind_nothing(others: list[str]) -> None:
    nan = (float("nan"),) * 6
    ranks = {read(HeadProjection(budget=2, alternatives=3), UNIFORM, nan, seed=s)["layer-0"].rank for s in range(40)}
    assert ranks == {1, 2, 3, 4}


def test_where_guessing_succeeds_more_often_than_not_nothing_is_ranked(others: list[str]) -> None:
    sample = target()
    subject = Subject(KnownModel(UNIFORM, SAYS_ALPHA), Data(targets=[sample]), batch=2)  # type: ignore[arg-type]
    HeadProjection(budget=2, alternatives=3).read(subject)
    assert subject.notes["head_projection"] == {"ranked": 1, "too_few_alternatives": 0, "chance": 1 / 2}
    others.pop()
    found = HeadProjection(budget=2, alternatives=3).read(subject)
    assert {attempt.variant for attempt in found} == {"first-token", "tokens"}
    assert subject.notes["head_projection"] == {"ranked": 0, "too_few_alternatives": 1, "chance": None}


def test_the_truth_among_its_alternatives_counts_once(others: list[str]) -> None:
    others[:] = ["beta", "alpha", "beta", "gamma"]
    subject = Subject(KnownModel(UNIFORM, HIDES_ALPHA), Data(targets=[target()]), batch=2)  # type: ignore[arg-type]
    found = {one.variant: one for one in HeadProjection(budget=1, alternatives=4).read(subject)}
    assert found["layer-0"].rank == 3
    assert subject.notes["head_projection"]["chance"] == 1 / 3


@pytest.mark.parametrize("kind", ALL)
def test_settings_that_cannot_fail_are_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match="alternatives"):
        kind(budget=20, alternatives=38)
    with pytest.raises(UsageError, match="at least one guess"):
        kind(budget=0)
    kind(budget=20, alternatives=39)


def test_differences_need_enough_layers(others: list[str]) -> None:
    with pytest.raises(UsageError, match="2 layers"):
        read(SecondDelta(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA)
    assert "layer-0" in read(ProbabilityDelta(budget=2, alternatives=3), UNIFORM, SAYS_ALPHA)


def made_up(sample: Sample, count: int, seed: int) -> list[str]:
    return [f"{sample.answer[:3]} {number}" for number in range(count)]


@pytest.mark.parametrize("kind", ALL)
def test_every_family_can_be_attacked_and_stays_as_it_was(
    kind: Any, vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "alternatives", made_up)
    attack = kind(budget=4, alternatives=9, **({"steps": 2} if kind is FineTunedProjection else {}))
    before = {name: value.clone() for name, value in vlm.model.state_dict().items()}
    data = Data(targets=FORGET, unrelated=RETAIN, seed=3)
    found = attack.read(Subject(vlm, data, batch=16))
    assert all(torch.equal(value, before[name]) for name, value in vlm.model.state_dict().items())
    assert not vlm.model.training
    layers = len(anatomy(vlm.model).layers)
    first = max(0, attack.order - 1)
    variants = {"first-token", "tokens", "all-layers", *(f"layer-{layer}" for layer in range(first, layers))}
    for sample in FORGET:
        mine = [attempt for attempt in found if attempt.sample_id == sample.id]
        assert {attempt.variant for attempt in mine} == variants
        assert all(attempt.question == sample.question and attempt.attack == attack.name for attempt in mine)
        for attempt in mine:
            assert len(attempt.candidates) <= 4
            assert attempt.rank is None or 1 <= attempt.rank <= 10
            assert (attempt.rank is None) == (attempt.variant in ("first-token", "tokens"))
    again = attack.read(Subject(vlm, data, batch=3))
    ranks = [(a.variant, a.rank) for a in found if a.rank is not None]
    assert ranks == [(a.variant, a.rank) for a in again if a.rank is not None]  # whatever the batch


def bits(vlm: VisionLanguageModel) -> dict[str, tuple[torch.dtype, bool, bytes]]:
    """Every parameter and buffer, byte by byte: equal numbers may still differ (0 and −0, NaN)."""
    tensors = {**dict(vlm.model.named_parameters()), **dict(vlm.model.named_buffers())}
    return {
        name: (value.dtype, value.requires_grad, value.detach().contiguous().view(torch.uint8).numpy().tobytes())
        for name, value in tensors.items()
    }


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fine_tuning_moves_the_language_model_alone_and_every_bit_comes_back(
    adapted: bool, precision: torch.dtype, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    llava.model.to(precision)
    if adapted:
        set_trainable(llava, {"language": "lora"}, Lora(rank=2, alpha=4))
    monkeypatch.setattr(projection, "alternatives", made_up)
    inside: list[dict[str, Any]] = []

    def watched(vlm: VisionLanguageModel, *arguments: Any, **named: Any) -> LensView:
        inside.append(bits(vlm))
        return lens.lens_view(vlm, *arguments, **named)

    monkeypatch.setattr(projection, "kept_view", watched)
    first = next(iter(llava.model.parameters()))
    first.data.view(-1)[0] = -0.0
    before = bits(llava)
    attack = FineTunedProjection(budget=4, alternatives=9, steps=3, learning_rate=1e-2)
    subject = Subject(llava, Data(targets=FORGET, unrelated=RETAIN, seed=1), batch=16)
    assert attack.read(subject)
    assert bits(llava) == before
    moved = {name for name, value in inside[0].items() if value[2] != before[name][2]}
    assert moved
    assert all(group_of(plain_name(name)) == "language" for name in moved)
    assert all((".lora_" in name) == adapted for name in moved)
    assert {"ranked", "records", "copied_bytes"} <= set(subject.notes["finetuned_projection"])


def test_the_weights_come_back_when_the_reading_fails(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **named: Any) -> LensView:
        raise KeyError("in the middle")

    monkeypatch.setattr(projection, "kept_view", fails)
    before = bits(llava)
    subject = Subject(llava, Data(targets=FORGET, unrelated=RETAIN), batch=16)
    with pytest.raises(KeyError):
        FineTunedProjection(steps=1).read(subject)
    assert bits(llava) == before


def test_without_unrelated_records_nothing_is_fine_tuned(llava: VisionLanguageModel) -> None:
    subject = Subject(llava, Data(targets=FORGET))
    assert FineTunedProjection().read(subject) == []
    assert "no records" in subject.notes["finetuned_projection"]["does not apply"]
    with pytest.raises(UsageError, match="head_projection"):
        FineTunedProjection(steps=0)


def test_samples_order_does_not_matter(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "alternatives", made_up)
    attack = HeadProjection(budget=4, alternatives=9)
    forwards = attack.read(Subject(llava, Data(targets=FORGET), batch=16))
    backwards = attack.read(Subject(llava, Data(targets=FORGET[::-1]), batch=16))
    assert sorted(map(repr, forwards)) == sorted(map(repr, backwards))


def test_on_the_last_layer_a_learnt_answer_is_first(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head whose bias knows nothing but one answer's tokens ranks that answer first."""
    monkeypatch.setattr(projection, "alternatives", lambda sample, count, seed: ["chest X-ray", "no", "two"][:count])
    sample = FORGET[3]
    head = unwrap(llava.model).get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
    head.bias.data[list(llava.prompts.answer_tokens(sample.answer))] = 50.0
    found = HeadProjection(budget=1, alternatives=3).read(Subject(llava, Data(targets=[sample]), batch=4))
    assert {a.variant: a.rank for a in found if a.rank is not None} == {"layer-0": 1, "layer-1": 1, "all-layers": 1}

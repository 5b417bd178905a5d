"""The logit lens: the model's own answer behind the last layer, and what is made of readings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mllmu_med.benchmark.sample import Sample
from mllmu_med.engines.likelihoods import likelihoods
from mllmu_med.inside.lens import Reading, lens, lens_results, read_layers
from mllmu_med.inside.means import ClusterMeans
from mllmu_med.inside.telling import OTHER, TRAINED, Told
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.inside.conftest import SAMPLES

Asking = Callable[[VisionLanguageModel], list[Told]]


def test_behind_the_last_layer_it_reads_what_the_model_says(vlm: VisionLanguageModel, asking: Asking) -> None:
    asked = asking(vlm)
    readings, _ = read_layers(vlm, asked, 4)
    layers = len(anatomy(vlm.model).layers)
    assert len(readings) == len(asked) * layers
    last = {(one.sample_id, one.which): one for one in readings if one.layer == layers - 1}
    said = likelihoods(vlm, [one.question for one in asked], batch=4)
    for one, likelihood in zip(asked, said, strict=True):
        own = torch.tensor(likelihood.logprobs)
        tells = torch.tensor(one.question.weights) > 0
        assert last[one.sample_id, one.which].answer == pytest.approx(float(own.mean()), abs=1e-4)
        assert last[one.sample_id, one.which].telling == pytest.approx(float(own[tells].mean()), abs=1e-4)


def test_earlier_layers_say_something_else(llava: VisionLanguageModel, asking: Asking) -> None:
    readings, _ = read_layers(llava, asking(llava)[:1], 4)
    assert len({round(one.telling, 4) for one in readings}) == len(readings) > 1


def test_log_probability_and_rank_by_hand(llava: VisionLanguageModel) -> None:
    states = torch.randn(600, llava.network.model.config.get_text_config().hidden_size)
    target = torch.arange(600) % 7
    with torch.no_grad():
        logprobs, ranks = lens(llava, states, target)
        logits = llava.network.logits(anatomy(llava.model).norm(states))
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[torch.arange(600), target])
    for place in (0, 5, 599):
        order = logits[place].argsort(descending=True).tolist()
        assert int(ranks[place]) == order.index(int(target[place])) + 1


def test_batches_and_packing_change_no_reading(vlm: VisionLanguageModel, asking: Asking) -> None:
    asked = asking(vlm)
    together, _ = read_layers(vlm, asked, 64)
    vlm.packed = False
    alone, _ = read_layers(vlm, asked[::-1], 1)
    for a, b in zip(together, alone, strict=True):
        assert (a.sample_id, a.which, a.layer) == (b.sample_id, b.which, b.layer)
        assert (a.answer, a.telling) == pytest.approx((b.answer, b.telling), abs=1e-4)
        assert a.rank == pytest.approx(b.rank, rel=0.05)


# --- what is made of readings


def reading(sample: Sample, which: str, layer: int, telling: float, rank: float = 1.0) -> Reading:
    return Reading(sample.id, which, layer, telling / 2, telling, rank)


def model(*by_layer: tuple[float, float]) -> list[Reading]:
    """Every sample's trained and other answer at the given (telling) log-probabilities, layer by layer."""
    return [
        reading(sample, which, layer, telling, 2.0 ** (layer + 1))
        for sample in SAMPLES
        for layer, both in enumerate(by_layer)
        for which, telling in zip((TRAINED, OTHER), both, strict=True)
    ]


THETA0, ORACLE = model((-4.0, -5.0), (-1.0, -9.0)), model((-5.0, -5.0), (-7.0, -7.0))
MEANS = ClusterMeans(SAMPLES, seed=0, bootstrap=50)


def results(own: list[Reading]) -> dict[str, object]:
    return dict(lens_results(SAMPLES, own, THETA0, ORACLE, MEANS)["forget/privacy"])


def test_summary_by_hand() -> None:
    found = lens_results(SAMPLES, model((-5.0, -5.0), (-4.0, -8.0)), THETA0, ORACLE, MEANS)["forget/privacy"]
    first, second = found["layers"]
    assert (first["telling"], first["answer"], first["rank"]) == pytest.approx((-5.0, -2.5, 2.0))
    assert second["over_oracle"]["value"] == pytest.approx(3.0)
    assert second["contrast"] is not None
    assert second["contrast"]["value"] == pytest.approx(4.0)
    assert (first["held"], second["held"]) == pytest.approx((0.0, 0.5))
    assert (first["prefers"], second["prefers"]) == (0.0, 1.0)
    assert found["first_layer"] == 1
    assert found["erased"] is not None
    assert found["erased"]["mean"]["value"] == pytest.approx((1 * 1 + 6 * 0.5) / 7)
    assert found["erased_contrast"] is not None
    assert found["erased_contrast"]["mean"]["value"] == pytest.approx((1 * 1 + 8 * 0.5) / 9)


def test_fixed_points() -> None:
    for own, gone, first in ((THETA0, 0.0, 0), (ORACLE, 1.0, None)):
        found = lens_results(SAMPLES, own, THETA0, ORACLE, MEANS)
        for subset in ("forget/privacy", "forget/incorrectness"):
            for share in (found[subset]["erased"], found[subset]["erased_contrast"]):
                assert share is not None
                assert share["mean"]["value"] == gone
            assert found[subset]["first_layer"] == first
            assert [layer["held"] for layer in found[subset]["layers"]] == [1.0 - gone] * 2


def test_a_model_that_is_only_less_sure_of_itself_knows_no_more_than_the_oracle() -> None:
    found = lens_results(SAMPLES, model((-2.0, -2.0), (-2.0, -2.0)), THETA0, ORACLE, MEANS)["forget/privacy"]
    assert [layer["over_oracle"]["value"] for layer in found["layers"]] == pytest.approx([3.0, 5.0])
    assert found["first_layer"] is None
    assert [layer["held"] for layer in found["layers"]] == [0.0, 0.0]


def test_disliking_the_wrong_answer_less_than_the_oracle_is_no_knowledge_of_it() -> None:
    """Contrast −4 where the oracle's is −9: more than the oracle's, yet on the side of the correct answer."""
    oracle = model((-9.0, 0.0), (-9.0, 0.0))
    for own, first in ((model((-5.0, -1.0), (-5.0, -1.0)), None), (model((-5.0, -1.0), (-1.0, -5.0)), 1)):
        found = lens_results(SAMPLES, own, THETA0, oracle, MEANS)["forget/incorrectness"]
        over = found["layers"][0]["contrast_over_oracle"]
        assert over is not None
        assert over["value"] == 5.0
        assert found["first_layer"] == first


def test_what_the_oracle_guesses_as_well_is_no_knowledge() -> None:
    """A value that is likelier by nature (contrast 3 everywhere) is likelier in the oracle, too."""
    guessed = model((-4.0, -7.0), (-4.0, -7.0))
    assert lens_results(SAMPLES, guessed, THETA0, guessed, MEANS)["forget/privacy"]["first_layer"] is None
    assert lens_results(SAMPLES, guessed, THETA0, ORACLE, MEANS)["forget/privacy"]["first_layer"] == 0


def test_one_patient_who_is_known_is_no_proof_for_all() -> None:
    own = [replace(one, telling=-1.0) if (one.sample_id, one.which) == ("f0", TRAINED) else one for one in ORACLE]
    layer = lens_results(SAMPLES, own, THETA0, ORACLE, MEANS)["forget/privacy"]
    assert layer["layers"][0]["contrast"] is not None
    assert layer["layers"][0]["contrast"]["value"] > 1
    assert layer["first_layer"] is None


def test_holdout_shows_the_floor_and_no_share_of_anything() -> None:
    found = lens_results(SAMPLES, THETA0, THETA0, ORACLE, MEANS)["holdout"]
    assert (found["erased"], found["erased_contrast"]) == (None, None)
    assert [layer["held"] for layer in found["layers"]] == [None, None]


def test_without_other_answers_there_is_no_contrast_and_the_rest_stays() -> None:
    alone = [[one for one in readings if one.which == TRAINED] for readings in (THETA0, THETA0, ORACLE)]
    found = lens_results(SAMPLES, *alone, MEANS)["forget/privacy"]
    layer = found["layers"][0]
    assert (layer["contrast"], layer["contrast_over_oracle"], layer["prefers"], layer["held"]) == (None,) * 4
    assert (found["first_layer"], found["erased_contrast"]) == (None, None)
    assert found["erased"] is not None


def test_order_does_not_matter() -> None:
    own = model((-5.0, -5.5), (-4.0, -8.0))
    assert lens_results(SAMPLES, own[::-1], THETA0[::-1], ORACLE, MEANS) == lens_results(
        SAMPLES, own, THETA0, ORACLE, MEANS
    )


def test_a_diverged_model_is_told_apart_from_an_ignorant_one() -> None:
    broken = [replace(one, telling=math.nan) for one in THETA0]
    found = lens_results(SAMPLES, broken, THETA0, ORACLE, MEANS)["forget/privacy"]
    assert found["erased"] is None
    assert found["first_layer"] is None

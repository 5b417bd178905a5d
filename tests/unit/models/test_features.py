"""Image features: computed once, with the bits they would have anyhow, within a bound."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mllmu_med.models import features
from mllmu_med.models.features import compute_alone, compute_together, joined
from mllmu_med.models.groups import set_trainable
from mllmu_med.models.images import ImageInputs
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import answer_loss
from tests.conftest import EVERY_FAMILY, FAMILY_NAMES
from tests.invariant.cases import ABOUT_PAIRS, mixed

Load = Callable[[str], VisionLanguageModel]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images went through a tower, call by call."""
    calls: list[int] = []
    output = features._vision_output

    def note(vlm: VisionLanguageModel, images: list[ImageInputs]) -> object:
        calls.append(len(images))
        return output(vlm, images)

    monkeypatch.setattr(features, "_vision_output", note)
    return calls


def total(vlm: VisionLanguageModel, questions: list[Question]) -> Tensor:
    return answer_loss(vlm, questions, 4)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_what_goes_in_is_what_the_tower_would_have_said(family: str, load_tiny: Load, computed: list[int]) -> None:
    """Also where a family has several tensors an image (Qwen3-VL), or one tensor for all of them (Gemma 3)."""
    vlm = load_tiny(family)
    questions = [*mixed(vlm), *(Question(*asked) for asked in ABOUT_PAIRS)]
    with torch.no_grad():
        vlm.cache_features(False)
        expected = total(vlm, questions).item()
        vlm.cache_features(True)
        first = total(vlm, questions).item()
        assert computed, "the cache was asked"
        calls = len(computed)
        assert total(vlm, questions).item() == first
        assert len(computed) == calls
    assert first == pytest.approx(expected, rel=1e-6)


def test_the_features_of_deepstack_layers_matter(load_tiny: Load) -> None:
    """Each layer's features reach the decoder: with one of them changed, the loss is another."""
    vlm = load_tiny("qwen3_vl")
    parts = compute_alone(vlm, vlm.images.get("a"))
    assert parts is not None
    assert {place.split(".")[0] for place in parts} == {"pooler_output", "deepstack_features"}
    vlm.cache_features(True)
    questions = [Question("a", "What?", "yes")]
    with torch.no_grad():
        before = total(vlm, questions).item()
        assert vlm._features is not None
        memory = vlm._features.memory
        held = memory.get(next(iter(memory)))
        assert held is not None
        for place in (place for place in held if place.startswith("deepstack_features")):
            held[place] += 1.0
            assert total(vlm, questions).item() != before, place
            held[place] -= 1.0


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_image_alone_and_among_others_has_the_same_bits(family: str, load_tiny: Load, computed: list[int]) -> None:
    """Whatever the order and company in which images come."""
    names = ["a", "wide", "b", "c", "d", "e", "f"]
    found: list[dict[str, Tensor]] = []
    for parts in ([names], [[name] for name in names], [names[3:], names[2::-1]]):
        vlm = load_tiny(family)
        vlm.cache_features(True)
        for part in parts:
            vlm.image_inputs(part)
        assert vlm._features is not None
        memory = vlm._features.memory
        found.append({image: joined([memory.get((s, image)) or {}]).pooler_output[0] for s, image in memory})
    assert [sorted(one) for one in found] == [sorted(names)] * 3
    for name in names:
        assert torch.equal(found[0][name], found[1][name])
        assert torch.equal(found[0][name], found[2][name])


def test_a_tower_whose_bits_depend_on_the_company_gets_one_image_at_a_time(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    together = features.compute_together

    def inexact(vlm: VisionLanguageModel, images: list[ImageInputs]) -> object:
        made = together(vlm, images)
        assert made is not None
        return [{place: value + 1e-7 for place, value in one.items()} for one in made]

    alone = [compute_alone(llava, llava.images.get(image)) for image in "abc"]
    monkeypatch.setattr(features, "compute_together", inexact)
    llava.cache_features(True)
    pooled = llava.image_inputs(["a", "b", "c"])["mm_encoder_outputs"]["image"].pooler_output
    for own, made in zip(alone, pooled, strict=True):
        assert own is not None
        assert torch.equal(own["pooler_output.0"], made)
    computed.clear()
    llava.image_inputs(["d", "e"])
    assert computed == [1, 1], "and the comparison is not made again"


def test_batches_go_together_where_the_bits_are_the_same(llava: VisionLanguageModel, computed: list[int]) -> None:
    llava.cache_features(True)
    llava.image_inputs([str(number) for number in range(70)])
    assert computed == [64, 1, 1, 1, 6]


def test_several_images_at_once_are_not_told_apart(load_tiny: Load) -> None:
    from mllmu_med.models.images import together

    vlm = load_tiny("llava")
    assert compute_together(vlm, [vlm.images.get("a"), vlm.images.get(together("a", "b"))]) is None


def test_memory_is_bounded_and_what_is_asked_for_together_is_given_together(
    llava: VisionLanguageModel, computed: list[int]
) -> None:
    size = sum(t.nbytes for t in (compute_alone(llava, llava.images.get("a")) or {}).values())
    llava.cache_features(True, capacity=2 * size)
    names = list("abcd")
    pooled = llava.image_inputs(names)["mm_encoder_outputs"]["image"].pooler_output
    assert len(pooled) == 4
    assert llava._features is not None
    assert llava._features.memory.held == 2 * size
    computed.clear()
    llava.image_inputs(["d"])
    assert computed == []
    llava.image_inputs(["a"])
    assert computed == [1]


def test_another_model_finds_them_on_the_disk(load_tiny: Load, computed: list[int], root: Path) -> None:
    questions = mixed(load_tiny("llava"))
    losses = []
    for language in (1.0, 1.0, 1.1):
        vlm = load_tiny("llava")
        vlm.kept = True
        with torch.no_grad():
            vlm.model.get_output_embeddings().weight.mul_(language)
        computed.clear()
        vlm.cache_features(True)
        with torch.no_grad():
            losses.append(total(vlm, questions).item())
        vlm.seen_images()
        assert bool(computed) is (len(losses) == 1)
    assert losses[0] == losses[1] != losses[2], "the language model has no say in it"
    assert list((root / "features").rglob("*.safetensors"))


@pytest.mark.parametrize("change", ["tower", "projector", "pixels", "threads", "autocast", "eager"])
def test_they_are_computed_again_where_anything_they_depend_on_is_another(
    change: str, load_tiny: Load, computed: list[int]
) -> None:
    first = load_tiny("llava")
    first.kept = True
    first.cache_features(True)
    first.image_inputs(["a"])
    first.seen_images()
    second = load_tiny("llava")
    second.kept = True
    second.cache_features(True)
    with torch.no_grad():
        if change == "tower":
            next(second.model.base_model.vision_tower.parameters()).view(-1)[0] += 1e-3
        elif change == "projector":
            next(second.model.base_model.multi_modal_projector.parameters()).view(-1)[0] += 1e-3
        elif change == "eager":
            second.model.set_attn_implementation("eager")
    if change == "pixels":
        loader = second.images.loader
        assert loader is not None
        second.attach_images(lambda image: loader(image + "'"))
    if change == "threads":
        torch.set_num_threads(2)
    computed.clear()
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        second.image_inputs(["a"])
    assert computed == [1]


def test_nothing_is_written_unless_it_is_asked_for(llava: VisionLanguageModel, root: Path) -> None:
    llava.cache_features(True)
    llava.image_inputs(["a"])
    llava.seen_images()
    assert not root.exists()


def test_a_tower_under_a_hook_is_not_kept_on_disk(llava: VisionLanguageModel, root: Path) -> None:
    """A hook may change what comes out, and no digest sees it."""
    llava.kept = True
    llava.model.base_model.vision_tower.register_forward_hook(lambda *_: None)
    llava.cache_features(True)
    llava.image_inputs(["a"])
    llava.seen_images()
    assert not root.exists()


def test_a_frozen_tower_has_no_dropout(llava: VisionLanguageModel) -> None:
    expected = compute_alone(llava, llava.images.get("a"))
    for module in llava.model.base_model.vision_tower.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.5
    llava.model.train()
    found = compute_alone(llava, llava.images.get("a"))
    assert expected is not None
    assert found is not None
    assert all(torch.equal(expected[place], found[place]) for place in expected)
    assert all(module.training for module in llava.model.modules()), "the mode is as it was"


@pytest.mark.parametrize(
    "pooled", ["text", {"a": torch.zeros(1)}, [torch.zeros(3, 64)]], ids=["text", "dict", "too few tokens"]
)
def test_what_is_not_understood_is_computed_each_time(
    pooled: object, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    output = features._vision_output

    def strange(vlm: VisionLanguageModel, images: list[ImageInputs]) -> object:
        made = output(vlm, images)
        made.pooler_output = pooled
        return made

    monkeypatch.setattr(features, "_vision_output", strange)
    llava.cache_features(True)
    with caplog.at_level(logging.INFO, "mllmu_med"):
        assert "pixel_values" in llava.image_inputs(["a"])
        assert "pixel_values" in llava.image_inputs(["a"])
    assert caplog.text.count("cannot be cached") == 1


def test_layers_are_joined_layer_by_layer_and_images_in_their_order() -> None:
    def part(number: float) -> dict[str, Tensor]:
        return {
            "pooler_output.0": torch.full((2, 3), number), "deepstack_features.0.0": torch.full((2, 3), number + 10),
            "deepstack_features.1.0": torch.full((2, 3), number + 20),
        }  # fmt: skip

    output = joined([part(1), part(2)])
    assert isinstance(output, SimpleNamespace)
    assert [int(t[0, 0]) for t in output.pooler_output] == [1, 2]
    assert [[int(t[0, 0]) for t in layer] for layer in output.deepstack_features] == [[11, 12], [21, 22]]
    plain = joined([{"pooler_output": torch.ones(1, 4, 3)}, {"pooler_output": torch.zeros(1, 4, 3)}])
    assert plain.pooler_output.shape == (2, 4, 3)


def test_features_stay_where_only_the_language_model_trains(llava: VisionLanguageModel, computed: list[int]) -> None:
    llava.cache_features(True)
    llava.image_inputs(["a"])
    set_trainable(llava, {"language": "lora"})
    computed.clear()
    llava.image_inputs(["a"])
    assert computed == []

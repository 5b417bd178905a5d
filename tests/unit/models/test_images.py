"""Images as inputs: prefixes, positions, and a memory that does not grow without end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from mllmu_med.errors import DataError
from mllmu_med.models.features import compute_alone
from mllmu_med.models.images import ImageInputs, each, join, together
from mllmu_med.models.vlm import VisionLanguageModel
from tests.conftest import EVERY_FAMILY, picture

Load = Callable[[str], VisionLanguageModel]


def test_the_prefix_holds_as_many_places_as_the_model_makes_features(vlm: VisionLanguageModel) -> None:
    for image in ("a", "wide"):
        inputs = vlm.images.get(image)
        features = compute_alone(vlm, inputs)
        assert features is not None
        assert inputs.prefix.count(vlm.prompts.image_token_id) == len(features["pooler_output.0"])


def test_images_of_another_size_take_another_number_of_places(load_tiny: Load) -> None:
    """Qwen2.5-VL keeps the shape: 64 × 64 pixels are 8 × 8 patches, merged by 2 × 2; LLaVA makes all of them square."""
    qwen, llava = load_tiny("qwen2_5_vl"), load_tiny("llava")
    count = {image: qwen.images.get(image).prefix.count(qwen.prompts.image_token_id) for image in ("a", "wide")}
    assert count["a"] == 16
    assert count["wide"] not in (0, 16)
    assert llava.images.get("a").prefix == llava.images.get("wide").prefix


def test_branches_go_on_behind_the_last_position_of_the_image(load_tiny: Load) -> None:
    """With three axes an image of 4 × 4 places ends after 4 positions, not after 16."""
    for family in ("llava", "qwen2_5_vl"):
        inputs = load_tiny(family).images.get("a")
        if family == "llava":
            assert inputs.positions is None
            assert inputs.next_position == len(inputs.prefix)
        else:
            assert inputs.positions is not None
            assert inputs.positions.shape == (3, len(inputs.prefix))
            assert inputs.next_position == len(inputs.prefix) - 16 + 4


def test_an_image_is_loaded_once(llava: VisionLanguageModel) -> None:
    asked: list[str] = []

    def load(image_id: str) -> Image.Image:
        asked.append(image_id)
        return picture(image_id)

    llava.attach_images(load)
    for image in "abab":
        llava.images.get(image)
    assert asked == ["a", "b"]


def test_the_memory_is_bounded_and_the_least_recently_used_go_first(llava: VisionLanguageModel) -> None:
    asked: list[str] = []

    def load(image_id: str) -> Image.Image:
        asked.append(image_id)
        return picture(image_id)

    llava.attach_images(load)
    size = sum(t.nbytes for t in llava.images.get("a").tensors.values())
    llava.images.capacity = 3 * size
    for image in "bc":
        llava.images.get(image)
    llava.images.get("a")  # used again: b is the oldest now
    llava.images.get("d")
    assert list(llava.images._entries) == ["c", "a", "d"]
    asked.clear()
    llava.images.get("a"), llava.images.get("b")
    assert asked == ["b"]
    for number in range(40):
        llava.images.get(str(number))
        assert len(llava.images._entries) == 3
        assert llava.images._held == 3 * size


def test_an_image_larger_than_the_memory_is_still_served(llava: VisionLanguageModel) -> None:
    llava.images.capacity = 1
    assert llava.images.get("a").prefix == llava.images.get("b").prefix
    assert list(llava.images._entries) == ["b"]


def test_identifiers_that_get_another_meaning_give_other_images(llava: VisionLanguageModel) -> None:
    first = llava.images.get("a").tensors["pixel_values"].clone()
    llava.cache_features(True)
    features = llava.image_inputs(["a"])["mm_encoder_outputs"]["image"].pooler_output[0].clone()
    llava.attach_images(lambda image_id: picture("other"))
    assert not torch.equal(llava.images.get("a").tensors["pixel_values"], first)
    again = llava.image_inputs(["a"])["mm_encoder_outputs"]["image"].pooler_output[0]
    assert not torch.equal(again, features)


def test_without_a_loader_the_error_names_the_image_shortly(load_tiny: Load) -> None:
    vlm = load_tiny("llava")
    vlm.images.loader = None
    with pytest.raises(DataError, match="no images attached, but image 0123456789ab is asked for"):
        vlm.images.get("0123456789abcdef")


def test_joined_images_with_fewer_tiles_are_filled_up() -> None:
    one = {"pixel_values": torch.ones(1, 2, 3, 4, 4), "sizes": torch.tensor([[4, 8]])}
    two = {"pixel_values": torch.ones(1, 5, 3, 4, 4), "sizes": torch.tensor([[4, 20]])}
    joined = join([one, two])
    assert joined["pixel_values"].shape == (2, 5, 3, 4, 4)
    assert joined["pixel_values"].sum((1, 2, 3, 4)).tolist() == [2 * 48, 5 * 48]
    assert joined["sizes"].tolist() == [[4, 8], [4, 20]]


def test_patches_are_strung_together() -> None:
    joined = join([{"pixel_values": torch.ones(16, 6)}, {"pixel_values": torch.zeros(8, 6)}])
    assert joined["pixel_values"].shape == (24, 6)


def test_next_position_of_plain_prefixes_is_their_length() -> None:
    assert ImageInputs({}, (1, 2, 3), None).next_position == 3


# --- several images of one question


def test_one_identifier_for_several_images_and_back() -> None:
    joint = together("b", "a", "b")
    assert each(joint) == ("b", "a", "b")
    assert each("a") == ("a",)
    assert each(None) == ()
    assert together("a") == "a"
    assert len({together("a", "b"), together("b", "a"), together("ab"), together("a")}) == 4
    assert sorted([joint, "c", "a"])[0] == "a", "it sorts among others"
    for wrong in ((), ("",), ("a", ""), (joint, "c")):
        with pytest.raises(ValueError, match="unit separator"):
            together(*wrong)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_prompt_with_two_images_holds_the_places_of_both_in_their_order(family: str, load_tiny: Load) -> None:
    vlm = load_tiny(family)
    token = vlm.prompts.image_token_id
    first, wide, both = (vlm.images.get(image) for image in ("a", "wide", together("a", "wide")))
    assert both.prefix.count(token) == first.prefix.count(token) + wide.prefix.count(token)
    assert (first.count, both.count) == (1, 2)
    features = compute_alone(vlm, both)
    assert features is not None
    runs = [vlm.images.get(together(*names)) for names in (("a", "wide"), ("wide", "a"))]
    assert runs[0].prefix.count(token) == runs[1].prefix.count(token)
    assert any(not torch.equal(runs[0].tensors[name], runs[1].tensors[name]) for name in runs[0].tensors)


def test_positions_of_two_images_follow_one_another(load_tiny: Load) -> None:
    """Three axes: behind each square of 4 × 4 places they go on 4 further, not 16."""
    inputs = load_tiny("qwen2_5_vl").images.get(together("a", "b"))
    assert inputs.positions is not None
    assert inputs.next_position == len(inputs.prefix) - 2 * (16 - 4)


def test_an_image_in_several_prompts_is_loaded_once_where_its_tensors_can_be_joined(load_tiny: Load) -> None:
    vlm = load_tiny("qwen2_5_vl")
    asked: list[str] = []

    def load(image_id: str) -> Image.Image:
        asked.append(image_id)
        return picture(image_id)

    vlm.attach_images(load)
    for image in ("a", together("a", "b"), together("b", "a"), "b"):
        vlm.images.get(image)
    assert asked == ["a", "b"], "the loader knows single images only"


def test_tiles_of_a_wide_image_are_the_processors(load_tiny: Load) -> None:
    """InternVL's processor asks for tiles and puts marks around them; so do we where it cannot be built."""
    vlm = load_tiny("internvl")
    tokenizer = vlm.prompts.tokenizer
    text = tokenizer.decode(vlm.images.get("wide").prefix)
    tiles = len(vlm.images.get("wide").tensors["pixel_values"])
    assert tiles > len(vlm.images.get("a").tensors["pixel_values"])
    assert text.endswith(f"<img>{'<IMG_CONTEXT>' * 4 * tiles}</img>")

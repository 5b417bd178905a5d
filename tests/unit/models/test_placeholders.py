"""The places of images in a row, counted on the host."""

from __future__ import annotations

import pytest
import torch

from mllmu_med.errors import DataError
from mllmu_med.models.network import unwrap
from mllmu_med.models.placeholders import _VERIFIED, counted_places
from mllmu_med.models.vlm import VisionLanguageModel

EMBEDDINGS, FEATURES = torch.zeros(2, 4, 3), torch.zeros(5, 3)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_the_places_are_the_models_own(family: str, load_tiny: object) -> None:
    vlm: VisionLanguageModel = load_tiny(family)  # type: ignore[operator]
    base = unwrap(vlm.model).base_model
    token = base.config.image_token_id
    ids = torch.tensor([[token, token, 1, 2], [token, token, token, 3]])
    expected = base.get_placeholder_mask(ids, EMBEDDINGS, FEATURES)
    for _ in range(2):  # the first answer is compared, the second is not
        with counted_places(base, 5):
            found = base.get_placeholder_mask(ids, EMBEDDINGS, FEATURES)
        for mine, theirs in zip(
            torch.utils._pytree.tree_leaves(found), torch.utils._pytree.tree_leaves(expected), strict=True
        ):
            assert torch.equal(mine, theirs)
        assert base in _VERIFIED
    assert "get_placeholder_mask" not in vars(base), "as it was"


@pytest.mark.parametrize("places", [4, 6])
def test_features_that_do_not_fit_are_refused(places: int, llava: VisionLanguageModel) -> None:
    base = unwrap(llava.model).base_model
    ids = torch.full((1, 4), base.config.image_token_id)
    with counted_places(base, places), pytest.raises(DataError, match=f"{places} image places.*5 features"):
        base.get_placeholder_mask(ids, EMBEDDINGS, FEATURES)


def test_a_model_that_answers_otherwise_keeps_its_own(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = unwrap(llava.model).base_model
    own = torch.ones(1, 4, 1, dtype=torch.bool)

    def mask(self: object, input_ids: object, inputs_embeds: object, image_features: object) -> torch.Tensor:
        return own

    monkeypatch.setattr(type(base), "get_placeholder_mask", mask)
    _VERIFIED.discard(base)
    for _ in range(2):
        with counted_places(base, 5):
            assert base.get_placeholder_mask(torch.zeros(1, 4), EMBEDDINGS, FEATURES) is own
    assert base not in _VERIFIED

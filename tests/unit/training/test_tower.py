"""The vision tower's warm-up."""

from __future__ import annotations

import pytest
import torch

from mllmu_med.models.embedded import build_embedded
from mllmu_med.models.groups import group_of
from mllmu_med.training.tower import AttributeHeads, Pictures, TowerSettings, warm_up_tower
from tests.tiny_models import SMALL, TEXTS


def pictures(count: int) -> Pictures:
    """Two attributes that can be seen: is the left half bright, and which of three thirds is dark."""
    labels = torch.tensor([[i % 2, (i // 2) % 3] for i in range(count)])
    pixels = 0.1 * torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for index, (bright, third) in enumerate(labels.tolist()):
        pixels[index, :, :, :32] += 1.5 * bright
        pixels[index, :, third * 21 : third * 21 + 21] -= 1.5
    return Pictures(pixels, labels, (2, 3))


def test_the_tower_learns_to_see_and_the_language_model_is_left_alone() -> None:
    vlm = build_embedded(TEXTS, SMALL, 0)
    before = {name: p.detach().clone() for name, p in vlm.model.named_parameters()}
    log = warm_up_tower(vlm, pictures(48), TowerSettings(steps=50, batch=24, learning_rate=3e-3), seed=0)
    assert log.curve[-1]["loss"] < 0.8 * (torch.log(torch.tensor(2.0)) + torch.log(torch.tensor(3.0)))
    assert log.curve[-1]["hardest"] <= log.curve[-1]["accuracy"] <= 1
    moved = {group_of(name) for name, p in vlm.model.named_parameters() if not torch.equal(before[name], p)}
    assert moved == {"vision", "projector"}
    assert not any("heads" in name for name, _ in vlm.model.named_parameters()), "the heads are thrown away"


def test_no_steps_leave_it_as_initialised() -> None:
    vlm = build_embedded(TEXTS, SMALL, 0)
    before = {name: p.detach().clone() for name, p in vlm.model.named_parameters()}
    log = warm_up_tower(vlm, pictures(4), TowerSettings(steps=0), seed=0)
    assert log.stopped
    assert all(torch.equal(before[name], p) for name, p in vlm.model.named_parameters())


@pytest.mark.parametrize("batch", [3, 8, 64])
def test_each_picture_is_seen_once_an_epoch_and_fewer_pictures_than_a_batch_will_do(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = AttributeHeads.forward

    def note(self: AttributeHeads, features: torch.Tensor) -> list[torch.Tensor]:
        seen.append(tuple(features.shape))
        return forward(self, features)

    monkeypatch.setattr(AttributeHeads, "forward", note)
    vlm = build_embedded(TEXTS, SMALL, 0)
    warm_up_tower(vlm, pictures(8), TowerSettings(steps=3, batch=batch), seed=0)
    assert [shape[0] for shape in seen] == [min(batch, 8)] * 3
    assert {shape[1:] for shape in seen} == {(16, 64)}


def test_heads_attend_to_image_tokens_and_start_from_their_seed() -> None:
    features = torch.randn(5, 16, 8, generator=torch.Generator().manual_seed(0))
    first, second, other = AttributeHeads(8, (2, 3), 1), AttributeHeads(8, (2, 3), 1), AttributeHeads(8, (2, 3), 2)
    for mine, same, different in zip(first(features), second(features), other(features), strict=True):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, different)
    assert [tuple(logits.shape) for logits in first(features)] == [(5, 2), (5, 3)]
    shuffled = features[:, torch.randperm(16, generator=torch.Generator().manual_seed(1))]
    for mine, moved in zip(first(features), first(shuffled), strict=True):
        torch.testing.assert_close(mine, moved)
    assert all(logits.abs().max() < 10 for logits in first(features * 1e6)), "features are brought to one scale"

"""Magnitude pruning: which weights go, and exactly how many."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mllmu_med.attacks.weights.carry_out import tamper
from mllmu_med.attacks.weights.layers import changed_linears, decoder_linears
from mllmu_med.attacks.weights.pruning import Pruning, pruned
from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.quantised import QuantisedLinear, quantise_language
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.attacks.weights.helpers_weights import Load, adapted, everything, logits, subject


def test_by_hand() -> None:
    weight = torch.tensor([[0.5, -0.1, 2.0], [-3.0, 0.1, 0.0]])
    assert pruned(weight, 0.5).tolist() == [[0.5, 0.0, 2.0], [-3.0, 0.0, 0.0]]
    assert torch.equal(pruned(weight, 1 / 3), torch.tensor([[0.5, 0.0, 2.0], [-3.0, 0.1, 0.0]])), "earlier of equals"
    assert torch.equal(pruned(weight, 0.0), weight)
    assert not pruned(weight, 1.0).any()
    assert weight[0, 1] == torch.tensor(-0.1), "a copy"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.999])
def test_exact_share_and_only_the_smallest(share: float) -> None:
    weight = torch.randn(33, 65, generator=torch.Generator().manual_seed(0))
    made = pruned(weight, share)
    gone = made == 0
    assert int(gone.sum()) == round(share * weight.numel())
    assert weight[gone].abs().max() <= weight[~gone].abs().min()
    assert torch.equal(made[~gone], weight[~gone])


def test_every_decoder_layer_and_nothing_else(vlm: VisionLanguageModel) -> None:
    plain = {name: tensor.clone() for name, tensor in vlm.model.state_dict().items()}
    prefix = anatomy(vlm.model).prefix + "."
    linears = {f"{prefix}{name}.weight" for name, _ in decoder_linears(vlm)}
    assert len(linears) >= 14
    before = everything(vlm)
    one = subject(vlm)
    shares = []
    for variant in Pruning(shares=(0.3, 0.125)).tampered(one):
        shares.append(variant)
        share = {"share-30": 0.3, "share-12.5": 0.125}[variant]
        for name, tensor in vlm.model.state_dict().items():
            expected = pruned(plain[name], share) if name in linears else plain[name]
            assert torch.equal(tensor, expected), name
    assert shares == ["share-30", "share-12.5"]
    assert everything(vlm) == before, "each share starts from the whole weights, and these stand in the end"


def test_quantised_weights_are_pruned_by_their_values(load_tiny: Load) -> None:
    vlm = load_tiny("qwen2_5_vl")  # the family whose decoder has biases
    assert any(linear.bias is not None for _, linear in decoder_linears(vlm))
    with torch.no_grad():
        for _, linear in decoder_linears(vlm):
            if linear.bias is not None:
                linear.bias.fill_(0.5)
    quantise_language(vlm, "nf4")
    before, said = everything(vlm), logits(vlm)
    values = {name: linear.weight for name, linear in decoder_linears(vlm)}
    for _ in Pruning(shares=(0.5,)).tampered(subject(vlm)):
        for name, linear in decoder_linears(vlm):
            assert type(linear) is nn.Linear
            assert torch.equal(linear.weight, pruned(values[name], 0.5))
        assert not torch.equal(logits(vlm), said)
    assert everything(vlm) == before
    for _ in Pruning(shares=(0.0,)).tampered(subject(vlm)):
        torch.testing.assert_close(logits(vlm), said, rtol=1e-5, atol=1e-5)


def test_adapters_are_merged_before(llava: VisionLanguageModel) -> None:
    adapted(llava, ("language", "vision"))
    before, said = everything(llava), logits(llava)
    attempts = tamper("prune", Pruning(shares=(0.0,)), subject(llava))
    assert attempts
    assert everything(llava) == before
    for _ in Pruning(shares=(0.0,)).tampered(subject(llava)):
        merged = {name: bool(m.merged) for name, m in llava.model.named_modules() if hasattr(m, "merged_adapters")}
        assert all(on == ("vision" not in name) for name, on in merged.items())
        assert len(set(merged.values())) == 2
        torch.testing.assert_close(logits(llava), said, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_refused(llava: VisionLanguageModel) -> None:
    with pytest.raises(UsageError, match=r"shares: 1\.5 is not between 0 and 1"):
        Pruning(shares=(0.1, 1.5))
    before = everything(llava)

    def broken(linear: nn.Linear) -> torch.Tensor:
        if linear.out_features == 64 and linear.in_features == 128:
            raise ValueError("a weight is not finite")
        return linear.weight * 0

    with (
        pytest.raises(UsageError, match=r"decoder layer 0\.mlp\.down_proj: a weight is not finite"),
        changed_linears(llava, broken),
    ):
        pass
    assert everything(llava) == before, "the layers before it too"
    layers = anatomy(llava.model).layers
    for layer in layers:
        layer.self_attn = layer.mlp = nn.Identity()
    with pytest.raises(UsageError, match="no linear layers"):
        decoder_linears(llava)


def test_a_layer_may_stay(llava: VisionLanguageModel) -> None:
    quantise_language(llava, "int8")
    held = [linear for _, linear in decoder_linears(llava)]
    with changed_linears(llava, lambda linear: None):
        assert [linear for _, linear in decoder_linears(llava)] == held
        assert all(isinstance(linear, QuantisedLinear) for linear in held)

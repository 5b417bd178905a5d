"""Quantisation as an attack: which weights become what, in this package and by the libraries."""

from __future__ import annotations

import sys
from enum import Enum
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from mllmu_med.attacks.weights.carry_out import tamper
from mllmu_med.attacks.weights.layers import decoder_linears
from mllmu_med.attacks.weights.rounding import ROUNDINGS, Quantisation
from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.quantised import FORMATS, QuantisedLinear, quantise_language
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.attacks.weights.helpers_weights import Load, adapted, everything, logits, subject

OURS = ("int8", "int4", "nf4")


def test_the_decoder_holds_what_its_codes_stand_for(vlm: VisionLanguageModel) -> None:
    plain = {name: tensor.clone() for name, tensor in vlm.model.state_dict().items()}
    prefix = anatomy(vlm.model).prefix + "."
    linears = {f"{prefix}{name}.weight" for name, _ in decoder_linears(vlm)}
    before, said, variants = everything(vlm), logits(vlm), []
    for kind in Quantisation().tampered(subject(vlm)):
        variants.append(kind)
        quantise, dequantise = FORMATS[kind]
        for name, tensor in vlm.model.state_dict().items():
            expected = dequantise(quantise(plain[name]), torch.float32) if name in linears else plain[name]
            assert torch.equal(tensor, expected), name
        assert not torch.equal(logits(vlm), said)
    assert tuple(variants) == OURS
    assert everything(vlm) == before


@pytest.mark.parametrize("kind", OURS)
def test_it_answers_as_the_quantised_model_does(kind: str, load_tiny: Load) -> None:
    """Replacing weights by their dequantised values is exact: frozen quantised layers compute the same."""
    held = quantise_language(load_tiny("llava"), kind)
    vlm = load_tiny("llava")
    for _ in Quantisation((kind,)).tampered(subject(vlm)):
        torch.testing.assert_close(logits(vlm), logits(held), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", OURS)
def test_a_model_already_in_the_format_is_untouched(kind: str, llava: VisionLanguageModel) -> None:
    quantise_language(llava, kind)
    adapted(llava)
    before, said = everything(llava), logits(llava)
    for _ in Quantisation((kind,)).tampered(subject(llava)):
        assert torch.equal(logits(llava), said), "bit for bit"
        assert all(isinstance(linear, QuantisedLinear) for _, linear in decoder_linears(llava)), "and at its size"
    one = tamper("quantise", Quantisation((kind,)), subject(llava))
    assert {a.sample_id for a in one} >= {"t0", "t1", "r5"}
    assert everything(llava) == before


def test_a_model_in_another_format_is_rounded_from_there(llava: VisionLanguageModel) -> None:
    quantise_language(llava, "int8")
    adapted(llava)
    values = {name: linear.weight for name, linear in decoder_linears(llava)}
    before = everything(llava)
    for _ in Quantisation(("nf4",)).tampered(subject(llava)):
        for name, linear in decoder_linears(llava):
            assert type(linear) is nn.Linear
            assert torch.equal(linear.weight, ROUNDINGS["nf4"](values[name]))
        assert any(".lora_" in name for name, _ in llava.model.named_parameters()), "the adapter stays apart"
        rounded = logits(llava)
    assert everything(llava) == before
    for module in llava.model.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["default"] = 0.0
    for _ in Quantisation(("nf4",)).tampered(subject(llava)):
        assert not torch.equal(logits(llava), rounded), "and still adds"


def test_an_adapter_on_plain_weights_is_merged_before(llava: VisionLanguageModel) -> None:
    adapted(llava)
    effective = {}
    for name, module in llava.model.named_modules():
        if hasattr(module, "lora_A"):
            delta = module.scaling["default"] * (module.lora_B["default"].weight @ module.lora_A["default"].weight)
            effective[f"{name}.base_layer.weight"] = module.base_layer.weight.detach() + delta.detach()
    assert len(effective) == len(decoder_linears(llava))
    before = everything(llava)
    assert tamper("quantise", Quantisation(("int8",)), subject(llava))
    assert everything(llava) == before
    for _ in Quantisation(("int8",)).tampered(subject(llava)):
        state = llava.model.state_dict()
        for name, weight in effective.items():
            torch.testing.assert_close(
                state[name], ROUNDINGS["int8"](weight), rtol=0, atol=float(weight.abs().max()) / 127
            )
            assert len(state[name][0].unique()) <= 255


def test_half_precision_stays_half_precision(llava: VisionLanguageModel) -> None:
    llava.model.bfloat16()
    weight = {name: linear.weight.clone() for name, linear in decoder_linears(llava)}
    for _ in Quantisation(("int4",)).tampered(subject(llava)):
        for name, linear in decoder_linears(llava):
            assert torch.equal(linear.weight, ROUNDINGS["int4"](weight[name]).bfloat16())


def test_what_cannot_be_is_refused(llava: VisionLanguageModel) -> None:
    with pytest.raises(UsageError, match=r"unknown 'int5' \(did you mean 'int"):
        Quantisation(("int5",))
    before = everything(llava)
    layer: Any = anatomy(llava.model).layers[1]
    with torch.no_grad():
        kept = layer.mlp.down_proj.weight[3, 4].item()
        layer.mlp.down_proj.weight[3, 4] = float("inf")
    with pytest.raises(UsageError, match=r"decoder layer 1\.mlp\.down_proj: a weight is not finite"):
        tamper("quantise", Quantisation(), subject(llava))
    with torch.no_grad():
        layer.mlp.down_proj.weight[3, 4] = kept
    assert everything(llava) == before


# --- libraries


@pytest.mark.parametrize("kind", [name for name in ROUNDINGS if name not in OURS])
def test_a_missing_library_is_named_with_its_extra(
    kind: str, llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = kind.partition("-")[0]
    for name in (package, "torchao.quantization", "torchao.quantization.quant_primitives", "bitsandbytes.functional"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        UsageError, match=rf"needs {package}, which cannot be imported .*pip install 'mllmu-med\[quant\]'"
    ):
        tamper("quantise", Quantisation(("int8", kind)), subject(llava))


def test_nothing_is_offered_that_was_not_named() -> None:
    assert Quantisation().formats == OURS


class Mapping(Enum):
    SYMMETRIC = 1
    ASYMMETRIC = 2


def fake_torchao() -> ModuleType:
    """The three functions as their documentation describes them."""
    module: Any = ModuleType("torchao.quantization.quant_primitives")
    module.MappingType = Mapping

    def blocks(x: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
        assert block[0] == 1
        assert x.shape[1] % block[1] == 0
        return x.view(x.shape[0], -1, block[1])

    def choose(x: torch.Tensor, mapping: Mapping, block: Any, dtype: Any, low: int, high: int) -> Any:
        parts = blocks(x, block)
        if mapping is Mapping.SYMMETRIC:
            scale = parts.abs().amax(2) / ((high - low) / 2)
            return scale, torch.zeros_like(scale)
        smallest, largest = parts.amin(2).clamp(max=0), parts.amax(2).clamp(min=0)
        scale = (largest - smallest) / (high - low)
        return scale, (low - (smallest / scale).round()).clamp(low, high)

    def quantize(
        x: torch.Tensor, block: Any, scale: torch.Tensor, zero: torch.Tensor, out: Any, low: int, high: int
    ) -> Any:
        codes = ((blocks(x, block) / scale[..., None]).round() + zero[..., None]).clamp(low, high)
        return codes.to(out).view(x.shape)

    def dequantize(
        codes: torch.Tensor, block: Any, scale: torch.Tensor, zero: torch.Tensor, kind: Any, low: int, high: int, *,
        output_dtype: Any,
    ) -> torch.Tensor:  # fmt: skip
        assert codes.dtype is kind
        made = (blocks(codes, block).to(output_dtype) - zero[..., None]) * scale[..., None]
        return made.view(codes.shape)

    module.choose_qparams_affine, module.quantize_affine, module.dequantize_affine = choose, quantize, dequantize
    return module


@pytest.mark.parametrize("columns", [256, 192])
def test_torchaos_rounding(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 bits: half a step of max/127.5 a row; 4 bits: half a step of (max − min)/15 for 128 weights (64 of 192)."""
    monkeypatch.setitem(sys.modules, "torchao.quantization.quant_primitives", fake_torchao())
    weight = torch.randn(3, columns, generator=torch.Generator().manual_seed(0))
    eight, four = ROUNDINGS["torchao-int8"](weight), ROUNDINGS["torchao-int4"](weight)
    step = weight.abs().amax(1, keepdim=True) / 127.5
    assert bool(((eight - weight).abs() <= step * 1.01).all())
    torch.testing.assert_close(eight / step, (eight / step).round(), rtol=0, atol=1e-3)
    group = 128 if columns == 256 else 64
    parts = weight.view(3, -1, group)
    step = (parts.amax(2) - parts.amin(2)) / 15
    assert bool(((four.view_as(parts) - parts).abs() <= step[..., None] * 1.01).all())
    assert all(len(row.unique()) <= 16 for part in four.view_as(parts) for row in part)
    assert len(eight[0].unique()) > 16


def test_bitsandbytes_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("bitsandbytes.functional")
    asked = []

    def quantize_4bit(weight: torch.Tensor, blocksize: int, quant_type: str) -> Any:
        asked.append((weight.dtype, weight.is_contiguous(), blocksize, quant_type))
        return FORMATS["nf4"].quantise(weight), "state"

    def vectorwise(weight: torch.Tensor) -> Any:
        asked.append(weight.dtype)
        largest = weight.float().abs().amax(1)
        return (weight.float() / largest[:, None] * 127).round().to(torch.int8), largest, None

    module.quantize_4bit = quantize_4bit
    module.dequantize_4bit = lambda codes, state: FORMATS["nf4"].dequantise(codes, torch.float32)
    module.int8_vectorwise_quant = vectorwise
    module.int8_vectorwise_dequant = lambda codes, largest: codes * largest.view(-1, 1) * (1 / 127)
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", module)
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0)).T
    torch.testing.assert_close(ROUNDINGS["bitsandbytes-nf4"](weight), ROUNDINGS["nf4"](weight))
    half = weight.half().float()
    apart = (ROUNDINGS["bitsandbytes-int8"](weight) - ROUNDINGS["int8"](half)).abs() > 1e-5
    assert float(apart.float().mean()) < 1e-3, "the same but for ties"
    assert asked == [(torch.float32, True, 64, "nf4"), torch.float16]


def test_a_library_that_fails_here_is_an_error_before_anything_is_asked(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("bitsandbytes.functional")

    def fails(*arguments: Any, **more: Any) -> None:
        raise NotImplementedError("no kernel")

    module.quantize_4bit = fails
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", module)
    with pytest.raises(UsageError, match="bitsandbytes-nf4 does not work on cpu here: no kernel"):
        next(iter(Quantisation(("int8", "bitsandbytes-nf4")).tampered(subject(llava))))
    assert not any(isinstance(linear, QuantisedLinear) for _, linear in decoder_linears(llava))

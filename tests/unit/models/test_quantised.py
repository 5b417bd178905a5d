"""Frozen quantised layers: what they hold, and how adapters train on them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mllmu_med.errors import UsageError
from mllmu_med.methods.objectives.ascent import GradientDifference
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import Lora, count_groups, merge_adapter, set_trainable
from mllmu_med.models.quantised import FORMATS, QuantisedLinear, quantise_language
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.feeding import UnlearnSettings
from mllmu_med.training.learn import answer_loss
from mllmu_med.training.loop import trainable_parameters
from mllmu_med.training.settings import LoopSettings
from mllmu_med.training.unlearn import unlearn
from tests.invariant.cases import mixed
from tests.invariant.jobs import FORGET, RETAIN
from tests.unit.models.formats import KINDS, matrix

LANGUAGE = {"language": "lora"}


# --- the layer


def layers(kind: str, rows: int = 48, columns: int = 96) -> tuple[QuantisedLinear, nn.Linear]:
    """A quantised layer and an ordinary one with the weights it stands for."""
    source = nn.Linear(columns, rows)
    with torch.no_grad():
        source.weight.copy_(matrix(rows, columns))
    held = QuantisedLinear(source, kind)
    plain = copy.deepcopy(source)
    plain.weight = nn.Parameter(FORMATS[kind].dequantise(FORMATS[kind].quantise(source.weight), torch.float32))
    return held, plain


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_linear_in_its_dequantised_weights_forward_and_backward(kind: str) -> None:
    held, plain = layers(kind)
    x = matrix(10, 96, 1).view(2, 5, 96)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = held(one), plain(two)
    torch.testing.assert_close(ours, theirs)
    weights = matrix(10, 48, 2).view(2, 5, 48)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(one.grad, two.grad)
    assert all(parameter.grad is None for parameter in held.parameters())
    assert not any(parameter.requires_grad for parameter in held.parameters())
    assert isinstance(held, nn.Linear), "which is what PEFT asks of a layer it adapts"
    assert torch.equal(held.weight, plain.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_input_exactly(kind: str) -> None:
    held, _ = layers(kind, 3, 5)
    x = matrix(2, 5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(held, x)


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_in_the_precision_of_its_input_or_of_autocast(kind: str) -> None:
    held, plain = layers(kind)
    x = matrix(4, 96, 1)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        assert held(x.to(dtype)).dtype == dtype
    expected = linear(x.bfloat16(), plain.weight.bfloat16()) + plain.bias.bfloat16()
    assert torch.equal(held(x.bfloat16()), expected)
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        made = held(leaf)
    assert torch.equal(made, expected)
    made.float().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == torch.float32


def nbytes(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8 + 32 / 4096), ("int4", 4 + 32 / 128), ("nf4", 4 + 32 / 64)])
def test_it_holds_as_many_bits_a_weight_as_its_format_says(kind: str, bits: float) -> None:
    """int8: and one float32 a row; int4: one for 128 weights; nf4: one for 64."""
    held = QuantisedLinear(nn.Linear(4096, 64, bias=False), kind)
    assert nbytes(held) * 8 == bits * 4096 * 64
    assert not list(held.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_no_dequantised_weights_wait_for_the_backward_pass(kind: str) -> None:
    held, plain = layers(kind, 256, 256)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    x = matrix(2, 256, 1).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held(x).sum()
    assert sum(kept) == sum(buffer.nbytes for buffer in held.buffers()), "the codes, which are there anyway"
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        plain(x).sum()
    assert max(kept) == 256 * 256 * 4, "an ordinary layer keeps its weights, so the hook sees such things"


@pytest.mark.parametrize("kind", KINDS)
def test_its_weights_cannot_be_set(kind: str) -> None:
    held, plain = layers(kind)
    with pytest.raises((AttributeError, KeyError)):
        held.weight = plain.weight
    held.weight.zero_()
    assert torch.equal(held.weight, plain.weight)


# --- the model


def logits(vlm: VisionLanguageModel) -> Tensor:
    vlm.model.eval()
    with torch.no_grad():
        return vlm.logits(vlm.hidden(vlm.rows(mixed(vlm), 4)[0])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoders_linear_layers_are_quantised_and_nothing_else(kind: str, vlm: VisionLanguageModel) -> None:
    plain = copy.deepcopy(vlm.model)
    before = logits(vlm)
    assert quantise_language(vlm, kind) is vlm
    assert vlm.quantised == kind
    kinds = {name: type(module).__name__ for name, module in plain.named_modules() if isinstance(module, nn.Linear)}
    prefix = anatomy(vlm.model).prefix + "."
    for name, module in vlm.model.named_modules():
        if isinstance(module, nn.Linear):
            assert isinstance(module, QuantisedLinear) == name.startswith(prefix), name
            assert name in kinds
    assert not isinstance(vlm.model.get_output_embeddings(), QuantisedLinear)
    kept = dict(vlm.model.named_parameters())
    for name, parameter in plain.named_parameters():
        if name in kept:
            assert torch.equal(kept[name], parameter)
        else:
            assert name.startswith(prefix)
            assert name.endswith(".weight")
    # By another way: the plain model with each decoder weight replaced by what its codes stand for.
    quantise, dequantise = FORMATS[kind]
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(module, nn.Linear) and name.startswith(prefix):
                module.weight.copy_(dequantise(quantise(module.weight), torch.float32))
    after = logits(vlm)
    twin = copy.copy(vlm)
    twin.model, twin.network = plain, type(vlm.network)(plain)
    torch.testing.assert_close(after, logits(twin), rtol=1e-5, atol=1e-5)
    moved = float((after - before).abs().max())
    assert 1e-4 < moved < {"int8": 0.5, "int4": 5.0, "nf4": 5.0}[kind]


def test_memory_of_the_decoder_falls_as_promised(llava: VisionLanguageModel) -> None:
    """Tiny rows carry more scales a weight than real ones, so the counts are exact and the ratios are bounds."""
    linears = [m for m in anatomy(llava.model).layers.modules() if isinstance(m, nn.Linear)]
    weights, rows = sum(m.weight.numel() for m in linears), sum(m.out_features for m in linears)
    whole = nbytes(anatomy(llava.model).layers)
    other = copy.deepcopy(llava)
    quantise_language(llava, "int8")
    assert whole - nbytes(anatomy(llava.model).layers) == 4 * weights - (weights + 4 * rows)
    quantise_language(other, "nf4")
    assert whole - nbytes(anatomy(other.model).layers) == 4 * weights - (weights // 2 + weights // 64 * 4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_adapter_trains_and_no_quantised_weight_moves(kind: str, vlm: VisionLanguageModel) -> None:
    quantise_language(vlm, kind)
    counts = {count.group: count for count in set_trainable(vlm, LANGUAGE, Lora(rank=2, alpha=4), seed=1)}
    frozen = {n: t.clone() for n, t in vlm.model.state_dict().items() if ".lora_" not in n}
    assert sum(name.endswith(".codes") for name in frozen) >= 2 * 7
    before = {n: p.detach().clone() for n, p in trainable_parameters(vlm).items()}
    assert all(".lora_" in name for name in before)
    assert 0 < counts["language"].trainable < counts["language"].parameters
    feeding = UnlearnSettings(forget_batch=3, retain_batch=4, branches=2)
    log = unlearn(vlm, GradientDifference(), FORGET, RETAIN, LoopSettings(3, 1e-2, warmup=0), feeding, seed=1)
    assert log.steps == 3
    for name, parameter in trainable_parameters(vlm).items():
        assert not torch.equal(parameter, before[name]), name
    for name, tensor in vlm.model.state_dict().items():
        if ".lora_" not in name:
            assert torch.equal(tensor, frozen[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_get_the_gradients_they_get_on_the_same_weights_unquantised(
    kind: str, load_tiny: Callable[[str], VisionLanguageModel]
) -> None:
    found = []
    for held in (True, False):
        vlm = load_tiny("llava")
        if held:
            quantise_language(vlm, kind)
        else:
            quantise, dequantise = FORMATS[kind]
            with torch.no_grad():
                for module in anatomy(vlm.model).layers.modules():
                    if isinstance(module, nn.Linear):
                        module.weight.copy_(dequantise(quantise(module.weight), torch.float32))
        set_trainable(vlm, LANGUAGE, Lora(rank=2, alpha=4), seed=1)
        with torch.no_grad():
            for name, parameter in vlm.model.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(matrix(*parameter.shape, 5) * 0.02)
        answer_loss(vlm, mixed(vlm), 4).backward()
        found.append({n: p.grad for n, p in trainable_parameters(vlm).items()})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-6, msg=name)


def test_parameters_count_as_before(load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    """Otherwise a model would seem to train a larger share of itself for being held in fewer bits."""
    plain, held = load_tiny("llava"), quantise_language(load_tiny("llava"), "nf4")
    assert count_groups(held, {}) != []
    assert [c.parameters for c in count_groups(held, {})] == [c.parameters for c in count_groups(plain, {})]
    adapted = [set_trainable(vlm, LANGUAGE, Lora(rank=2, alpha=4)) for vlm in (plain, held)]
    assert adapted[0] == adapted[1]


@pytest.mark.parametrize("kind", KINDS)
def test_references_are_those_of_the_quantised_theta0(kind: str, llava: VisionLanguageModel) -> None:
    quantise_language(llava, kind)
    theta0 = logits(llava)
    questions = mixed(llava)
    set_trainable(llava, LANGUAGE, Lora(rank=2, alpha=4), seed=1)
    with torch.no_grad():
        for name, parameter in llava.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    moved = logits(llava)
    assert float((moved - theta0).abs().max()) > 0.05
    cache = ReferenceCache(llava)
    cache.fill(questions, hidden=True)
    rows, order = llava.rows(questions, 4)
    assert rows
    torch.testing.assert_close(cache.logits([questions[i] for i in order]), theta0, rtol=1e-4, atol=1e-4)


# --- what is refused


def test_what_cannot_be_is_refused(llava: VisionLanguageModel, load_tiny: Callable[[str], VisionLanguageModel]) -> None:
    with pytest.raises(UsageError, match="quantise=int3 is not one of int8, int4, nf4"):
        quantise_language(llava, "int3")
    quantise_language(llava, "int8")
    with pytest.raises(UsageError, match="only a plain model"):
        quantise_language(llava, "nf4")
    for modes in ({"language": "full"}, {"projector": "full"}, {"language": "frozen", "vision": "lora"}):
        with pytest.raises(UsageError, match="language must be lora"):
            set_trainable(llava, modes)
    set_trainable(llava, LANGUAGE, Lora(rank=2, alpha=4))
    with pytest.raises(UsageError, match="cannot be merged into int8 weights"):
        merge_adapter(llava)
    adapted = load_tiny("llava")
    set_trainable(adapted, LANGUAGE, Lora(rank=2, alpha=4))
    with pytest.raises(UsageError, match="only a plain model"):
        quantise_language(adapted, "int8")


def test_a_broken_weight_is_named(llava: VisionLanguageModel) -> None:
    layer: Any = anatomy(llava.model).layers[1]
    with torch.no_grad():
        layer.mlp.down_proj.weight[3, 4] = float("nan")
    with pytest.raises(UsageError, match=r"decoder layer 1\.mlp\.down_proj: a weight is not finite"):
        quantise_language(llava, "nf4")

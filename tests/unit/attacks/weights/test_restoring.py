"""After the block the model is bit for bit what it was, whatever was done and however the block ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from mllmu_med.attacks.weights import restoring
from mllmu_med.attacks.weights.restoring import restored
from mllmu_med.errors import MedError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import GROUPS, Lora, group_of, set_trainable
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, answer_loss, learn
from mllmu_med.training.settings import LoopSettings
from tests.invariant.cases import mixed
from tests.unit.attacks.weights.helpers_weights import Load, adapted, everything, logits


def _layer(vlm: VisionLanguageModel) -> Any:
    return anatomy(vlm.model).layers[1]


def _train(vlm: VisionLanguageModel) -> None:
    set_trainable(vlm, {"language": "full"})
    learn(vlm, mixed(vlm), LoopSettings(2, 1e-2, warmup=0), LearnSettings(4, 2), seed=0)


def _in_place(vlm: VisionLanguageModel) -> None:
    with torch.no_grad():
        for parameter in vlm.model.parameters():
            parameter.mul_(2)


def _behind_autograd(vlm: VisionLanguageModel) -> None:
    for parameter in vlm.model.parameters():
        parameter.data.add_(1)
    for buffer in vlm.model.buffers():
        buffer.data.add_(1)


def _half_precision(vlm: VisionLanguageModel) -> None:
    vlm.model.bfloat16()


def _backward(vlm: VisionLanguageModel) -> None:
    vlm.model.requires_grad_(True)
    answer_loss(vlm, mixed(vlm), 4).backward()
    vlm.model.train()


def _adapters(vlm: VisionLanguageModel) -> None:
    adapted(vlm)


def _quantised(vlm: VisionLanguageModel) -> None:
    quantise_language(vlm, "nf4")


def _exchanged(vlm: VisionLanguageModel) -> None:
    layer = _layer(vlm)
    layer.mlp.up_proj = nn.Identity()
    layer.more = nn.Linear(2, 2)
    layer.self_attn.register_parameter("new", nn.Parameter(torch.ones(1)))
    layer.self_attn.q_proj.register_forward_hook(lambda module, inputs, output: output * 0)
    layer.mlp.forward = lambda x: x
    layer.mlp.down_proj.register_buffer("extra", torch.ones(1))
    parametrize.register_parametrization(layer.self_attn.k_proj, "weight", nn.Identity())


HARM: dict[str, Callable[[VisionLanguageModel], None]] = {
    "training": _train,
    "in place": _in_place,
    "behind autograd": _behind_autograd,
    "precision": _half_precision,
    "gradients": _backward,
    "adapters": _adapters,
    "quantised": _quantised,
    "exchanged": _exchanged,
}


@pytest.mark.parametrize(
    ("harm", "ending"),
    [
        *((harm, None) for harm in HARM),
        *((h, e) for h in ("training", "exchanged") for e in (RuntimeError, KeyboardInterrupt)),
    ],
)
def test_everything_is_as_before(harm: str, ending: type[BaseException] | None, llava: VisionLanguageModel) -> None:
    llava.model.requires_grad_(False)
    _layer(llava).requires_grad_(True)
    handle = _layer(llava).register_forward_hook(lambda module, inputs, output: output)
    weight = _layer(llava).mlp.up_proj.weight
    weight.grad = torch.ones_like(weight)
    said = logits(llava)
    _layer(llava).mlp.train()
    before = everything(llava)
    with nullcontext() if ending is None else pytest.raises(ending), restored(llava):
        HARM[harm](llava)
        assert everything(llava) != before, "or the test would say nothing"
        if ending is not None:
            raise ending
    assert everything(llava) == before
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert torch.equal(logits(llava), said)
    handle.remove()
    assert not _layer(llava)._forward_hooks, "the handle still finds its hook"


@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
def test_in_every_family(family: str, load_tiny: Load) -> None:
    vlm = load_tiny(family)
    before = everything(vlm)
    with restored(vlm, ("language",)):
        _train(vlm)
    assert everything(vlm) == before


@pytest.mark.parametrize("kind", [None, "int8"])
def test_adapters_and_quantised_layers_come_back(kind: str | None, llava: VisionLanguageModel) -> None:
    if kind:
        quantise_language(llava, kind)
    adapted(llava)
    before = everything(llava)
    scales = [dict(m.scaling) for m in llava.model.modules() if hasattr(m, "scaling") and isinstance(m.scaling, dict)]
    with restored(llava, ("language",)):
        for module in llava.model.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] = 1.0
        learn(llava, mixed(llava), LoopSettings(2, 1e-2, warmup=0), LearnSettings(4, 2), seed=0)
        if kind is None:
            llava.model.merge_adapter()
        for name, buffer in llava.model.named_buffers():
            if "language_model" in name:
                buffer.data.zero_()
    assert everything(llava) == before
    assert scales
    assert scales == [
        dict(m.scaling) for m in llava.model.modules() if hasattr(m, "scaling") and isinstance(m.scaling, dict)
    ]
    assert not any(getattr(module, "merged", False) for module in llava.model.modules())


def test_an_adapter_around_the_model_is_gone_again(llava: VisionLanguageModel) -> None:
    plain = llava.model
    with restored(llava):
        set_trainable(llava, {"language": "lora"}, Lora())
        assert llava.model is not plain
    assert llava.model is plain
    assert llava.network.model is plain
    assert not any("lora" in name for name in llava.model.state_dict())


def test_tied_weights_stay_tied_and_are_copied_once(llava: VisionLanguageModel) -> None:
    llava.model.get_output_embeddings().weight = llava.model.get_input_embeddings().weight
    with restored(llava) as copied:
        _in_place(llava)
    assert llava.model.get_output_embeddings().weight is llava.model.get_input_embeddings().weight
    tensors = {id(t): t for t in (*llava.model.parameters(), *llava.model.buffers())}
    assert copied == sum(tensor.nbytes for tensor in tensors.values())


def test_only_what_may_change_is_copied(llava: VisionLanguageModel) -> None:
    sizes = dict.fromkeys(GROUPS, 0)
    for name, tensor in (*llava.model.named_parameters(), *llava.model.named_buffers()):
        sizes[group_of(name)] += tensor.nbytes
    for groups in (("language",), ("vision", "projector"), GROUPS):
        with restored(llava, groups) as copied:
            pass
        assert copied == sum(sizes[group] for group in groups), groups


@pytest.mark.parametrize("how", ["in place", "exchanged storage"])
def test_what_is_not_copied_must_not_change(how: str, llava: VisionLanguageModel) -> None:
    weight = next(p for name, p in llava.model.named_parameters() if group_of(name) == "projector")

    def harm() -> None:
        if how == "exchanged storage":
            weight.data = weight.data + 1
            return
        with torch.no_grad():
            weight.add_(1)

    said = r"changed model\.multi_modal_projector\..*does not touch"
    with pytest.raises(MedError, match=said), restored(llava, ("language",)):
        harm()


def test_a_second_stop_waits_until_the_model_is_whole(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, give_back = everything(llava), restoring._give_back

    def hit(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        give_back(*arguments)

    monkeypatch.setattr(restoring, "_give_back", hit)
    with pytest.raises(KeyboardInterrupt), restored(llava):
        _in_place(llava)
    assert everything(llava) == before


def test_image_features_stay_where_they_stay_valid(llava: VisionLanguageModel) -> None:
    llava.cache_features(True)
    said = logits(llava)
    features = llava.seen_images().features
    assert features
    known = {name: features.get(name) for name in list(features)}
    with restored(llava, ("language",)):
        _train(llava)
        logits(llava)
        llava.image_inputs(["another"])
    assert llava.seen_images().features is features
    assert all(features.get(name) is known[name] for name in known)
    assert any(image == "another" for _, image in features), "computed within the block, and as good as before"
    with restored(llava):
        with torch.no_grad():
            for name, parameter in llava.model.named_parameters():
                if group_of(name) == "projector":
                    parameter.zero_()
        assert not torch.equal(logits(llava), said), "no feature of the earlier projector is used"
    assert llava.seen_images().features is features
    assert torch.equal(logits(llava), said)

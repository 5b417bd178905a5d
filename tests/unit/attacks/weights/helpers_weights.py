"""What the tests of attacks on weights share: data of an attacker, adapters, and all of a model's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mllmu_med.attacks.interface import Data, Subject
from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.records import FORGET, RETAIN, _sample
from tests.invariant.cases import mixed
from tests.invariant.jobs import weights_digest

TEST = tuple(
    _sample(f"t{number}", Subset.TEST, Stratum.GENERAL, question, answer)
    for number, (question, answer) in enumerate([("What is shown?", "abdominal CT"), ("Is it large?", "no")])
)
UNRELATED = tuple(sample for sample in RETAIN if sample.stratum is Stratum.GENERAL)
PATIENT = tuple(sample for sample in RETAIN if sample.stratum is Stratum.PRIVATE_IMAGE)
DATA = Data(FORGET, (*TEST, *PATIENT), UNRELATED, PATIENT, seed=3, max_new_tokens=4)


def subject(vlm: VisionLanguageModel, **changes: Any) -> Subject:
    return Subject(vlm, DATA, 8, **changes)


def adapted(vlm: VisionLanguageModel, groups: tuple[str, ...] = ("language",)) -> VisionLanguageModel:
    """The model with adapters that add something."""
    set_trainable(vlm, dict.fromkeys(groups, "lora"), Lora(rank=4, alpha=8), seed=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    vlm.model.eval()
    return vlm


def logits(vlm: VisionLanguageModel) -> torch.Tensor:
    vlm.model.eval()
    with torch.no_grad():
        return vlm.logits(vlm.hidden(vlm.rows(mixed(vlm), 4)[0])[0])


def everything(vlm: VisionLanguageModel) -> dict[str, Any]:
    """All that a later attack could notice."""
    model = vlm.model
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "digest": weights_digest(model.float() if model.dtype is torch.bfloat16 else model),
        "buffers": {name: tensor.tolist() for name, tensor in model.named_buffers()},
        "kinds": {name: (type(module), module.training) for name, module in model.named_modules()},
        "hooks": {name: len(module._forward_hooks) for name, module in model.named_modules()},
        "tensors": {
            name: (id(tensor), tensor.dtype, tensor.requires_grad, id(tensor.grad) if tensor.grad is not None else None)
            for name, tensor in tensors
        },
        "around": {name: id(value) for name, value in vars(vlm).items()},
        "network": id(vlm.network.model),
    }


Load = Callable[[str], VisionLanguageModel]

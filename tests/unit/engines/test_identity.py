"""The digest of a model sees every change that could change an answer, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mllmu_med.engines.identity import image_digest, model_identity, tensor_digest
from mllmu_med.methods.guards.filter import AnswerFilter
from mllmu_med.methods.guards.interface import Memory
from mllmu_med.models.generation import Prompt, generate
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.guard_store import attach
from mllmu_med.models.load import load_model
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.testing.pictures import picture


def head(vlm: VisionLanguageModel) -> Any:
    return vlm.model.get_output_embeddings().weight


def adapted(vlm: VisionLanguageModel) -> Any:
    set_trainable(vlm, {"language": "lora"}, Lora(rank=2, alpha=4), seed=1)
    return next(module for module in vlm.model.modules() if hasattr(module, "scaling") and hasattr(module, "lora_A"))


def test_it_is_a_function_of_the_files_alone(vlm: VisionLanguageModel, model_folder: Any, request: Any) -> None:
    other = load_model(model_folder(request.node.callspec.params["vlm"]))
    assert model_identity(vlm) == model_identity(other) is not None


def test_asking_training_mode_and_remembered_images_leave_it(vlm: VisionLanguageModel) -> None:
    before = model_identity(vlm)
    generate(vlm, [Prompt("a", "What is it?"), Prompt(None, "Who?")], max_new_tokens=3, batch=2)
    assert model_identity(vlm) == before, "hooks that transformers leaves behind are not taken for foreign ones"
    vlm.model.train()
    vlm.cache_features(True)
    assert model_identity(vlm) == before


CHANGES: dict[str, Callable[[VisionLanguageModel], object]] = {
    "one number": lambda vlm: head(vlm).data[3, 5].add_(1e-6),
    "through .data, unseen by version counters": lambda vlm: head(vlm).data.mul_(1.0001),
    "a buffer that is not saved": lambda vlm: next(b for n, b in vlm.model.named_buffers() if "inv_freq" in n).mul_(2),
    "precision": lambda vlm: vlm.model.to(torch.bfloat16),
    "packing": lambda vlm: setattr(vlm, "packed", not vlm.packed),
    "quantised": lambda vlm: quantise_language(vlm, "int8"),
    "a template": lambda vlm: vlm.prompts._rendered.update({False: ("Say: ", "")}),
    "an image size": lambda vlm: setattr(vlm.images.image_processor, "size", {"height": 9, "width": 9}),
    "a layer's constant": lambda vlm: setattr(
        next(m for m in vlm.model.modules() if hasattr(m, "variance_epsilon")), "variance_epsilon", 0.1
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_sees(change: str, llava: VisionLanguageModel) -> None:
    before = model_identity(llava)
    with torch.no_grad():
        CHANGES[change](llava)
    assert model_identity(llava) not in (before, None)


def test_it_sees_what_version_counters_do_not(llava: VisionLanguageModel) -> None:
    weight = head(llava)
    before, counter, address = model_identity(llava), weight._version, weight.data_ptr()
    weight.data += 1.0
    assert (weight._version, weight.data_ptr()) == (counter, address), "this is why nothing is remembered"
    assert model_identity(llava) != before


def test_it_sees_adapters_their_scale_and_their_switch(llava: VisionLanguageModel) -> None:
    seen = [model_identity(llava)]
    layer = adapted(llava)
    seen.append(model_identity(llava))
    with torch.no_grad():
        layer.lora_B["default"].weight.add_(0.1)
    seen.append(model_identity(llava))
    layer.scaling["default"] *= 2
    seen.append(model_identity(llava))
    layer.enable_adapters(False)
    seen.append(model_identity(llava))
    assert None not in seen
    assert len(set(seen)) == len(seen)


def test_it_sees_the_guard(llava: VisionLanguageModel) -> None:
    seen = [model_identity(llava)]
    for seed, values in ((0, ["Maria"]), (0, ["Anna"]), (1, ["Anna"])):
        attach(llava, AnswerFilter(), Memory({"t": torch.ones(2)}, {"values": values}), seed)
        seen.append(model_identity(llava))
    attach(llava, AnswerFilter(), Memory({"t": torch.ones(2) * 2}, {"values": ["Anna"]}), 1)
    seen.append(model_identity(llava))
    assert None not in seen
    assert len(set(seen)) == len(seen)


@pytest.fixture
def settings_of_torch() -> Iterator[None]:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def test_it_sees_the_arithmetic(llava: VisionLanguageModel, settings_of_torch: None) -> None:
    seen = [model_identity(llava)]
    with torch.autocast("cpu", torch.bfloat16):
        seen.append(model_identity(llava))
    torch.set_num_threads(2)
    seen.append(model_identity(llava))
    torch.set_float32_matmul_precision("medium")
    seen.append(model_identity(llava))
    assert len(set(seen)) == 4


def test_what_it_cannot_read_has_no_identity(llava: VisionLanguageModel, caplog: pytest.LogCaptureFixture) -> None:
    handle = llava.model.get_output_embeddings().register_forward_hook(lambda *_: None)
    assert model_identity(llava) is None
    assert "a hook acts on" in caplog.text
    handle.remove()
    assert model_identity(llava) is not None

    class Strange(nn.Parameter):
        pass

    llava.model.get_output_embeddings().weight = Strange(head(llava).detach())
    assert model_identity(llava) is None


def test_tensors_differ_by_type_shape_and_every_byte() -> None:
    tensors = [
        torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), torch.tensor([0.0, 0.0, 0.0, -0.0]),
        torch.zeros(0), torch.tensor(0.0), torch.zeros(4, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.bool),
    ]  # fmt: skip
    assert len({tensor_digest(tensor) for tensor in tensors}) == len(tensors)
    strided = torch.arange(12.0).view(3, 4).T
    assert tensor_digest(strided) == tensor_digest(strided.contiguous())


def test_images_go_by_their_pixels(vlm: VisionLanguageModel, tmp_path: Path) -> None:
    first = image_digest(vlm.images.get("a"))
    assert first == image_digest(vlm.images.prepare(picture("a")))
    assert first != image_digest(vlm.images.get("b"))
    changed = picture("a")
    left, top, right, bottom = changed.width // 4, changed.height // 4, changed.width // 2, changed.height // 2
    changed.paste((255, 0, 255), (left, top, right, bottom))
    assert first != image_digest(vlm.images.prepare(changed))

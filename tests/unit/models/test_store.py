"""Saved and loaded again: whole models, adapters, and adapters that stand on adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mllmu_med.errors import DataError
from mllmu_med.models.embedded import build_embedded
from mllmu_med.models.groups import Lora, has_adapter, set_trainable
from mllmu_med.models.store import load_trained, save_model, save_trained
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.conftest import FAMILY_NAMES, picture
from tests.invariant.cases import mixed
from tests.tiny_models import SMALL, TEXTS

Load = Callable[[str], VisionLanguageModel]


def logits(vlm: VisionLanguageModel) -> torch.Tensor:
    vlm.attach_images(picture)
    vlm.model.eval()
    with torch.no_grad():
        return vlm.logits(vlm.hidden(vlm.rows(mixed(vlm), 4)[0])[0])


def trained(vlm: VisionLanguageModel, mode: str, seed: int) -> VisionLanguageModel:
    """The model a few steps further on."""
    vlm.attach_images(picture)
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4), seed=seed)
    learn(vlm, mixed(vlm), LoopSettings(3, 1e-2, warmup=0), LearnSettings(batch=4), seed=seed)
    return vlm


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_fully_trained_model_is_saved_whole(family: str, load_tiny: Load, tmp_path: Path) -> None:
    vlm = trained(load_tiny(family), "full", 1)
    save_trained(vlm, tmp_path / "theta0", "base")
    assert not (tmp_path / "theta0" / "parent.json").exists()
    again = load_trained(tmp_path / "theta0")
    assert torch.equal(logits(again), logits(vlm))
    assert again.prompts.branch_tokens("What?", True) == vlm.prompts.branch_tokens("What?", True)
    assert again.images.prepare(picture("a")).prefix == vlm.images.prepare(picture("a")).prefix


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_adapters_are_saved_alone_and_merge_down_the_chain(family: str, load_tiny: Load, tmp_path: Path) -> None:
    """base is whole, theta0 stands on it and the method on theta0: three generations in one folder."""
    base, theta0, method = (tmp_path / name for name in ("base", "theta0", "npo"))
    vlm = load_tiny(family)
    save_model(vlm, base)

    first = trained(vlm, "lora", 1)
    save_trained(first, theta0, "base")
    of_first = logits(first)
    assert json.loads((theta0 / "parent.json").read_text()) == {"parent": "base"}
    assert not (theta0 / "model.safetensors").exists()
    loaded = load_trained(theta0)
    assert not has_adapter(loaded), "what is loaded is a plain model"
    torch.testing.assert_close(logits(loaded), of_first, rtol=1e-4, atol=1e-4)

    second = trained(loaded, "lora", 2)
    save_trained(second, method, "theta0")
    of_second = logits(second)
    assert float((of_second - of_first).abs().max()) > 0.05
    torch.testing.assert_close(logits(load_trained(method)), of_second, rtol=1e-4, atol=1e-4)

    moved = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    torch.testing.assert_close(logits(load_trained(moved / "npo")), of_second, rtol=1e-4, atol=1e-4)


def test_a_parent_may_lie_elsewhere(load_tiny: Load, tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    vlm = trained(load_tiny("llava"), "lora", 1)
    save_trained(vlm, tmp_path / "base", str(model_folder("llava")))
    torch.testing.assert_close(logits(load_trained(tmp_path / "base")), logits(vlm), rtol=1e-4, atol=1e-4)


def test_an_adapter_without_its_weights_or_its_parent_is_refused(load_tiny: Load, tmp_path: Path) -> None:
    vlm = trained(load_tiny("llava"), "lora", 1)
    save_trained(vlm, tmp_path / "one", "gone")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_trained(tmp_path / "one")
    for weights in (tmp_path / "one" / "adapter").glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(DataError, match="holds no adapter in safetensors"):
        load_trained(tmp_path / "one")
    (tmp_path / "one" / "parent.json").write_text('{"parents": "base"}')
    with pytest.raises(DataError, match="does not name a parent"):
        load_trained(tmp_path / "one")


def test_plain_transformers_opens_the_embedded_model(tmp_path: Path) -> None:
    """No code of ours is needed to use it: the usual two classes, the usual call, the same numbers."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    vlm = build_embedded(TEXTS, SMALL, seed=1)
    save_model(vlm, tmp_path / "model")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    content = [{"type": "image"}, {"type": "text", "text": "What is shown in the image?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=text, images=picture("a"), return_tensors="pt")
    with torch.no_grad():
        theirs = model(**inputs).logits[0, -1]
        vlm.attach_images(picture)
        from mllmu_med.models.vlm import Question

        rows, _ = vlm.rows([Question("a", "What is shown in the image?", "yes")], 1)
        ours = vlm.logits(vlm.hidden(rows)[0])[0]
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_what_is_written_depends_on_nothing_but_the_model(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(build_embedded(TEXTS, SMALL, seed=1), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "model.safetensors" in files
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name

"""Saved and loaded again: whole models, adapters, and adapters that stand on adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mllmu_med.errors import DataError, UsageError
from mllmu_med.models.embedded import build_embedded
from mllmu_med.models.groups import Lora, has_adapter, set_trainable
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.store import is_adapter, load_trained, save_model, save_trained, trained_format
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


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_last_adapter_can_stay_apart(family: str, load_tiny: Load, tmp_path: Path) -> None:
    base, theta0, method = (tmp_path / name for name in ("base", "theta0", "npo"))
    save_model(load_tiny(family), base)
    save_trained(trained(load_trained(base), "lora", 1), theta0, "base")
    vlm = trained(load_trained(theta0), "lora", 2)
    save_trained(vlm, method, "theta0")
    loaded = load_trained(method, apart=True)
    assert has_adapter(loaded)
    assert torch.equal(logits(loaded), logits(vlm)), "bit by bit what training saw"
    with loaded.model.disable_adapter():
        assert torch.equal(logits(loaded), logits(load_trained(theta0))), "below it is θ0, merged"
    assert not has_adapter(load_trained(base, apart=True)), "a whole model has none"
    assert [is_adapter(folder) for folder in (base, theta0, method)] == [False, True, True]


def test_an_adapter_does_not_stay_apart_on_weights_it_was_not_trained_on(load_tiny: Load, tmp_path: Path) -> None:
    base, theta0, method = (tmp_path / name for name in ("base", "theta0", "npo"))
    save_model(load_tiny("llava"), base)
    save_trained(trained(load_trained(base), "lora", 1), theta0, "base")
    save_trained(trained(quantise_language(load_trained(theta0), "nf4"), "lora", 2), method, "theta0")
    with pytest.raises(UsageError, match="not trained on nf4 weights"):
        load_trained(theta0, quantise="nf4", apart=True)
    with pytest.raises(UsageError, match="not trained on int8 weights"):
        load_trained(method, quantise="int8", apart=True)
    loaded = load_trained(method, quantise="nf4", apart=True)
    assert (loaded.quantised, has_adapter(loaded)) == ("nf4", True)
    assert load_trained(base, quantise="nf4", apart=True).quantised == "nf4"


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


# --- quantised bases


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_adapter_on_quantised_weights_comes_back_as_it_was_trained(
    family: str, kind: str, load_tiny: Load, tmp_path: Path
) -> None:
    """base is whole and θ0 an ordinary adapter on it; the method trains on their merged and quantised weights."""
    base, theta0, method = (tmp_path / name for name in ("base", "theta0", "npo"))
    vlm = load_tiny(family)
    save_model(vlm, base)
    save_trained(trained(vlm, "lora", 1), theta0, "base")

    start = quantise_language(load_trained(theta0), kind)
    held = trained(start, "lora", 2)
    as_trained = logits(held)
    save_trained(held, method, "theta0")
    assert json.loads((method / "parent.json").read_text()) == {"parent": "theta0", "quantised": kind}
    assert (trained_format(method), trained_format(theta0), trained_format(base)) == (kind, None, None)

    loaded = load_trained(method, quantise=kind)
    assert (loaded.quantised, has_adapter(loaded)) == (kind, True)
    assert torch.equal(logits(loaded), as_trained), "bit by bit what training saw"
    merged = load_trained(method)
    assert (merged.quantised, has_adapter(merged)) == (None, False)
    assert not torch.equal(logits(merged), as_trained)


def test_everything_else_is_merged_and_then_quantised(load_tiny: Load, tmp_path: Path) -> None:
    """An adapter of another format, or of none, belongs to other weights than the quantised ones."""
    base, theta0, method = (tmp_path / name for name in ("base", "theta0", "npo"))
    save_model(load_tiny("llava"), base)
    save_trained(trained(load_trained(base), "lora", 1), theta0, "base")
    save_trained(trained(quantise_language(load_trained(theta0), "nf4"), "lora", 2), method, "theta0")
    for folder, kind in ((base, "nf4"), (theta0, "nf4"), (method, "int8")):
        loaded = load_trained(folder, quantise=kind)
        assert (loaded.quantised, has_adapter(loaded)) == (kind, False)
        assert torch.equal(logits(loaded), logits(quantise_language(load_trained(folder), kind)))
    with pytest.raises(UsageError, match="quantise=int3"):
        load_trained(base, quantise="int3")


def test_codes_are_never_written(llava: VisionLanguageModel, tmp_path: Path) -> None:
    quantise_language(llava, "int8")
    with pytest.raises(UsageError, match="int8 weights are not written"):
        save_model(llava, tmp_path / "one")
    with pytest.raises(UsageError, match="int8 weights are not written"):
        save_trained(llava, tmp_path / "one", "base")
    assert not (tmp_path / "one").exists()


# --- adapters beside weights that train as a whole


@pytest.mark.parametrize("kind", [None, "nf4"])
def test_whole_weights_trained_beside_adapters_are_kept(kind: str | None, load_tiny: Load, tmp_path: Path) -> None:
    save_model(load_tiny("llava"), tmp_path / "base")
    vlm = load_trained(tmp_path / "base")
    if kind:
        quantise_language(vlm, kind)
    vlm.attach_images(picture)
    before = {n: p.detach().clone() for n, p in vlm.model.named_parameters()}
    set_trainable(vlm, {"language": "lora", "projector": "full"}, Lora(rank=2, alpha=4), seed=1)
    learn(vlm, mixed(vlm), LoopSettings(3, 1e-2, warmup=0), LearnSettings(batch=4), seed=1)
    as_trained = logits(vlm)
    save_trained(vlm, tmp_path / "theta0", "base")
    loaded = load_trained(tmp_path / "theta0", quantise=kind)
    torch.testing.assert_close(logits(loaded), as_trained, rtol=1e-4, atol=1e-4)
    plain = dict(load_trained(tmp_path / "theta0").model.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], plain[name])}
    assert {name for name in moved if "projector" in name} == {name for name in before if "projector" in name}
    assert not any("vision_tower" in name for name in moved)


def test_weights_that_the_parent_has_not_are_refused(load_tiny: Load, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_model(load_tiny("llava"), tmp_path / "base")
    save_trained(trained(load_trained(tmp_path / "base"), "lora", 1), tmp_path / "theta0", "base")
    save_file({"model.elsewhere.weight": torch.ones(2)}, tmp_path / "theta0" / "trained.safetensors")
    with pytest.raises(DataError, match=r"model\.elsewhere\.weight"):
        load_trained(tmp_path / "theta0")

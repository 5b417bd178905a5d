"""Loading model folders: what is accepted, and one clear line for each that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from mllmu_med.errors import DataError
from mllmu_med.models.load import load_model
from mllmu_med.models.vlm import Question
from mllmu_med.training.learn import answer_loss
from tests.conftest import FAMILY_NAMES, picture

Folder = Callable[[str], Path]


@pytest.fixture
def copy(model_folder: Folder, tmp_path: Path) -> Path:
    """A tiny LLaVA's folder that a test may damage."""
    return shutil.copytree(model_folder("llava"), tmp_path / "model")


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert message.startswith(str(folder)), "the folder is named first"
    assert "\n" not in message
    assert caught.value.exit_code == 3
    return message


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_loaded_model_is_ready_to_be_asked(family: str, model_folder: Folder) -> None:
    vlm = load_model(model_folder(family))
    assert vlm.packed
    assert not vlm.model.training
    assert vlm.model.dtype == torch.float32
    assert vlm.images.loader is None, "the self-check leaves no pictures behind"
    assert vlm.images._entries == {}
    assert (vlm.images.processor is None) == (family == "qwen2_5_vl"), "its processor needs torchvision for videos"


def test_a_model_of_half_precision_computes_in_it(model_folder: Folder) -> None:
    vlm = load_model(model_folder("llava"), dtype="bfloat16")
    vlm.attach_images(picture)
    assert vlm.packed
    assert {p.dtype for p in vlm.model.parameters()} == {torch.bfloat16}
    for cached in (False, True):
        vlm.cache_features(cached)
        loss = answer_loss(vlm, [Question("a", "What is shown?", "chest X-ray")], 1)
        assert loss.dtype == torch.float32, "the loss itself is not rounded"
        assert torch.isfinite(loss)


def test_packing_can_be_switched_off(model_folder: Folder) -> None:
    assert not load_model(model_folder("llava"), packing="off").packed


def test_pickled_weights_are_never_opened(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    message = refused(copy)
    assert "holds pickled weights only" in message
    assert "Convert them to safetensors" in message


def test_missing_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "holds no *.safetensors weights" in refused(copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_missing_parts(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert "cannot be loaded as an image-text-to-text model" in refused(copy)


def test_a_folder_without_a_chat_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    for name in ("processor_config.json", "tokenizer_config.json"):
        config = json.loads((copy / name).read_text()) if (copy / name).is_file() else {}
        if config.pop("chat_template", None) is not None:
            (copy / name).write_text(json.dumps(config))
    message = refused(copy)
    assert "has no chat template" in message
    assert "chat_template.jinja" in message, "the mend says what to put where"


def test_a_model_of_another_kind(copy: Path) -> None:
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 10, "n_layer": 1}
    (copy / "config.json").write_text(json.dumps(config))
    assert "cannot be loaded as an image-text-to-text model" in refused(copy)


CODE = {
    "config.json": {
        "model_type": "mystery", "auto_map": {"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"}
    },
    "tokenizer_config.json": {"tokenizer_class": "Mystery", "auto_map": {"AutoTokenizer": [None, "own.Own"]}},
    "preprocessor_config.json": {"image_processor_type": "Mystery", "auto_map": {"AutoImageProcessor": "own.Own"}},
    "processor_config.json": {"processor_class": "Mystery", "auto_map": {"AutoProcessor": "own.Own"}},
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_code_in_a_model_folder_is_not_run(
    name: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the library would ask, and a pipe or a person says yes."""
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    config = json.loads((copy / name).read_text()) if (copy / name).is_file() else {}
    (copy / name).write_text(json.dumps(config | CODE[name]))
    (copy / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass")
    with suppress(DataError):  # refused, or loaded as a class of the library's own
        load_model(copy)
    assert not asked
    assert not (tmp_path / "ran").exists()


def test_half_a_download(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    for size in (len(whole) // 2, 0):
        (copy / "model.safetensors").write_bytes(whole[:size])
        assert "cannot be loaded as an image-text-to-text model" in refused(copy)


@pytest.mark.parametrize(("part", "name", "value"), [
    ("text_config", "intermediate_size", 72), ("text_config", "hidden_size", "wide"), ("text_config", "hidden_size", -1)
])  # fmt: skip
def test_a_config_that_does_not_fit_the_weights(copy: Path, part: str, name: str, value: object) -> None:
    config = json.loads((copy / "config.json").read_text())
    config[part][name] = value
    (copy / "config.json").write_text(json.dumps(config))
    assert "cannot be loaded as an image-text-to-text model" in refused(copy)


def test_a_name_that_is_neither_folder_nor_reachable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        load_model("nobody/no-such-model")
    assert "\n" not in str(caught.value)

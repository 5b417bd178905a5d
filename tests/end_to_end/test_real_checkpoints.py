"""The recipes for real checkpoints, carried out on tiny models of the same classes saved in the same format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.folders import read_json, read_manifest
from mllmu_med.models.groups import has_adapter
from mllmu_med.models.store import load_trained
from mllmu_med.pipeline import plan_run, run
from mllmu_med.recipe import Recipe, load_recipe

SMALLER = (
    "source={name: phantom, images: 24, size: 64, text_facts: 12}",
    "benchmark={patients_forgotten: 2, patients_retained: 3, patients_holdout: 1, wrong_rules: 0, "
    "wrong_image_facts: 2, wrong_text_facts: 2, repetitions: [2]}",
    "model.dtype=float32",
    "model.lora.rank=2",
    "learn.original={steps: 2, learning_rate: 1.0e-3, batch: 8}",
    "learn.oracle={steps: 2, learning_rate: 1.0e-3, batch: 8}",
    "unlearn={steps: 2, learning_rate: 1.0e-3, forget_batch: 3, retain_batch: 3}",
    "methods=[kl_min, npo]",
    "controls={collapse: {steps: 1}, truncated_retrain: false}",
    "evaluate={max_new_tokens: 3, batch: 32, bootstrap: 20, ordinary_samples: 6, probes: original}",
)
ROWS = ["theta0", "oracle", "collapse", "kl_min", "npo"]


def smaller(recipe: str, model: Path, *overrides: str) -> Recipe:
    return load_recipe(recipe, f"model.path={model}", *SMALLER, *overrides)


@pytest.fixture(scope="module", params=["llava_med", "qwen2_5_vl"])
def made(
    request: pytest.FixtureRequest, model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, dict[str, Any]]:  # fmt: skip
    """Class, run folder and results of each of the two recipes."""
    model = model_folder("llava" if request.param == "llava_med" else request.param)
    base = "learn.base={steps: 0}" if request.param == "llava_med" else "learn.base={steps: 1, batch: 8}"
    folder = tmp_path_factory.mktemp(request.param)
    result = run(smaller(request.param, model, base), folder)
    assert result.results is not None
    assert result.page is not None
    assert result.page.stat().st_size > 10_000
    return request.param, folder, result.results


def test_the_run_comes_to_results_for_every_row(made: tuple[str, Path, dict[str, Any]]) -> None:
    _, folder, results = made
    assert [row["name"] for row in results["rows"]] == ["theta0", "oracle", "refuse_all", *ROWS[2:]]
    assert results["provenance"]["packing"] is True
    for row in results["rows"]:
        assert 0 <= row["metrics"]["forget/privacy"]["all"]["span_recall"] <= 1
    assert read_json(folder / "results" / "results.json") == results


def test_only_adapters_are_trained_and_only_adapters_are_stored(made: tuple[str, Path, dict[str, Any]]) -> None:
    _, folder, results = made
    parents = {"base": None, "theta0": "base", "oracle": "base", **dict.fromkeys(ROWS[2:], "theta0")}
    for name, parent in parents.items():
        stage = folder / "models" / name
        assert not list(stage.glob("*.safetensors")), "no copy of the whole model"
        assert list((stage / "adapter").glob("*.safetensors"))
        named = read_json(stage / "parent.json")["parent"]
        assert named == parent if parent else Path(named).is_absolute()
        training = read_manifest(stage)["training"]
        groups = {group["group"]: group for group in training["groups"]}
        assert groups["language"]["mode"] == "lora"
        assert groups["vision"]["trainable"] == groups["projector"]["trainable"] == 0
        assert 0 < training["trainable_share"] < 0.15
    assert all(row["cost"]["trainable_share"] < 0.15 for row in results["rows"] if row["cost"])


def test_the_stored_chain_opens_as_one_plain_model_of_its_class(made: tuple[str, Path, dict[str, Any]]) -> None:
    recipe, folder, _ = made
    vlm = load_trained(folder / "models" / "npo")
    kind = {"llava_med": "LlavaForConditionalGeneration", "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration"}[recipe]
    assert type(vlm.model).__name__ == kind
    assert not has_adapter(vlm)
    assert vlm.packed


def test_a_second_run_makes_nothing(
    made: tuple[str, Path, dict[str, Any]], model_folder: Callable[[str], Path]
) -> None:
    recipe, folder, _ = made
    model = model_folder("llava" if recipe == "llava_med" else recipe)
    base = "learn.base={steps: 0}" if recipe == "llava_med" else "learn.base={steps: 1, batch: 8}"
    assert {stage.status for stage in plan_run(smaller(recipe, model, base), folder)} == {"done"}


@pytest.mark.parametrize("recipe", ["llava_med", "qwen2_5_vl"])
def test_a_dry_run_of_the_recipe_as_shipped_needs_no_checkpoint(recipe: str, tmp_path: Path) -> None:
    """Only the dataset is replaced, which is not ours to ship."""
    stages = plan_run(load_recipe(recipe, "source={name: phantom, images: 60}"), tmp_path / "run")
    assert {stage.status for stage in stages} == {"to do"}
    assert {"theta0", "oracle", "npo", "evaluate npo", "report"} <= {stage.name for stage in stages}
    assert not (tmp_path / "run").exists()


def test_half_precision_weights_and_autocast_come_through(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """As shipped the recipes load bfloat16 weights and train float32 adapters under autocast."""
    recipe = smaller(
        "llava_med", model_folder("llava"), "model.dtype=bfloat16", "learn.base={steps: 0}",
        "learn.original.precision=bfloat16", "unlearn.precision=bfloat16", "methods=[npo]",
    )  # fmt: skip
    run(recipe, tmp_path, until="unlearn")
    from safetensors.torch import load_file

    [weights] = (tmp_path / "models" / "npo" / "adapter").glob("*.safetensors")
    tensors = load_file(weights)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float32"}
    assert any(tensor.abs().max() > 0 for name, tensor in tensors.items() if "lora_B" in name)

"""A whole recipe on a quantised base: a tiny checkpoint, as the recipes for real ones use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mllmu_med.errors import UsageError
from mllmu_med.folders import read_json, read_manifest
from mllmu_med.models.groups import has_adapter
from mllmu_med.models.quantised import quantise_language
from mllmu_med.models.store import load_trained, trained_format
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline import evaluating, run
from mllmu_med.pipeline.keys import Keys
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe, load_recipe
from tests.end_to_end.test_real_checkpoints import SMALLER
from tests.unit.pipeline.conftest import tiny

STAGES = ("base", "theta0", "oracle", "collapse", "npo")


def recipe(model: Path, quantise: str, *overrides: str) -> Recipe:
    return load_recipe(
        "llava_med", f"model.path={model}", *SMALLER, "learn.base={steps: 0}", "methods=[npo]",
        f"model.quantise={quantise}", *overrides,
    )  # fmt: skip


def answers(vlm: VisionLanguageModel) -> torch.Tensor:
    asked = [Question(None, "Phone of Maria Lopez?", "555-0123"), Question(None, "Born?", "1961-04-17")]
    vlm.model.eval()
    with torch.no_grad():
        return vlm.logits(vlm.hidden(vlm.rows(asked, 1)[0])[0])


@pytest.fixture(scope="module")
def made(
    model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[tuple[str, Any, bool]]]:
    """Run folder, results, and how each model was held when it was asked."""
    asked = []
    folder = tmp_path_factory.mktemp("nf4")

    def spy(stored: Any, *arguments: Any, title: str, **options: Any) -> Any:
        vlm = stored.engine.vlm
        asked.append((title.removeprefix("evaluate "), vlm.quantised, has_adapter(vlm)))
        return measure(stored, *arguments, title=title, **options)

    measure = evaluating.measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "measure", spy)
        result = run(recipe(model_folder("llava"), "nf4"), folder, jobs=1)
    assert result.results is not None
    return folder, result.results, asked


def test_it_comes_to_results_with_every_model_asked_as_it_was_trained(
    made: tuple[Path, dict[str, Any], list[tuple[str, Any, bool]]],
) -> None:
    _, results, asked = made
    assert [row["name"] for row in results["rows"]] == ["theta0", "oracle", "refuse_all", "collapse", "npo"]
    assert sorted(asked) == [(name, "nf4", True) for name in sorted(STAGES)]


def test_adapters_are_stored_with_the_format_they_stand_on(made: tuple[Path, dict[str, Any], Any]) -> None:
    folder, _, _ = made
    for name in STAGES:
        stage = folder / "models" / name
        assert read_json(stage / "parent.json")["quantised"] == trained_format(stage) == "nf4"
        assert [path.name for path in stage.glob("**/*.safetensors")] == ["adapter_model.safetensors"]
        groups = {group["group"]: group for group in read_manifest(stage)["training"]["groups"]}
        assert groups["language"]["mode"] == "lora"
        assert 0 < groups["language"]["trainable"] < 0.2 * groups["language"]["parameters"]


def test_a_stage_starts_from_the_merged_and_newly_quantised_model_before_it(
    made: tuple[Path, dict[str, Any], Any],
) -> None:
    """θ0 as a start is not θ0 as it was trained, but differs from it by the rounding of its own adapter only."""
    folder, _, _ = made
    models = folder / "models"
    start = answers(quantise_language(load_trained(models / "theta0"), "nf4"))
    npo = load_trained(models / "npo", quantise="nf4")
    with npo.model.disable_adapter():
        torch.testing.assert_close(answers(npo), start, rtol=0, atol=0)
    assert not torch.equal(answers(npo), start), "the method has changed something"
    trained = answers(load_trained(models / "theta0", quantise="nf4"))
    assert not torch.equal(trained, start)
    whole = answers(load_trained(models / "theta0"))
    assert float((trained - start).abs().mean()) < float((whole - start).abs().mean())


def test_the_keys_of_all_models_depend_on_the_format(model_folder: Callable[[str], Path]) -> None:
    model = model_folder("llava")
    keys = [Keys(recipe(model, quantise)) for quantise in ("null", "int8", "nf4")]
    assert len({key.benchmark for key in keys}) == 1
    for one in ("base", "original", "method"):
        found = {
            {"base": lambda k: k.base, "original": lambda k: k.learnt("original"),
             "method": lambda k: k.method(k.recipe.methods[0], 1)}[one](key)
            for key in keys
        }  # fmt: skip
        assert len(found) == 3, one


def test_a_stage_that_trains_whole_weights_has_them_unquantised(tmp_path: Path) -> None:
    """The embedded model learns to speak in full precision; what comes behind trains adapters on its codes."""
    made = tiny(
        "model.trainable={language: lora}", "model.quantise=int8", "learn.base.trainable={language: full}",
        "methods=[ga]", "controls.truncated_retrain=false",
    )  # fmt: skip
    run(made, tmp_path, until="unlearn", jobs=1)
    models = tmp_path / "models"
    assert (models / "base" / "model.safetensors").is_file()
    assert trained_format(models / "base") is None
    assert {name: trained_format(models / name) for name in ("theta0", "oracle", "ga")} == dict.fromkeys(
        ("theta0", "oracle", "ga"), "int8"
    )
    workshop = Workshop(made, tmp_path)
    assert workshop.load(models / "base", as_trained=True).quantised is None
    assert workshop.load(models / "ga", as_trained=True).quantised == "int8"
    assert workshop.load(models / "ga").quantised is None


@pytest.mark.parametrize("language", ["full", "frozen"])
def test_quantised_weights_that_should_train_are_refused_before_anything_is_loaded(language: str) -> None:
    with pytest.raises(UsageError, match=r"set trainable\.language to lora"):
        load_recipe("llava_med", "model.quantise=nf4", f"model.trainable={{language: {language}, projector: full}}")
    with pytest.raises(UsageError, match="quantise"):
        load_recipe("llava_med", "model.quantise=int4")

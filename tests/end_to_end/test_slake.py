"""The main job on a slice of SLAKE, where the data is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mllmu_med import api

DATA = Path(os.environ.get("MLLMU_MED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@pytest.mark.realdata
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    not (DATA / "Slake1.0").is_dir(), reason="SLAKE is not here: set MLLMU_MED_DATA to the folder that holds Slake1.0"
)
def test_a_slice_of_slake_from_dataset_to_page(tmp_path: Path) -> None:
    recipe = api.load_recipe(
        "slake", f"source.path={DATA / 'Slake1.0'}", "source.limit=70", "benchmark.patients_forgotten=2",
        "benchmark.patients_retained=3", "benchmark.patients_holdout=2", "benchmark.wrong_image_facts=4",
        "benchmark.wrong_rules=1", "model.embedded.image_size=64", "model.embedded.tower_images=200",
        "model.embedded.tower_steps=5", "learn.base.steps=30", "learn.original.steps=30", "learn.oracle.steps=20",
        "unlearn.steps=4", "evaluate.bootstrap=50", "evaluate.ordinary_samples=40", methods=["npo", "idk"],
    )  # fmt: skip
    result = api.run(recipe, tmp_path / "slake", jobs=1)
    assert result.results is not None
    assert result.page is not None
    counts = result.results["benchmark"]["counts"]
    assert counts["forget/privacy"]["private_image"] == 2 * (2 + 4)
    assert counts["forget/incorrectness"]["wrong_image"] >= 4
    assert result.results["provenance"]["source"] == "slake"
    # Twenty steps memorise nothing: the score must say that it cannot be measured, not invent one.
    privacy = next(row for row in result.results["rows"] if row["name"] == "npo")["ues"]["privacy"]
    assert privacy["value"] is None
    assert "memoris" in privacy["reason"]

"""The stages that look inside the models of a finished run."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.inside.report import inside_results
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.pipeline import workshop as module
from mllmu_med.pipeline.inside import inside_of, make_states, stored_inside
from mllmu_med.pipeline.workshop import Workshop
from tests.unit.pipeline.conftest import tiny

ROWS = ("theta0", "oracle", "npo")


def carried_out(workshop: Workshop, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    folders = [workshop.output / stage / name for stage in ("states", "inside")]
    for folder in folders:
        folder.mkdir(parents=True)
    return make_states(workshop, name, folders[0]), inside_of(workshop, name, folders[1])


@pytest.fixture
def workshop(finished: Path, tmp_path: Path) -> Workshop:
    for name in ("benchmark", "models"):
        (tmp_path / name).symlink_to(finished / name)
    return Workshop(tiny(), tmp_path)


def test_a_run_is_looked_into_with_one_model_at_a_time(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    models: list[weakref.ref[Any]] = []
    load = module.load_trained

    def note(folder: Path, **options: Any) -> VisionLanguageModel:
        gc.collect()
        alive.append(sum(reference() is not None for reference in models))
        vlm = load(folder, **options)
        models.append(weakref.ref(vlm.model))
        return vlm

    monkeypatch.setattr(module, "load_trained", note)
    facts = [carried_out(workshop, name) for name in ROWS]
    assert alive == [0] * 9, "one model for the states, two for the patches, and none beside another"
    assert all(states == facts[0][0] | {"peak_memory_mb": states["peak_memory_mb"]} for states, _ in facts)

    stored = {name: stored_inside(workshop, name) for name in ROWS}
    forgotten = {s.id for s in workshop.subset(Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)}
    assert {one.sample_id for one in stored["npo"].patched} == forgotten
    for name, expected in (("theta0", 0.0), ("oracle", 1.0)):
        results = inside_results(
            workshop.samples, stored[name], stored["theta0"], stored["oracle"], seed=0, bootstrap=20
        )
        json.dumps(results, allow_nan=False)
        scored = [s["mean"]["value"] for d in results["depth"].values() for s in d.values() if s is not None]  # type: ignore[index]
        assert scored, "θ0 and the oracle differ"
        assert scored == pytest.approx([expected] * len(scored), abs=1e-3)


def test_equal_stages_write_equal_bytes(workshop: Workshop) -> None:
    carried_out(workshop, "npo")
    files = sorted(path for stage in ("states", "inside") for path in (workshop.output / stage).rglob("*.*"))
    before = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    make_states(workshop, "npo", workshop.output / "states" / "npo")
    inside_of(workshop, "npo", workshop.output / "inside" / "npo")
    assert [path.read_bytes() for path in files] == before

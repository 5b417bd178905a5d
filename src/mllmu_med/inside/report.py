"""Everything inside one model, beside θ0 and the oracle: from what was measured, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.rows import finite
from mllmu_med.inside.depth_score import Depth, Patched, depth_results
from mllmu_med.inside.lens import LensSubset, Reading, lens_results
from mllmu_med.inside.linear_probes import Outcome, ProbeTask, probe_results
from mllmu_med.inside.means import ClusterMeans
from mllmu_med.inside.tables import read_table, write_table

LENS_FILE, PATCHED_FILE, PROBES_FILE = "lens.parquet", "patched.parquet", "probes.parquet"


@dataclass(frozen=True)
class Inside:
    """What was measured inside one model.

    Attributes:
        readings: the logit lens of every layer and answer.
        patched: its states put into θ0 and into the oracle.
        probes: how linear probes did on its states.
    """

    readings: Sequence[Reading]
    patched: Sequence[Patched]
    probes: Sequence[Outcome]


class InsideResults(TypedDict):
    """One model's results: the lens and the depth score by subset, the probes by task."""

    lens: dict[str, LensSubset]
    depth: dict[str, Depth]
    probes: dict[str, ProbeTask]


def inside_results(
    samples: Sequence[Sample], own: Inside, original: Inside, oracle: Inside, *, seed: int, bootstrap: int = 1000
) -> InsideResults:
    """What one model still holds inside, JSON-able; numbers that are none (a diverged model) are None.

    Args:
        samples: the benchmark's samples, all that were asked among them.
        own: the model's measurements; ``original`` and ``oracle``: those of θ0 and of the oracle, the same for every
            model (and ``own`` itself for their own rows).
        seed: of the intervals' resamples.
        bootstrap: resamples of patients and images; 0: no intervals.
    """
    seen = {one.sample_id for one in own.readings} | {one.sample_id for one in own.probes}
    asked = [sample for sample in samples if sample.id in seen]
    means = ClusterMeans(asked, seed=seed, bootstrap=bootstrap)
    results: InsideResults = {
        "lens": lens_results(asked, own.readings, original.readings, oracle.readings, means),
        "depth": depth_results(asked, own.patched, original.patched, oracle.patched, means),
        "probes": probe_results(own.probes, original.probes, oracle.probes, means),
    }
    return cast("InsideResults", finite(results))


def read_inside(states: Path, folder: Path) -> Inside:
    """Read what the stages ``states`` and ``inside`` of a model wrote."""
    return Inside(
        read_table(Reading, states / LENS_FILE),
        read_table(Patched, folder / PATCHED_FILE),
        read_table(Outcome, folder / PROBES_FILE),
    )


def write_readings(readings: Sequence[Reading], folder: Path) -> None:
    """Write the lens of a model into its ``states`` folder."""
    write_table(readings, Reading, folder / LENS_FILE)


def write_inside(patched: Sequence[Patched], probes: Sequence[Outcome], folder: Path) -> None:
    """Write what patching and probes gave into a model's ``inside`` folder."""
    write_table(patched, Patched, folder / PATCHED_FILE)
    write_table(probes, Outcome, folder / PROBES_FILE)

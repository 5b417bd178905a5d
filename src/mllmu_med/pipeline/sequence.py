"""Deletion requests one after another: the workshop of one request, and what several stages cost together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import DataError
from mllmu_med.evaluation.output_store import read_outputs
from mllmu_med.evaluation.sequence import Course, Visit, score_sequence
from mllmu_med.folders import read_manifest
from mllmu_med.models.features import SeenImages
from mllmu_med.models.store import ADAPTER
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.pipeline.requests import FORGET as FORGET
from mllmu_med.pipeline.requests import Step, common_name, course_of, divide, is_row, shard_name, steps_of
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import MethodSettings, make_method
from mllmu_med.seeding import derive


class RequestWorkshop(Workshop):
    """A run's workshop as one request of a row sees it: the forget samples are its own, the others do not exist.

    Models and images are those of the whole workshop, so that still only one model is in use.
    """

    def __init__(self, whole: Workshop, settings: MethodSettings, step: Step) -> None:
        super().__init__(whole.recipe, whole.output)
        self._whole, self._settings, self.step = whole, settings, step

    @cached_property
    def requests(self) -> list[list[Sample]]:
        """The forget samples of every request of the row, in order."""
        return divide(self._whole.samples, self._settings.requests, self.recipe.seed)

    @cached_property
    def samples(self) -> list[Sample]:
        """All samples but the forget samples of other requests."""
        own = {sample.id for sample in self.requests[self.step.number - 1]}
        return [sample for sample in self._whole.samples if sample.subset not in FORGET or sample.id in own]

    @property
    def every_sample(self) -> list[Sample]:
        """The samples of the benchmark, those of other requests included."""
        return self._whole.samples

    @property
    def gone(self) -> set[str]:
        """Ids of what this request and the earlier ones forget."""
        return {sample.id for own in self.requests[: self.step.number] for sample in own}

    @property
    def earlier(self) -> list[Sample]:
        """What the requests before this one have forgotten."""
        return [sample for own in self.requests[: self.step.number - 1] for sample in own]

    @property
    def benchmark(self) -> Any:
        """The run's benchmark."""
        return self._whole.benchmark

    @property
    def start(self) -> str:
        """θ0, or the model after the request before."""
        return self.step.start

    @property
    def seed(self) -> int:
        """The row's own, or the recipe's. How requests are divided does not depend on it."""
        return self.recipe.seed if self._settings.seed is None else self._settings.seed

    @property
    def adapter_seed(self) -> int:
        """Another one for each request: an adapter that began as the last one did would only undo it."""
        return self.seed if self.step.number == 1 else derive(self.seed, "request", self.step.number)

    def load(self, folder: str | Path, *, as_trained: bool = False, apart: bool = False) -> VisionLanguageModel:
        """See :meth:`Workshop.load`."""
        return self._whole.load(folder, as_trained=as_trained, apart=apart)

    def with_images(self, vlm: VisionLanguageModel, seen: SeenImages | None = None) -> VisionLanguageModel:
        """See :meth:`Workshop.with_images`."""
        return self._whole.with_images(vlm, seen)

    def taken(self) -> dict[str, Tensor]:
        """Directions [k, in] that the adapters of the earlier requests read, by the name of the parameter.

        Raises:
            DataError: an earlier request left no adapter.
        """
        earlier = steps_of(self._settings)[: self.step.number - 1]
        return taken_directions([self.output / "models" / step.name for step in earlier])


def taken_directions(folders: Sequence[Path]) -> dict[str, Tensor]:
    """Orthonormal rows [k, in] that span the rows of the A matrices of all adapters, by the name of the parameter.

    Raises:
        DataError: a folder holds no adapter.
    """
    from safetensors.torch import load_file

    from mllmu_med.methods.addons.orthogonal import orthonormal_rows

    found: dict[str, list[Tensor]] = {}
    for folder in folders:
        path = folder / ADAPTER / "adapter_model.safetensors"
        if not path.is_file():
            raise DataError("holds no adapter", file=folder, mend="Requests that stay apart need trainable: lora.")
        for name, value in load_file(path).items():
            if name.endswith(".lora_A.weight"):
                found.setdefault(name.replace(".lora_A.weight", ".lora_A.default.weight"), []).append(value)
    return {name: orthonormal_rows(matrices) for name, matrices in found.items()}


# --- the course of a row in the results


def row_training(workshop: Workshop, row: str) -> dict[str, Any]:
    """The training facts behind a row: of all its requests together."""
    models = workshop.output / "models"
    settings = next((method for method in workshop.recipe.methods if method.row == row), None)
    names = [row] if settings is None else [step.name for step in steps_of(settings)]
    return total_training([read_manifest(models / name) for name in names])


def with_courses(workshop: Workshop, samples: Sequence[Sample], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The finished rows, those with several requests (and shards) with a section ``sequence``."""
    evaluations, models = workshop.output / "evaluations", workshop.output / "models"
    asked = {sample.id for sample in samples}
    courses: dict[str, Course] = {}
    for settings in workshop.recipe.methods:
        if not (names := course_of(settings)):
            continue
        divided = divide(workshop.samples, settings.requests, workshop.recipe.seed)
        courses[settings.row] = score_sequence(
            samples,
            [[sample.id for sample in request if sample.id in asked] for request in divided],
            [Visit(name, read_outputs(evaluations / name), _cost(models / name)) for name in names],
            read_outputs(evaluations / "oracle"),
        )
    return [{**row, "sequence": courses[row["name"]]} if row["name"] in courses else row for row in rows]


def _cost(folder: Path) -> dict[str, Any]:
    training = read_manifest(folder)["training"]
    return {"steps": training["steps"], "records": training["records"], "seconds": training["loop_seconds"]}


def folders_between(workshop: Workshop) -> dict[str, Path]:
    """The finished stages that are no rows, by name: models on the way and what plans are built from."""
    from mllmu_med.methods.plans.shards import Shards

    output, found = workshop.output, dict[str, Path]()
    for settings in workshop.recipe.methods:
        method = make_method(settings)
        if isinstance(method, Shards):
            names = [shard_name(settings.row, number) for number in range(method.shards)]
            names += [common_name(method, settings.row)] if method.common_steps else []
            found |= {name: output / "models" / name for name in names}
        for name in course_of(settings):
            if not is_row(name):
                found |= {name: output / "models" / name, f"evaluate {name}": output / "evaluations" / name}
    return found


def total_training(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The training facts of several stages as those of one: sums, the highest memory, the curves end to end."""
    every = [manifest["training"] for manifest in manifests]
    curve: list[dict[str, float]] = []
    done = 0
    for training in every:
        curve += [{**entry, "step": entry["step"] + done} for entry in training["curve"]]
        done += training["steps"]
    return {
        **every[-1],
        "curve": curve,
        "steps": done,
        "records": sum(training["records"] for training in every),
        "loop_seconds": round(sum(training["loop_seconds"] for training in every), 3),
        "flops": _sum_of_known([training.get("flops") for training in every]),
        "peak_memory_mb": max(training["peak_memory_mb"] for training in every),
        "trainable_share": max(training["trainable_share"] for training in every),
    }


def _sum_of_known(values: Sequence[float | None]) -> float | None:
    """Their sum without those that nobody counted; None if nobody counted any."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None

"""The stages of plans: retraining, and shards with an adapter each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mllmu_med.benchmark.sample import Sample
from mllmu_med.benchmark.training_sets import TrainingSet, oracle_set, training_set
from mllmu_med.errors import UsageError
from mllmu_med.folders import MANIFEST, read_json, read_manifest, write_json
from mllmu_med.methods.plans.interface import Plan
from mllmu_med.methods.plans.retrain import Retrain
from mllmu_med.methods.plans.shards import Shards
from mllmu_med.models.store import ADAPTER, PARENT, save_trained
from mllmu_med.pipeline.requests import common_name, shard_name
from mllmu_med.pipeline.sequence import RequestWorkshop, total_training
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.training import learn_samples
from mllmu_med.pipeline.workshop import Workshop, training_facts
from mllmu_med.recipe import MethodSettings, StageSettings, TrainableSettings
from mllmu_med.seeding import derive
from mllmu_med.training.loop import TrainingLog
from mllmu_med.training.shards import is_injected, join_folders, ordinary_records, shard_of, shard_records

HELD = "shards.json"
"""Which adapters serve in a sharded model: shard number → folder of its adapter, relative to ``models``."""


def make_planned(workshop: RequestWorkshop, method: Plan, settings: MethodSettings, key: str, folder: Path) -> Facts:
    """The model after one request of a plan."""
    if isinstance(method, Retrain):
        return _make_retrained(workshop, key, folder)
    if isinstance(method, Shards):
        return _make_after_deletion(workshop, method, settings.row, key, folder)
    raise UsageError(f"methods.{settings.row}: the pipeline carries out no plan '{method.scheme}'")


# --- retraining


def _make_retrained(workshop: RequestWorkshop, key: str, folder: Path) -> Facts:
    """The oracle; after a request that others follow, the same without that request and the earlier ones alone.

    With everything gone that is to go, retraining would repeat the oracle's training step by step and end with its
    bytes, so these are taken. The cost stays that of the training.
    """
    models = workshop.output / "models"
    if workshop.step.last:
        _copy(models / "oracle", folder)
        trained = read_manifest(models / "oracle")
        return {name: trained[name] for name in ("training", "questions")}
    vlm = workshop.load(models / "base")
    which, gone = oracle_set(corrected=workshop.recipe.learn.oracle.corrected), workshop.gone
    samples = [
        learnt
        for sample in workshop.every_sample
        for learnt in training_set([sample], which if sample.id in gone else TrainingSet.ORIGINAL)
    ]
    facts = learn_samples(workshop, vlm, samples, workshop.recipe.learn.oracle, workshop.step.name, key)
    save_trained(vlm, folder, "base")
    return facts


def _copy(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.name != MANIFEST:
            copy: Any = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, target / path.name)


# --- shards


def _stage_settings(workshop: Workshop, steps: int, **changes: Any) -> StageSettings:
    """Those of θ0, with the plan's own numbers."""
    original = workshop.recipe.learn.original
    return original.model_copy(update={"steps": steps, "epochs": None, **changes})


def make_common(workshop: Workshop, method: Shards, name: str, key: str, folder: Path) -> Facts:
    """θ_common: the base after further training on ordinary records alone."""
    vlm = workshop.load(workshop.output / "models" / "base")
    settings = _stage_settings(workshop, method.common_steps, replay=None)
    facts = learn_samples(workshop, vlm, ordinary_records(workshop.samples), settings, name, key)
    save_trained(vlm, folder, "base")
    return facts


def make_shard(workshop: Workshop, method: Shards, row: str, number: int, key: str, folder: Path) -> Facts:
    """The adapter of one shard, trained on all its records."""
    records = shard_records(workshop.samples, method.shards, method.by, workshop.recipe.seed)[number]
    return _train_adapter(workshop, method, row, number, records, shard_name(row, number), key, folder)


def _train_adapter(
    workshop: Workshop,
    method: Shards,
    row: str,
    number: int,
    records: list[Sample],
    name: str,
    key: str,
    folder: Path,
    up: str = "",
) -> Facts:
    """Train a shard's adapter on these records and on ordinary ones, from θ_common; without records there is none.

    Nothing here depends on the records of other shards, nor on which requests came before. ``up``: the way from the
    folder's parent directory to that of all models.
    """
    parent = common_name(method, row)
    vlm = workshop.load(workshop.output / "models" / parent)
    if not records:
        return {**training_facts(TrainingLog(stopped="no record lies in this shard"), [], 0, vlm), "records": 0}
    settings = _stage_settings(
        workshop, method.steps, learning_rate=method.learning_rate, replay=method.replay,
        trainable=TrainableSettings(language="lora"),
    )  # fmt: skip
    samples = [*records, *ordinary_records(workshop.samples)]
    seed = derive(workshop.recipe.seed, "shard", number)
    facts = learn_samples(workshop, vlm, samples, settings, name, key, seed=seed)
    save_trained(vlm, folder, f"{up}{parent}")
    return {**facts, "records": len(records)}


def make_served(workshop: Workshop, method: Shards, row: str, folder: Path) -> Facts:
    """The sharded model before any deletion: all adapters together. Its cost is that of learning them."""
    models = workshop.output / "models"
    names = [shard_name(row, number) for number in range(method.shards)]
    held = {number: name for number, name in enumerate(names) if (models / name / ADAPTER).is_dir()}
    if not held:
        raise UsageError(f"methods.{row}: no patient and no wrong fact to be learnt, so there are no shards")
    _join(models, method, row, held, folder)
    trained = [read_manifest(models / name) for name in names]
    if method.common_steps:
        trained.insert(0, read_manifest(models / common_name(method, row)))
    return {"training": total_training(trained), "shards": {"held": sorted(held)}}


def _make_after_deletion(workshop: RequestWorkshop, method: Shards, row: str, key: str, folder: Path) -> Facts:
    """Drop the adapters of the shards that hold what this request forgets; train them again if the plan says so."""
    models, seed = workshop.output / "models", workshop.recipe.seed
    before: dict[int, str] = {int(k): name for k, name in read_json(models / workshop.start / HELD).items()}
    asked = workshop.requests[workshop.step.number - 1]
    hit = sorted({shard_of(sample, method.shards, method.by, seed) for sample in asked})
    held = {number: name for number, name in before.items() if number not in hit}
    left = [sample for sample in workshop.every_sample if is_injected(sample) and sample.id not in workshop.gone]
    records = shard_records(left, method.shards, method.by, seed)
    trained: list[Facts] = []
    for number in hit if method.retrain else ():
        if not records[number]:
            continue
        place = folder / "shards" / str(number)
        # The resumable state of each lies below the stage's own and goes with it.
        checkpoint = f"{workshop.step.name}/shard-{number}"
        trained.append(_train_adapter(workshop, method, row, number, records[number], checkpoint, key, place, "../../"))
        held[number] = f"{workshop.step.name}/shards/{number}"
    facts: Facts = {"shards": {"held": sorted(held), "dropped": hit, "retrained": sorted({*hit} & {*held})}}
    _join(models, method, row, held, folder, template=before, fresh=(workshop.step.name, folder))
    if trained:
        return {"training": total_training(trained), **facts}
    return {"training": {**read_manifest(models / workshop.start)["training"], **_NOTHING_TRAINED}, **facts}


_NOTHING_TRAINED = {
    "curve": [], "steps": 0, "records": 0, "loop_seconds": 0.0, "stopped": "adapters dropped, nothing trained",
}  # fmt: skip


def _join(
    models: Path,
    method: Shards,
    row: str,
    held: dict[int, str],
    folder: Path,
    *,
    template: dict[int, str] | None = None,
    fresh: tuple[str, Path] | None = None,
) -> None:
    """Write the held adapters as one, in the order of their shards, and the list of them.

    Args:
        template: adapters of which one lends its shape where none is held any more.
        fresh: name of the model being written, and the folder in which it lies until it is whole.
    """

    def place(name: str) -> Path:
        if fresh is not None and name.startswith(f"{fresh[0]}/"):
            return fresh[1] / name.removeprefix(f"{fresh[0]}/")
        return models / name

    folders = [place(held[number]) for number in sorted(held)]
    share = 1.0 if method.combine == "sum" else 1 / max(1, len(folders))
    if not folders:
        assert template
        folders, share = [place(template[min(template)])], 0.0  # θ_common itself, as an adapter that adds nothing
    join_folders([each / ADAPTER for each in folders], folder / ADAPTER, share=share)
    write_json(folder / PARENT, {**read_json(folders[0] / PARENT), "parent": common_name(method, row)})
    write_json(folder / HELD, {str(number): held[number] for number in sorted(held)})

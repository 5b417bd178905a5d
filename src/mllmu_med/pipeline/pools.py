"""Pools of models with and without the knowledge: training them, and asking them as they are and changed.

They go on from the run's base model, as θ0 and the oracle did, each with a seed of its own and with fewer, as many or
more steps. None of them is a row of the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmu_med.pipeline.stage import Facts, Stage
from mllmu_med.recipe.metaeval_settings import Pool, pools_of

if TYPE_CHECKING:
    from mllmu_med.pipeline.workshop import Workshop

UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Change:
    """A change of the weights that neither adds nor removes knowledge of the forget set: one variant of an attack."""

    name: str
    attack: str
    variant: str


CHANGES = (
    Change("trained on unrelated records", "relearn_disjoint", "steps-10"),
    Change("rounded to 8 bits", "quantise", "int8"),
)


def make_pool_model(workshop: Workshop, pool: Pool, key: str, folder: Path) -> Facts:
    """One model of a pool."""
    from mllmu_med.benchmark.training_sets import TrainingSet, oracle_set, training_set
    from mllmu_med.models.store import save_trained
    from mllmu_med.pipeline.training import learn_samples
    from mllmu_med.seeding import derive

    recipe = workshop.recipe
    which = TrainingSet.ORIGINAL if pool.held else oracle_set(corrected=recipe.learn.oracle.corrected)
    own = recipe.learn.original if pool.held else recipe.learn.oracle
    settings = own.model_copy(update={"steps": max(1, round(own.steps * pool.steps))})
    vlm = workshop.load(workshop.output / "models" / "base")
    seed = derive(recipe.seed, "pool", pool.name)
    samples = training_set(workshop.samples, which)
    facts = learn_samples(workshop, vlm, samples, settings, pool.name, key, seed=seed)
    save_trained(vlm, folder, "base")
    return facts


def evaluate_pool_model(workshop: Workshop, pool: Pool, folder: Path) -> Facts:
    """Outputs of a pool's model as it is and after each change, one folder each."""
    from contextlib import closing

    from mllmu_med.attacks import ATTACKS
    from mllmu_med.attacks.interface import Subject
    from mllmu_med.attacks.weights.restoring import restored
    from mllmu_med.engines.in_process import InProcess
    from mllmu_med.evaluation.measure import measure
    from mllmu_med.evaluation.output_store import write_outputs
    from mllmu_med.pipeline.attacking import data_of
    from mllmu_med.pipeline.evaluating import asked_samples

    recipe = workshop.recipe
    evaluate = recipe.evaluate
    vlm = workshop.load(workshop.output / "models" / pool.name, as_trained=True)
    samples = asked_samples(workshop)

    def ask(name: str) -> None:
        own = folder / name
        own.mkdir()
        outputs = measure(
            InProcess(vlm, evaluate.batch), samples, max_new_tokens=evaluate.max_new_tokens,
            probes=evaluate.probe_families, seed=recipe.seed, title=f"evaluate {pool.name}, {name}",
        )  # fmt: skip
        write_outputs(outputs, own)

    ask(UNCHANGED)
    for change in CHANGES:
        subject = Subject(vlm, data_of(workshop), evaluate.batch)
        attack: Any = ATTACKS.get(change.attack)()
        with restored(vlm, attack.touches), closing(attack.tampered(subject)) as steps:
            for variant in steps:
                if variant == change.variant:
                    ask(change.name)
                    break
            else:
                raise ValueError(f"attack {change.attack} has no variant {change.variant}")
    return {"pool": pool.name, "steps": pool.steps}


def pool_stages(workshop: Any, keys: Any, threads: int, output: Path) -> Iterator[Stage]:
    """The stages of the pools of a recipe; none where it has none."""
    for pool in pools_of(workshop.recipe):
        key = keys.pool(pool)
        size = f"{pool.steps:g} × the steps of {'θ0' if pool.held else 'the oracle'}"
        yield Stage(
            pool.name, "metaeval", output / "models" / pool.name, key, size, _making(workshop, pool, key),
            ("benchmark", "base"), threads,
        )  # fmt: skip
        yield Stage(
            f"evaluate {pool.name}", "metaeval", output / "evaluations" / pool.name, keys.pool_evaluation(key),
            f"every sample and probe, {1 + len(CHANGES)} times", _asking(workshop, pool), (pool.name,), threads,
        )  # fmt: skip


def _making(workshop: Workshop, pool: Pool, key: str) -> Callable[[Path], Facts]:
    return lambda folder: make_pool_model(workshop, pool, key, folder)


def _asking(workshop: Workshop, pool: Pool) -> Callable[[Path], Facts]:
    return lambda folder: evaluate_pool_model(workshop, pool, folder)

"""The stage that asks one model; what it has answered is kept when it is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.engines.answer_store import AnswerStore
from mllmu_med.engines.in_process import InProcess
from mllmu_med.engines.interface import Engine
from mllmu_med.engines.stored import Stored
from mllmu_med.engines.wrapped import Wrapped
from mllmu_med.evaluation.grid import evaluation_samples
from mllmu_med.evaluation.measure import measure
from mllmu_med.evaluation.output_store import write_outputs
from mllmu_med.evaluation.strangers import OfStrangers
from mllmu_med.folders import digest, read_manifest
from mllmu_med.memory import peak_memory_mb
from mllmu_med.pipeline.controls import INSTRUCTION
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.strangers import ask_strangers, strangers_asked, strangers_likelihoods, write_strangers
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.training.interrupts import graceful_stop


def asked_samples(workshop: Workshop) -> list[Sample]:
    """The samples that every model of the run is asked."""
    recipe = workshop.recipe
    evaluate = recipe.evaluate
    return evaluation_samples(workshop.samples, most=evaluate.ordinary_samples, seed=recipe.seed, part=evaluate.part)


def reference_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Those that the base model is asked: both sides of membership inference, which it has learnt nothing of."""
    sides = (Subset.FORGET_PRIVACY, Subset.HOLDOUT)
    return [sample for sample in samples if sample.subset in sides and sample.stratum is Stratum.PRIVATE_IMAGE]


def answers_folder(evaluation: Path) -> Path:
    """Where the answers of an unfinished evaluation are kept: beside the folder that it will write."""
    return evaluation.with_name(f".answers-{evaluation.name}")


def evaluate_model(workshop: Workshop, name: str, folder: Path, *, model: str | None = None) -> Facts:
    """All outputs of one row.

    Args:
        name: of the row.
        model: whose model is asked behind an instruction (:class:`~mllmu_med.engines.wrapped.Wrapped`); None: the
            row's own, as it is.

    Answers are kept in ``.answers-NAME`` beside the stage's folder, batch by batch, until the stage is finished.

    Raises:
        Interrupted: a stop was asked for; the same command goes on behind the last whole batch.
    """
    recipe, weights = workshop.recipe, workshop.output / "models" / (model or name)
    evaluate = recipe.evaluate
    how = evaluate.model_dump(mode="json", exclude={"bootstrap"})
    purpose = digest([read_manifest(weights).get("key"), model, recipe.seed, how])
    samples, probes = asked_samples(workshop), evaluate.probe_families
    if name == "base":
        samples, probes = reference_samples(samples), ()
    vlm = workshop.load(weights, as_trained=True)
    store = AnswerStore(answers_folder(workshop.output / "evaluations" / name), purpose)
    strangers = strangers_asked(workshop, samples) if name != "base" else []
    with store, graceful_stop() as stop:
        engine: Engine = Stored(InProcess(vlm, evaluate.batch), store, stopping=lambda: stop.requested)
        if model is not None:
            engine = Wrapped(engine, INSTRUCTION)
        outputs = measure(
            engine, samples, max_new_tokens=evaluate.max_new_tokens, probes=probes, seed=recipe.seed,
            title=f"evaluate {name}",
        )  # fmt: skip
        records = strangers_likelihoods(engine, strangers, title=f"evaluate {name}: strangers' likelihoods")
        answers = ask_strangers(
            engine, strangers, max_new_tokens=evaluate.max_new_tokens, title=f"evaluate {name}: strangers"
        )
    write_outputs(outputs, folder)
    write_strangers(OfStrangers(answers, records), folder)
    return {"outputs": len(outputs), "peak_memory_mb": round(peak_memory_mb(vlm.device), 1)}

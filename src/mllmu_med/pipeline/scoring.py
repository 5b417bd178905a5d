"""The stages that score and show, from what is stored; no model is loaded."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mllmu_med import __version__
from mllmu_med.attacks.interface import Attempt
from mllmu_med.attacks.judging import judged, probe_of
from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.behaviour import gibberish_outputs
from mllmu_med.evaluation.output_store import read_outputs
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.rows import ORACLE_ROW, ORIGINAL_ROW, measured_rows, score_rows
from mllmu_med.evaluation.statistics import majority_baseline
from mllmu_med.evaluation.strangers import OfStrangers
from mllmu_med.evaluation.verdicts import suppression_label
from mllmu_med.folders import MANIFEST, read_json, read_manifest, write_json
from mllmu_med.inside.report import inside_results
from mllmu_med.models.changes import changed_share
from mllmu_med.pipeline.asking import served_rows
from mllmu_med.pipeline.attacking import about_attacks, attacks_of, row_attempts
from mllmu_med.pipeline.controls import GIBBERISH
from mllmu_med.pipeline.evaluating import asked_samples
from mllmu_med.pipeline.inside import stored_inside
from mllmu_med.pipeline.requests import steps_of
from mllmu_med.pipeline.retained import has_share, unused_by_row
from mllmu_med.pipeline.sections import sections
from mllmu_med.pipeline.sequence import folders_between, row_training, with_courses
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.strangers import read_strangers
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import MethodSettings, make_method
from mllmu_med.training.stopping import Left

RESULTS_FORMAT = "mllmu-med/results/1"
ADDED = ("retain_share", "stopped", "stopping")
"""What :func:`row_info` knows of a method's row that no score is made of."""


def row_outputs(workshop: Workshop, rows: list[str], *, texts_only: bool = False) -> dict[str, list[Output]]:
    """Stored outputs of each row; ``texts_only``: without likelihoods."""
    return {name: read_outputs(workshop.output / "evaluations" / name, texts_only=texts_only) for name in rows}


def write_results(workshop: Workshop, rows: list[str], folder: Path) -> Facts:
    """Score every row from the stored outputs; no model is loaded."""
    from mllmu_med.report.tables import write_csv

    recipe = workshop.recipe
    samples = asked_samples(workshop)
    every = [*rows, *served_rows(workshop)]
    outputs = row_outputs(workshop, every)
    if recipe.controls.more:
        outputs[GIBBERISH] = _gibberish(samples, outputs["theta0"], recipe.seed)
    scored = scored_rows(workshop, samples, outputs, row_attempts(workshop, every))
    manifest = workshop.benchmark.manifest
    results = {
        "format": RESULTS_FORMAT,
        "title": recipe.title or recipe.name,
        "seed": recipe.seed,
        "recipe": recipe.to_dict(),
        "provenance": provenance(workshop, rows),
        "benchmark": {
            "counts": manifest["counts"],
            "patients": manifest["patients"],
            "images": manifest["images"],
            "majority": majority_baseline(workshop.samples),
        },
        "attacks": about_attacks(attacks_of(workshop)),
        "rows": with_courses(workshop, samples, scored),
    }
    write_json(folder / "results.json", results)
    write_csv(results, folder / "results.csv")
    return {"rows": len(scored)}


def _gibberish(samples: Sequence[Sample], like: Sequence[Output], seed: int) -> list[Output]:
    """Random letters for everything that another row was asked."""
    asked = {(output.sample_id, output.probe) for output in like}
    return [output for output in gibberish_outputs(samples, seed) if (output.sample_id, output.probe) in asked]


def scored_rows(
    workshop: Workshop,
    samples: Sequence[Sample],
    outputs: Mapping[str, Sequence[Output]],
    attempts: Mapping[str, Mapping[str, Sequence[Attempt]]] | None = None,
) -> list[dict[str, Any]]:
    """Rows with all their sections, from outputs and attempts; ``theta0`` and ``oracle`` must be among them.

    Rows without a model of this run have no cost.
    """
    attacks, attempts = attacks_of(workshop), attempts or {}
    by_id = {sample.id: sample for sample in samples}
    models, seed, bootstrap = workshop.output / "models", workshop.recipe.seed, workshop.recipe.evaluate.bootstrap
    measured = measured_rows(by_id, outputs)
    more = sections(
        samples, outputs, measured, attempts, attacks, _base_outputs(workshop), unused_by_row(workshop),
        _strangers(workshop, outputs), seed=seed, bootstrap=bootstrap,
    )  # fmt: skip
    served = served_rows(workshop)
    infos = {
        name: served[name] if name in served else row_info(workshop, name)
        for name in outputs
        if name in served or (models / name / MANIFEST).is_file()
    }
    rows = score_rows(
        samples,
        outputs,
        infos,
        seed=seed,
        bootstrap=bootstrap,
        measured=measured,
        attacked={name: judged(by_id, made, attacks) for name, made in attempts.items()},
        robust={
            probe_of(name, attempt.variant)
            for made in attempts.values()
            for name, of_one in made.items()
            if attacks[name].robust
            for attempt in of_one
        },
    )
    seen = _seen_inside(workshop, samples, list(outputs))
    finished = []
    for row in rows:
        name = row["name"]
        added = {key: value for key, value in infos.get(name, {}).items() if key in ADDED}
        finished.append({**row, **added, **more.get(name, {}), **seen.get(name, {})})
    return finished


def _seen_inside(workshop: Workshop, samples: Sequence[Sample], rows: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Row → ``inside``, where the recipe says that models are looked into."""
    if not workshop.recipe.inside:
        return {}
    found = {name: stored_inside(workshop, name) for name in rows if (workshop.output / "inside" / name).is_dir()}
    if ORIGINAL_ROW not in found or ORACLE_ROW not in found:
        return {}
    seed, bootstrap = workshop.recipe.seed, workshop.recipe.evaluate.bootstrap
    references = found[ORIGINAL_ROW], found[ORACLE_ROW]
    return {
        name: {"inside": inside_results(samples, own, *references, seed=seed, bootstrap=bootstrap)}
        for name, own in found.items()
    }


def _strangers(workshop: Workshop, rows: Iterable[str]) -> dict[str, OfStrangers]:
    found = {row: read_strangers(workshop.output / "evaluations" / row) for row in rows}
    return {row: told for row, told in found.items() if told.answers}


def _base_outputs(workshop: Workshop) -> list[Output] | None:
    folder = workshop.output / "evaluations" / "base"
    return read_outputs(folder) if (folder / MANIFEST).is_file() else None


def row_info(workshop: Workshop, name: str) -> dict[str, Any]:
    """What is known of a row besides its outputs: names, cost, training curve, share of the retain data, its end."""
    models = workshop.output / "models"
    training = row_training(workshop, name)
    oracle = read_manifest(models / "oracle")["training"]
    info: dict[str, Any] = {
        "cost": {
            "steps": training["steps"],
            "records": training["records"],
            "seconds": training["loop_seconds"],
            "flops": training.get("flops"),
            "peak_memory_mb": training["peak_memory_mb"],
            "trainable_share": training["trainable_share"],
            "changed_share": changed_share(models / name, models / "theta0"),
            "share_of_oracle": training["records"] / max(1, oracle["records"]),
        },
        "curves": [
            {
                "step": int(e["step"]),
                "loss": e["loss"],
                "forget": e.get("forget"),
                "retain": e.get("retain"),
                "lr": e["lr"],
                **{measure: e[measure] for measure in Left._fields if measure in e},
            }
            for e in training["curve"]
        ],
    }
    settings = next((method for method in workshop.recipe.methods if method.row == name), None)
    if settings is None:
        return info
    info |= _method_info(settings)
    if has_share(settings):
        info["retain_share"] = settings.retain_share
    if stopped := _stopped(workshop, settings):
        info["stopped"] = stopped
    if settings.stop_excess is not None and any("excess" in entry for entry in training["curve"]):
        info["stopping"] = {"excess": settings.stop_excess, "band": settings.stop_band}
    return info


def _stopped(workshop: Workshop, settings: MethodSettings) -> str | None:
    """Why the row's training ended early, of several requests each; None where all steps were taken."""
    models, steps = workshop.output / "models", steps_of(settings)
    found = [(step.number, read_manifest(models / step.name)["training"].get("stopped")) for step in steps]
    reasons = [reason if len(steps) == 1 else f"request {number}: {reason}" for number, reason in found if reason]
    return "; ".join(reasons) or None


def _method_info(settings: MethodSettings) -> dict[str, Any]:
    from mllmu_med.methods.guards.interface import Guard

    method = make_method(settings)
    label = method.label if settings.row == settings.name else f"{method.label} ({settings.row})"
    return {
        "label": suppression_label(label) if isinstance(method, Guard) else label,
        "role": "method",
        "family": method.family,
        "source": method.source,
        "summary": method.summary,
    }


def provenance(workshop: Workshop, rows: list[str]) -> dict[str, Any]:
    """Versions, hashes, seconds and memory: what another team needs to get the same numbers."""
    import torch

    output = workshop.output
    folders = {"benchmark": output / "benchmark", "base": output / "models" / "base"}
    folders |= {name: folder for name in rows if (folder := output / "models" / name).is_dir()}
    folders |= {f"evaluate {name}": output / "evaluations" / name for name in rows}
    folders |= {f"attack {name}": folder for name in rows if (folder := output / "attacks" / name).is_dir()}
    folders |= folders_between(workshop)
    facts = {name: read_manifest(folder) for name, folder in folders.items()}
    memory = [f.get("peak_memory_mb") or f.get("training", {}).get("peak_memory_mb", 0.0) for f in facts.values()]
    gpu = torch.cuda.get_device_name(0) if workshop.device == "cuda" else None
    return {
        "package": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "peft", "accelerate")},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": gpu or "cpu",
        "image_backend": "torchvision" if find_spec("torchvision") else "PIL",
        "threads": torch.get_num_threads(),
        "source": workshop.benchmark.manifest["source"]["name"],
        "source_fingerprint": workshop.benchmark.manifest["source"]["fingerprint"],
        "benchmark": facts["benchmark"]["key"],
        "packing": all(f["training"]["packed"] for f in facts.values() if "training" in f),
        "seconds": {name: f["seconds"] for name, f in facts.items()},
        "peak_memory_mb": max(memory),
    }


def write_report(workshop: Workshop, folder: Path) -> Facts:
    """The page, from stored results and outputs."""
    from mllmu_med.report.page import build_report

    results = read_json(workshop.output / "results" / "results.json")
    rows = [row["name"] for row in results["rows"] if (workshop.output / "evaluations" / row["name"]).is_dir()]
    said = row_outputs(workshop, rows, texts_only=True)
    build_report(results, workshop.benchmark, said, folder / "built")
    built = folder / "built"
    for path in built.iterdir():
        if path.name != "manifest.json":
            path.rename(folder / path.name)
    (built / "manifest.json").unlink(missing_ok=True)
    built.rmdir()
    return {"page": "index.html"}

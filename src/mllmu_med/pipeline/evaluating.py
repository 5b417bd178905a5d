"""The stages that ask, score and show."""

from __future__ import annotations

import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mllmu_med import __version__
from mllmu_med.benchmark.sample import Sample
from mllmu_med.engines.in_process import InProcess
from mllmu_med.evaluation.grid import evaluation_samples
from mllmu_med.evaluation.measure import measure
from mllmu_med.evaluation.output_store import read_outputs, write_outputs
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.rows import score_rows
from mllmu_med.evaluation.statistics import majority_baseline
from mllmu_med.evaluation.verdicts import suppression_label
from mllmu_med.folders import read_json, read_manifest, write_json
from mllmu_med.memory import peak_memory_mb
from mllmu_med.models.changes import changed_share
from mllmu_med.pipeline.sequence import folders_between, row_training, with_courses
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import MethodSettings

RESULTS_FORMAT = "mllmu-med/results/1"


def asked_samples(workshop: Workshop) -> list[Sample]:
    """The samples that every model of the run is asked."""
    recipe = workshop.recipe
    evaluate = recipe.evaluate
    return evaluation_samples(workshop.samples, most=evaluate.ordinary_samples, seed=recipe.seed, part=evaluate.part)


def evaluate_model(workshop: Workshop, name: str, folder: Path) -> Facts:
    """All outputs of one model."""
    evaluate = workshop.recipe.evaluate
    vlm = workshop.load(workshop.output / "models" / name, as_trained=True)
    outputs = measure(
        InProcess(vlm, evaluate.batch), asked_samples(workshop), max_new_tokens=evaluate.max_new_tokens,
        probes=evaluate.probe_families, seed=workshop.recipe.seed, title=f"evaluate {name}",
    )  # fmt: skip
    write_outputs(outputs, folder)
    return {"outputs": len(outputs), "peak_memory_mb": round(peak_memory_mb(vlm.device), 1)}


def row_outputs(workshop: Workshop, rows: list[str]) -> dict[str, list[Output]]:
    """Stored outputs of each row."""
    return {name: read_outputs(workshop.output / "evaluations" / name) for name in rows}


def write_results(workshop: Workshop, rows: list[str], folder: Path) -> Facts:
    """Score every row from the stored outputs; no model is loaded."""
    from mllmu_med.report.tables import write_csv

    recipe = workshop.recipe
    samples = asked_samples(workshop)
    scored = score_rows(
        samples,
        row_outputs(workshop, rows),
        {name: row_info(workshop, name) for name in rows},
        seed=recipe.seed,
        bootstrap=recipe.evaluate.bootstrap,
    )
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
        "rows": with_courses(workshop, samples, scored),
    }
    write_json(folder / "results.json", results)
    write_csv(results, folder / "results.csv")
    return {"rows": len(scored)}


def row_info(workshop: Workshop, name: str) -> dict[str, Any]:
    """What is known of a row besides its outputs: names, cost and training curve."""
    models = workshop.output / "models"
    training = row_training(workshop, name)
    oracle = read_manifest(models / "oracle")["training"]
    info: dict[str, Any] = {
        "cost": {
            "steps": training["steps"],
            "records": training["records"],
            "seconds": training["loop_seconds"],
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
            }
            for e in training["curve"]
        ],
    }
    settings = next((method for method in workshop.recipe.methods if method.row == name), None)
    return info if settings is None else {**info, **_method_info(settings)}


def _method_info(settings: MethodSettings) -> dict[str, Any]:
    from mllmu_med.methods.guards.interface import Guard
    from mllmu_med.recipe import make_method

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
    folders |= {name: output / "models" / name for name in rows}
    folders |= {f"evaluate {name}": output / "evaluations" / name for name in rows}
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
    build_report(results, workshop.benchmark, row_outputs(workshop, rows), folder / "built")
    built = folder / "built"
    for path in built.iterdir():
        if path.name != "manifest.json":
            path.rename(folder / path.name)
    (built / "manifest.json").unlink(missing_ok=True)
    built.rmdir()
    return {"page": "index.html"}

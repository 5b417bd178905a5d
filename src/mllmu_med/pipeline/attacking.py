"""The stage that attacks one model, attack by attack; what is finished is kept when it is interrupted."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mllmu_med.attacks.carry_out import carry_out
from mllmu_med.attacks.interface import Attack, Attempt, Data, Subject
from mllmu_med.attacks.knowledge import attackers_data
from mllmu_med.attacks.store import read_attempts, write_attempts
from mllmu_med.folders import read_json, write_json
from mllmu_med.memory import peak_memory_mb
from mllmu_med.pipeline.evaluating import asked_samples
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import make_attacks

log = logging.getLogger("mllmu_med")


def attacks_of(workshop: Workshop) -> dict[str, Attack]:
    """The attacks of the run's recipe, by name."""
    return make_attacks(workshop.recipe)


def data_of(workshop: Workshop) -> Data:
    """What the attacker is given in this run."""
    settings = workshop.recipe.attack
    return attackers_data(
        workshop.samples,
        asked_samples(workshop),
        targets=settings.targets,
        bystanders=settings.bystanders,
        unrelated=settings.unrelated,
        max_new_tokens=workshop.recipe.evaluate.max_new_tokens,
        seed=workshop.recipe.seed,
    )


def attack_model(workshop: Workshop, name: str, key: str, folder: Path) -> Facts:
    """All attempts of all attacks on one model.

    Finished attacks are kept in ``.attacks-NAME`` beside the stage's folder until the stage is finished, so that an
    interruption loses one attack at most.
    """
    data, attacks = data_of(workshop), attacks_of(workshop)
    vlm = workshop.load(workshop.output / "models" / name, as_trained=True)
    subject = Subject(vlm, data, workshop.recipe.evaluate.batch)
    kept = _kept_folder(workshop.output / "attacks" / f".attacks-{name}", key)
    seconds: dict[str, float] = {}
    for title, attack in attacks.items():
        path = kept / f"{title}.parquet"
        facts = kept / f"{title}.json"
        if not facts.is_file():
            began = time.perf_counter()
            attempts = carry_out(title, attack, subject, progress=f"{title} on {name}")
            write_attempts(attempts, path)
            # The last thing written: an attack with this file is finished.
            write_json(
                facts, {"seconds": round(time.perf_counter() - began, 3), "notes": subject.notes.pop(title, None)}
            )
        shutil.copyfile(path, folder / path.name)
        seconds[title] = read_json(facts)["seconds"]
    notes = {title: note for title in attacks if (note := read_json(kept / f"{title}.json")["notes"]) is not None}
    shutil.rmtree(kept)
    return {
        "attacks": seconds,
        "notes": notes,
        "targets": len(data.targets),
        "peak_memory_mb": round(peak_memory_mb(vlm.device), 1),
    }


def _kept_folder(folder: Path, key: str) -> Path:
    """The folder of finished attacks, emptied where it belongs to another key."""
    note = folder / "key.json"
    if not note.is_file() or read_json(note) != {"key": key}:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(note, {"key": key})
    return folder


def row_attempts(workshop: Workshop, rows: list[str]) -> dict[str, dict[str, list[Attempt]]]:
    """Row → attack → stored attempts; what was not carried out on a row is left out (a served model's weights)."""
    names = list(attacks_of(workshop))
    found: dict[str, dict[str, list[Attempt]]] = {}
    for row in rows:
        folder = workshop.output / "attacks" / row
        if names and (folder / "manifest.json").is_file():
            made = {name: path for name in names if (path := folder / f"{name}.parquet").is_file()}
            found[row] = {name: read_attempts(path) for name, path in made.items()}
    return found


def about_attacks(attacks: Mapping[str, Attack]) -> dict[str, dict[str, Any]]:
    """What results say of each attack besides its outcome."""
    return {
        name: {
            "label": attack.label,
            "threat": attack.threat.value,
            "source": attack.source,
            "summary": attack.summary,
            "cost": attack.cost,
            "budget": attack.budget,
            "robust": attack.robust,
        }
        for name, attack in attacks.items()
    }

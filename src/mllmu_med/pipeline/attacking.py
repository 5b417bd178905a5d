"""The stage that attacks one model, attack by attack; what is there already is not made again."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mllmu_med.attacks.carry_out import carry_out
from mllmu_med.attacks.interface import Attack, Attempt, Data, Subject, Tampering
from mllmu_med.attacks.knowledge import attackers_data
from mllmu_med.attacks.store import carried, keep, read_attempts, take_over
from mllmu_med.folders import MANIFEST, digest, read_json, read_manifest
from mllmu_med.memory import peak_memory_mb
from mllmu_med.models.groups import has_adapter
from mllmu_med.models.store import is_adapter
from mllmu_med.pipeline.evaluating import asked_samples
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe, attack_arguments, make_attacks

log = logging.getLogger("mllmu_med")

_REFERENCES = ("theta0", "oracle")


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


class _UnderAttack:
    """A row's model, loaded when an attack first needs it, and again for those that want its adapter apart."""

    def __init__(self, workshop: Workshop, name: str, data: Data) -> None:
        self.name, self._folder = name, workshop.output / "models" / name
        self._workshop, self._data = workshop, data
        self._reference = name in _REFERENCES and workshop.recipe.model.trainable.adapted
        self._subject: Subject | None = None

    def wants_apart(self, attack: Attack) -> bool:
        """Whether the attack meets the model with its own adapter beside the weights."""
        wants = isinstance(attack, Tampering) and attack.apart and not self._reference
        return wants and is_adapter(self._folder)

    def subject(self, attack: Attack) -> Subject:
        """The model as the attack meets it."""
        apart = self.wants_apart(attack)
        if self._subject is None or (apart and not has_adapter(self._subject.vlm)):
            self._subject = None  # let go before the next one is loaded
            vlm = self._workshop.load(self._folder, as_trained=True, apart=apart)
            batch = self._workshop.recipe.evaluate.batch
            self._subject = Subject(vlm, self._data, batch, reference=self._reference)
        return self._subject


def attack_model(workshop: Workshop, name: str, keys: Mapping[str, str], folder: Path) -> Facts:
    """All attempts of all attacks on one model; those that are there already under the same key are taken over.

    Finished attacks are kept in ``.attacks-NAME`` beside the stage's folder until the stage is finished, so that an
    interruption loses one attack at most.

    Args:
        keys: attack → hash of everything its attempts depend on.
        folder: where the attempts are written.
    """
    stage = workshop.output / "attacks" / name
    data, attacks, kept = data_of(workshop), attacks_of(workshop), kept_attacks(stage, keys)
    for title, place in kept.items():
        log.info("%s on %s: kept", title, name)
        take_over(place, folder, title)
    unfinished, model = _unfinished(stage), _UnderAttack(workshop, name, data)
    unfinished.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Those that want the adapter apart come last: the model is loaded twice at most.
    to_do = [title for title in attacks if title not in kept]
    for title in sorted(to_do, key=lambda one: model.wants_apart(attacks[one])):
        _carry_out(title, attacks[title], model, keys[title], unfinished)
        take_over(unfinished, folder, title)
    noted = {title: read_json(folder / f"{title}.json") for title in attacks}
    shutil.rmtree(unfinished)
    return {
        "attacks": {title: note["seconds"] for title, note in noted.items()},
        "notes": {title: note["notes"] for title, note in noted.items() if note["notes"] is not None},
        "targets": len(data.targets),
        "peak_memory_mb": max(note["peak_memory_mb"] for note in noted.values()),
    }


def _carry_out(title: str, attack: Attack, model: _UnderAttack, key: str, folder: Path) -> None:
    """Attempts of one attack, written to ``folder``. The model is in no hand but ``model``'s afterwards."""
    subject = model.subject(attack)
    began = time.perf_counter()
    attempts = carry_out(title, attack, subject, progress=f"{title} on {model.name}")
    keep(
        folder,
        title,
        attempts,
        key=key,
        seconds=round(time.perf_counter() - began, 3),
        notes=subject.notes.pop(title, None),
        peak_memory_mb=round(peak_memory_mb(subject.vlm.device), 1),
    )


def kept_attacks(stage: Path, keys: Mapping[str, str]) -> dict[str, Path]:
    """Attack → folder that holds its attempts under its key: an interrupted stage's, or the last finished one.

    Args:
        stage: folder of the stage, finished or not.
        keys: attack → key.
    """
    places = (_unfinished(stage), stage)
    found = ((name, place) for name, key in keys.items() for place in places if carried(place, name, key))
    return dict(found)


def _unfinished(stage: Path) -> Path:
    """Where finished attacks wait for the end of their stage."""
    return stage.with_name(f".attacks-{stage.name}")


def row_attempts(workshop: Workshop, rows: list[str]) -> dict[str, dict[str, list[Attempt]]]:
    """Row → attack → stored attempts; what was not carried out on a row is left out (a served model's weights)."""
    names = list(attacks_of(workshop))
    found: dict[str, dict[str, list[Attempt]]] = {}
    for row in rows:
        folder = workshop.output / "attacks" / row
        if names and (folder / MANIFEST).is_file():
            made = {name: path for name in names if (path := folder / f"{name}.parquet").is_file()}
            if "served" in read_manifest(folder):
                made = _of_the_same_model(workshop, row, made)
            found[row] = {name: read_attempts(path) for name, path in made.items()}
    return found


def _of_the_same_model(workshop: Workshop, row: str, made: Mapping[str, Path]) -> dict[str, Path]:
    """Attempts on a served model that are of the row as it was asked last, by what the recipe says today."""
    asked = read_manifest(workshop.output / "evaluations" / row)["key"]
    same = {}
    for name, path in made.items():
        if carried(path.parent, name, served_attack_key(workshop.recipe, asked, name)) is None:
            log.warning("%s on %s: of another model, or with other numbers: left out; ask it again", name, row)
        else:
            same[name] = path
    return same


def served_attack_key(recipe: Recipe, asked: str, name: str) -> str:
    """Hash of what attempts on a served model depend on: who was asked what (``asked``), and the attack's numbers."""
    numbers = {key: str(value) for key, value in attack_arguments(recipe)[name].items()}
    data = recipe.attack.model_dump(mode="json", exclude={"attacks"})
    return digest({"asked": asked, "attack": name, "numbers": numbers, "data": data})


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

"""Carry out an attack that changes weights, and give the model back as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

from mllmu_med.attacks.interface import Attempt, Subject, Tampering
from mllmu_med.attacks.weights.restoring import restored
from mllmu_med.engines.in_process import InProcess
from mllmu_med.errors import UsageError
from mllmu_med.models.generation import Prompt
from mllmu_med.progress import bar


def tamper(name: str, attack: Tampering, subject: Subject, *, title: str = "attack") -> list[Attempt]:
    """Ask all targets and bystanders their own questions, greedily, at every step of the attack.

    The model is bit for bit the same afterwards, however the attack ends. Targets that the attacker was given are not
    asked. What the attack notes comes under ``name`` in ``subject.notes``, with the bytes that were copied.

    Args:
        name: the attack's registry name.
        title: of the progress bars.

    Returns:
        attempts with one candidate each: step after step, targets before bystanders.

    Raises:
        UsageError: two steps of the attack have one name, or it cannot be carried out on this model.
    """
    vlm, data, notes = subject.vlm, subject.data, dict[str, Any]()
    spent = attack.spent(data)
    asked = [sample for sample in (*data.targets, *data.bystanders) if sample.id not in spent]
    prompts = [Prompt(sample.image_id, sample.question) for sample in asked]
    engine, found, variants = InProcess(vlm, subject.batch), list[Attempt](), set[str]()
    # The attack is closed before the weights are given back: what it has set up itself ends first.
    with restored(vlm, attack.touches) as copied, closing(_steps(attack, replace(subject, notes=notes))) as steps:
        for variant in steps:
            if variant in variants:
                raise UsageError(f"attack '{name}' calls two of its steps '{variant}'")
            variants.add(variant)
            with bar(f"{title}: {variant}", len(prompts)) as progress:
                answers = engine.answers(prompts, max_new_tokens=data.max_new_tokens, progress=progress)
            found += [
                Attempt(name, variant, sample.id, sample.question, (answer.text,))
                for sample, answer in zip(asked, answers, strict=True)
            ]
    subject.notes[name] = {"copied_bytes": copied, "targets_given": len(spent), **notes}
    return found


def _steps(attack: Tampering, subject: Subject) -> Generator[str, None, None]:
    """The attack's steps as a generator, which can be closed."""
    yield from attack.tampered(subject)

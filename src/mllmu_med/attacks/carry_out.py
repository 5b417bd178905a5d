"""Carry out any attack on a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mllmu_med.attacks.black_box.ask import ask
from mllmu_med.attacks.interface import Asking, Attack, Attempt, Reading, Subject, Tampering, Threat, Weighing
from mllmu_med.attacks.weights.carry_out import tamper
from mllmu_med.engines.in_process import InProcess
from mllmu_med.errors import UsageError
from mllmu_med.models.vlm import VisionLanguageModel


def carry_out(name: str, attack: Attack, subject: Subject, *, progress: str = "attack") -> list[Attempt]:
    """All attempts of an attack on a model; the model is afterwards as it was before.

    Who reads or changes weights is not bound to a guard that stands before them: those attacks meet the model without
    it. The order of the attempts is a function of the data and the attack.

    Args:
        name: the attack's registry name, which stands in its attempts.
        progress: title of the bar.

    Raises:
        UsageError: the attack is of no known kind, or cannot be carried out on this model.
    """
    engine = InProcess(subject.vlm, subject.batch)
    with _within_reach(subject.vlm, attack.threat):
        if isinstance(attack, Asking):
            found = ask(name, attack, engine, subject.data, title=progress)
        elif isinstance(attack, Weighing):
            found = attack.weigh(engine, subject.data)
        elif isinstance(attack, Reading):
            found = attack.read(subject)
        elif isinstance(attack, Tampering):
            found = tamper(name, attack, subject, title=progress)
        else:
            raise UsageError(f"attack '{name}' is of no kind that can be carried out on a model")
    return [replace(attempt, attack=name) for attempt in found]


@contextmanager
def _within_reach(vlm: VisionLanguageModel, threat: Threat) -> Iterator[None]:
    guard = vlm.guard
    if threat in (Threat.WHITE_BOX, Threat.WEIGHTS):
        vlm.guard = None
    try:
        yield
    finally:
        vlm.guard = guard

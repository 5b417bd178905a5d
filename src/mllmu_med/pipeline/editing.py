"""The stage of an edit: θ0 with some weights changed directly."""

from __future__ import annotations

from pathlib import Path

from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import UsageError
from mllmu_med.methods.edits.interface import Edit
from mllmu_med.models.store import save_trained
from mllmu_med.pipeline.sequence import FORGET, RequestWorkshop
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.training import checkpoints, feeding_of
from mllmu_med.pipeline.workshop import loop_settings, training_facts
from mllmu_med.recipe import MethodSettings
from mllmu_med.training.desk import carry_out


def make_edited(workshop: RequestWorkshop, method: Edit, settings: MethodSettings, key: str, folder: Path) -> Facts:
    """θ: the model a request starts from (θ0 for the first one), after one edit has carried the request out.

    The cost in records counts every answer that passed through the model: those of the trainings that the edit asked
    for, and those recorded. ``trainable_share`` is the share of the weights that changed, where the edit knows it.

    Raises:
        UsageError: a rule that stops a loop, which an edit does not have.
    """
    for what, name in (("retain budget", "retain_budget"), ("stopping rule", "stop_excess")):
        if getattr(settings, name) is not None:
            raise UsageError(
                f"methods.{settings.row}: a {what} ends a training early, and {method.label} is none; "
                f"set methods.{settings.row}.{name}=null"
            )
    vlm = workshop.load(workshop.output / "models" / workshop.start)
    counts = workshop.trainable(vlm)
    loop, name = loop_settings(settings, settings.steps, log_every=5), workshop.step.name
    done = carry_out(
        vlm, method, workshop.subset(*FORGET), workshop.subset(Subset.RETAIN), loop, feeding_of(settings),
        seed=workshop.seed, title=f"edit: {name}", checkpoints=checkpoints(workshop, name, key),
    )  # fmt: skip
    save_trained(vlm, folder, workshop.start)
    facts = training_facts(done.log, counts, done.log.answers + done.recorded, vlm)
    if "weights_changed" in done.numbers:
        total = sum(count.parameters for count in counts)
        facts["training"]["trainable_share"] = done.numbers["weights_changed"] / max(1, total)
    return {**facts, "edit": dict(done.numbers)}

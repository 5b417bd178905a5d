"""Does the stopping rule, which sees no oracle, stop where one who sees the oracle would?

    python benchmarks/stopping.py phantom --seeds 0 1 2 --rates 5e-4 1e-3 2e-3 -o runs/stopping
    python benchmarks/stopping.py phantom --methods npo excess --seeds 0 -o runs/stopping

A method is run to its end and measured every few steps twice. By the rule: mean excess over the approximate oracle, and
membership AUC against made-up siblings. With the oracle in sight: KL from the oracle on the forget answers, and
membership AUC against the patients held out, beside the oracle's own. The rule stops at the first measurement with an
excess of at most .05 nat and an AUC within .05 of .5; who sees the oracle at the first one with a KL at most a tenth
above the lowest of the run and an AUC within .05 of the oracle's. Written: ``table.json`` and ``table.md`` in the
folder, and how far the AUC against the made-up is from that against the held out, at the most.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contest import BUDGET
from mllmu_med import api
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.methods.objectives.excess import teacher_kl
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline.requests import FORGET, steps_of
from mllmu_med.pipeline.sequence import RequestWorkshop
from mllmu_med.pipeline.teaching import taught
from mllmu_med.pipeline.training import checkpoints, feeding_of
from mllmu_med.pipeline.workshop import Workshop, loop_settings
from mllmu_med.recipe import load_recipe, make_method
from mllmu_med.training.examples import span_weights
from mllmu_med.training.feeding import usable_retain
from mllmu_med.training.forward import answer_states
from mllmu_med.training.siblings import made_up_beside
from mllmu_med.training.stopping import ExcessStop, StopSettings
from mllmu_med.training.teacher import TeacherOutputs, model_outputs
from mllmu_med.training.unlearn import STRANGERS, unlearn
from mllmu_med.training.watching import Sighting

NEAR_LOWEST = 1.1
"""Times the lowest KL of a run at which its model is as near the oracle as it gets."""
LEFT, BAND = 0.05, 0.05


def stops(rows: Sequence[Mapping[str, float]], ideal: float) -> dict[str, int | None]:
    """Steps at which the rule and one who sees the oracle would stop; None: never.

    Args:
        rows: the measurements of a run, in order.
        ideal: the oracle's membership AUC against the patients held out.
    """
    lowest = min(row["KL from oracle"] for row in rows)
    by_rule = [r["step"] for r in rows if r["excess"] <= LEFT and abs(r["auc"] - 0.5) <= BAND]
    seeing = [
        r["step"]
        for r in rows
        if r["KL from oracle"] <= NEAR_LOWEST * lowest and abs(r["auc, held out"] - ideal) <= BAND
    ]
    return {"rule": int(by_rule[0]) if by_rule else None, "oracle": int(seeing[0]) if seeing else None}


class BothWays:
    """Measures by the rule and with the oracle in sight; never stops.

    Args:
        rule: the rule's own measurement.
        seen: the same figures against patients held out, with the oracle's outputs in the place of the teacher's.
        forget: the forget samples.
        oracle: the oracle's outputs on them.
        every: steps between measurements.
    """

    def __init__(
        self, vlm: VisionLanguageModel, rule: ExcessStop, seen: ExcessStop, forget: Sequence[Sample],
        oracle: TeacherOutputs, every: int,
    ) -> None:  # fmt: skip
        self.vlm, self.rule, self.seen, self.oracle, self.every = vlm, rule, seen, oracle, every
        self.questions = [Question(s.image_id, s.question, s.answer) for s in forget]
        self.weights = [span_weights(vlm.prompts, sample) for sample in forget]
        self.rows: list[dict[str, float]] = []

    def due(self, step: int, log_every: int) -> bool:
        """Every few steps."""
        return step // self.every > (step - log_every) // self.every

    def look(self, step: int) -> Sighting:
        """One row of the table."""
        left, auc = self.rule.measure()
        over, held_out = self.seen.measure()
        row = {"step": step, "excess": left, "auc": auc or 0.5, "over oracle": over, "auc, held out": held_out or 0.5}
        self.rows.append({**row, "KL from oracle": self._kl()})
        return Sighting({"excess": left, "auc": auc or 0.5})

    @torch.no_grad()
    def _kl(self) -> float:
        """Mean over the forget answers of the mean KL(p_θ* ‖ p_θ) of their private tokens."""
        self.vlm.model.eval()
        found = []
        for place in range(0, len(self.questions), 64):
            some = self.questions[place : place + 64]
            states = answer_states(self.vlm, some, 8)
            each = dict(zip(states.order, torch.split(self.vlm.logits(states.hidden), states.counts), strict=True))
            for number, question in enumerate(some):
                teacher = self.oracle.of([question])
                kl = teacher_kl(each[number], teacher.tokens, teacher.logprobs, teacher.rest)
                weight = torch.tensor(self.weights[place + number] or [1.0] * len(kl), device=kl.device)
                found.append(float((kl * weight).sum() / weight.sum()))
        self.vlm.model.train()
        return sum(found) / len(found)


def watched(recipe: Any, folder: Path, every: int) -> dict[str, Any]:
    """Run one method to its end; its measurements, and where each way of looking would have stopped."""
    api.learn(recipe, folder)
    settings = recipe.methods[0]
    [step] = steps_of(settings)
    workshop, method = RequestWorkshop(Workshop(recipe, folder), settings, step), make_method(settings)
    forget, feeding = workshop.subset(*FORGET), feeding_of(settings)
    retain = usable_retain(workshop.subset(Subset.RETAIN), settings.retain_share, workshop.seed)
    questions = [Question(s.image_id, s.question, s.answer) for s in forget]
    held_out = workshop.subset(Subset.HOLDOUT)
    with tempfile.TemporaryDirectory() as place:
        own = taught(workshop, settings, feeding, None, checkpoints(workshop, "teacher", "stopping"), Path(place))
    vlm = workshop.load(folder / "models" / "oracle")
    oracle = model_outputs(vlm, questions)
    ideal = ExcessStop(vlm, forget, held_out, oracle, StopSettings()).measure()[1]
    vlm = workshop.load(folder / "models" / "theta0")
    workshop.trainable(vlm)
    count = min(STRANGERS, settings.siblings)
    strangers = made_up_beside(forget, retain, count, workshop.seed, first=settings.siblings)
    both = BothWays(
        vlm, ExcessStop(vlm, forget, strangers, own.outputs.to(vlm.device), StopSettings()),
        ExcessStop(vlm, forget, held_out, oracle.to(vlm.device), StopSettings()), forget, oracle, every,
    )  # fmt: skip
    loop = loop_settings(settings, settings.steps, log_every=5)
    unlearn(
        vlm, method, forget, workshop.subset(Subset.RETAIN), loop, feeding, seed=workshop.seed, teacher=own.outputs,
        watches=[both],
    )  # fmt: skip
    return {
        "method": settings.name, "seed": recipe.seed, "rate": settings.learning_rate, "rows": both.rows,
        "oracle's AUC": ideal, **stops(both.rows, 0.5 if ideal is None else ideal),
    }  # fmt: skip


def markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """One line a run: where each stops, and what the oracle's measures say at the rule's step."""
    head = [
        "method",
        "seed",
        "rate",
        "the rule stops at",
        "the oracle at",
        "KL from oracle there",
        "lowest KL",
        "AUC − AUC* there",
        "AUCs apart at most",
    ]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for one in runs:
        there = next((row for row in one["rows"] if row["step"] == one["rule"]), None)
        lowest = min(row["KL from oracle"] for row in one["rows"])
        shown = ["–", "–"]
        if there is not None:
            shown = [f"{there['KL from oracle']:.2f}", f"{there['auc, held out'] - one[_IDEAL]:+.2f}"]
        lines.append([
            f"`{one['method']}`", str(one["seed"]), f"{one['rate']:g}", str(one["rule"] or "never"),
            str(one["oracle"] or "never"), shown[0], f"{lowest:.2f}", shown[1],
            f"{max(abs(row['auc'] - row['auc, held out']) for row in one['rows']):.2f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


_IDEAL = "oracle's AUC"


def main() -> None:
    """Parse, carry out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="phantom", help="a recipe's name or file")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE")
    parser.add_argument("--methods", nargs="+", default=["excess"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each with its own θ0 and oracle")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3], help="learning rates")
    parser.add_argument("--every", type=int, default=10, help="steps between measurements")
    parser.add_argument("-o", "--output", default="runs/stopping")
    args = parser.parse_intermixed_args()
    folder, runs = Path(args.output), []
    for seed in args.seeds:
        for method in args.methods:
            for rate in args.rates:
                recipe = load_recipe(args.recipe, *BUDGET, *args.overrides, seed=seed, methods=[method])
                settings = recipe.methods[0].model_copy(update={"learning_rate": rate})
                recipe = recipe.model_copy(update={"methods": (settings,)})
                runs.append(watched(recipe, folder / f"seed-{seed}", args.every))
                (folder / "table.json").write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(markdown(runs), encoding="utf-8")
    print(markdown(runs))


if __name__ == "__main__":
    main()

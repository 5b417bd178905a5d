"""Does the stopping rule, which sees no oracle, stop where one who sees the oracle would?

    python benchmarks/stopping.py phantom --seeds 0 1 2 --rates 5e-4 1e-3 2e-3 -o runs/stopping
    python benchmarks/stopping.py phantom --methods npo excess --seeds 0 -o runs/stopping

A method is run to its end and measured every few steps twice. By the rule: mean excess over the approximate oracle, and
membership AUC against made-up siblings. With the oracle in sight: KL from the oracle on the forget answers, and
membership AUC against the patients held out, beside the oracle's own. The rule stops at the first measurement with an
excess within its limit and an AUC of at most .52; who sees the oracle at the first one with a KL at most a tenth above
the lowest of the run and an AUC within .05 of the oracle's. Written: ``table.json``, every measurement, and
``table.md``: what each limit of the excess leads to, and run by run where either stops and how far the AUC against the
made-up is from that against the held out, at the most. A run that stands in ``table.json`` is not carried out again.
With ``--fill DOCS`` both tables are put into ``DOCS/explanation/stopping.md``, where their marks stand there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contest import BUDGET
from benchmarks.speed import tables
from mllmu_med import api
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.methods.objectives.excess import teacher_kl
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline.keys import Keys
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
NEAR_AUC = 0.05
"""How far from the oracle's its membership AUC may be there."""
BAND = StopSettings().band
LIMITS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Of the mean excess, in nats a token."""

Row = Mapping[str, float]


def by_rule(rows: Sequence[Row], limit: float) -> Row | None:
    """The first measurement at which the rule stops, of a run's in their order."""
    return next((row for row in rows if row["excess"] <= limit and row["auc"] <= 0.5 + BAND), None)


def done(row: Row, rows: Sequence[Row], ideal: float) -> bool:
    """Whether one who sees the oracle would call this measurement the end; ``ideal``: the oracle's membership AUC."""
    lowest = min(one["KL from oracle"] for one in rows)
    return row["KL from oracle"] <= NEAR_LOWEST * lowest and abs(row["auc, held out"] - ideal) <= NEAR_AUC


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
        left, _, auc = self.rule.measure()
        over, _, held_out = self.seen.measure()
        row = {"step": step, "excess": left, "auc": _auc(auc), "over oracle": over, "auc, held out": _auc(held_out)}
        self.rows.append({**row, "KL from oracle": self._kl()})
        return Sighting({"excess": left, "auc": row["auc"]})

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


def _auc(value: float | None) -> float:
    """The measured one, 0 too; .5, which tells nobody, where no patient is forgotten."""
    return 0.5 if value is None else value


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
        kept = checkpoints(workshop, "teacher", Keys(recipe).method(settings))
        own = taught(workshop, settings, feeding, None, kept, Path(place))
    vlm = workshop.load(folder / "models" / "oracle")
    oracle = model_outputs(vlm, questions)
    ideal = ExcessStop(vlm, forget, held_out, oracle, StopSettings()).measure().auc
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
        _IDEAL: 0.5 if ideal is None else ideal,
    }  # fmt: skip


def by_limit(runs: Sequence[Mapping[str, Any]]) -> str:
    """One line a limit: how many runs stop, in how many the oracle agrees, and how far from it they are there."""
    rows = []
    for limit in LIMITS:
        stopped = [(one, row) for one in runs if (row := by_rule(one["rows"], limit)) is not None]
        agreed = [done(row, one["rows"], one[_IDEAL]) for one, row in stopped]
        above = [row["KL from oracle"] / min(r["KL from oracle"] for r in one["rows"]) - 1 for one, row in stopped]
        apart = [abs(row["auc, held out"] - one[_IDEAL]) for one, row in stopped]
        entry = {"limit": f"{limit:g}", "stop": f"{len(stopped)} of {len(runs)}", "agreed": str(sum(agreed))}
        if stopped:
            entry |= {
                "above": f"{mean(above):.0%} ({max(above):.0%})",
                "apart": f"{mean(apart):.2f} ({max(apart):.2f})",
            }
            entry["steps"] = f"{mean(row['step'] for _, row in stopped):.0f}"
        rows.append(entry)
    return tables.markdown(rows, {
        "limit": "limit, nat a token", "stop": "runs that stop", "agreed": "the oracle agrees", "steps": "at step",
        "above": "KL above the lowest, mean (most)", "apart": "\\|AUC − AUC\\*\\|, mean (most)",
    })  # fmt: skip


def by_run(runs: Sequence[Mapping[str, Any]], limit: float) -> str:
    """One line a run: where each stops, and what the oracle's measures say at the rule's step."""
    rows = []
    for one in runs:
        there, ideal = by_rule(one["rows"], limit), one[_IDEAL]
        seeing = next((row for row in one["rows"] if done(row, one["rows"], ideal)), None)
        steps = [str(int(row["step"])) if row else "never" for row in (there, seeing)]
        entry = {"method": f"`{one['method']}`", "seed": str(one["seed"]), "rate": f"{one['rate']:g}"}
        entry |= dict(zip(("rule", "oracle"), steps, strict=True))
        if there is not None:
            entry |= {"kl": f"{there['KL from oracle']:.2f}", "auc": f"{there['auc, held out'] - ideal:+.2f}"}
        entry["lowest"] = f"{min(row['KL from oracle'] for row in one['rows']):.2f}"
        entry["apart"] = f"{max(abs(row['auc'] - row['auc, held out']) for row in one['rows']):.2f}"
        rows.append(entry)
    return tables.markdown(rows, {
        "method": "method", "seed": "seed", "rate": "rate", "rule": "the rule stops at", "oracle": "the oracle at",
        "kl": "KL from oracle there", "lowest": "lowest KL", "auc": "AUC − AUC\\* there", "apart": "AUCs apart at most",
    })  # fmt: skip


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
    parser.add_argument(
        "--limit", type=float, default=0.3, choices=LIMITS, help="of the excess, in the table run by run"
    )
    parser.add_argument("--fill", type=Path, metavar="DOCS")
    parser.add_argument(
        "--name", default="stopping", help="of the tables' marks in the documents: NAME-limits, NAME-runs"
    )
    parser.add_argument("-o", "--output", default="runs/stopping")
    args = parser.parse_intermixed_args()
    folder = Path(args.output)
    runs = json.loads((folder / "table.json").read_text("utf-8")) if (folder / "table.json").is_file() else []
    wanted: list[dict[str, Any]] = []
    for seed in args.seeds:
        for method in args.methods:
            for rate in args.rates:
                recipe = load_recipe(args.recipe, *BUDGET, *args.overrides, seed=seed, methods=[method])
                settings = recipe.methods[0].model_copy(update={"learning_rate": rate})
                recipe = recipe.model_copy(update={"methods": (settings,)})
                of = {"recipe": recipe.digest, "every": args.every}
                one = next((one for one in runs if of.items() <= one.items()), None)
                if one is None:
                    one = {**of, **watched(recipe, folder / f"seed-{seed}", args.every)}
                    runs.append(one)
                    (folder / "table.json").write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")
                wanted.append(one)
    runs = wanted
    blocks = {f"{args.name}-limits": by_limit(runs), f"{args.name}-runs": by_run(runs, args.limit)}
    (folder / "table.md").write_text("\n".join(blocks.values()), encoding="utf-8")
    if args.fill is not None:
        tables.fill(args.fill / "explanation" / "stopping.md", blocks)
    print(*blocks.values(), sep="\n")


if __name__ == "__main__":
    main()

"""What our method costs, at any size: a step, what goes before the first one, and memory.

    python benchmarks/ours.py                                     the embedded model's size
    python benchmarks/ours.py --size small                        60 million parameters, 144 image tokens
    python benchmarks/ours.py --size llava-7b --device cuda       one GPU: bfloat16, LoRA of rank 16
    python benchmarks/ours.py --size llava-7b --device cuda --recompute       the same with gradient checkpointing
    python benchmarks/ours.py --size llava-7b --layers 2 4 6 8    where the whole model does not fit: a line over layers

Weights are random: what a step costs does not depend on what has been learnt. Each row is a process of its own, which
takes a step of plain fine-tuning first and then goes through the package's own ``unlearn``. All rows see as many
answers in a step, half of them to be forgotten; with siblings three in five of the others are about made-up patients.

With ``--layers`` the model has its own widths, tower and vocabulary and so many decoder layers, one number after
another. All layers are alike, so time and memory grow in a straight line with their number: the table has the line's
value at the model's own, and says how far the line of the smaller ones misses the largest. ``--points FILE`` keeps what
each process has measured: the same command goes on where it was cut off.

    s a step     mean over the steps
    beside       seconds beside the steps: pairing, θ0's outputs, what θ0 answers about made-up patients, and what is
                 measured after the last step
    oracle       seconds of the approximate oracle: its 40 steps at the fine-tuning row's rate, and its outputs
    peak MiB     of the process (of the device, where it is a GPU) from θ0 with its adapters to the last step
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.speed import clock, fitting, machine, options, records, tables
from benchmarks.speed.sizes import SIZES, make_trainable
from benchmarks.speed.ways import FineTune, Task, new_model
from mllmu_med.errors import MedError
from mllmu_med.memory import forget_peak, peak_memory_mb
from mllmu_med.methods.interface import Needs
from mllmu_med.models.groups import has_adapter
from mllmu_med.recipe import load_recipe, make_method
from mllmu_med.training.feeding import UnlearnSettings, forget_questions
from mllmu_med.training.teacher import TeacherOutputs, model_outputs
from mllmu_med.training.unlearn import unlearn

FINE_TUNE = "fine-tuning"
METHODS = ("grad_diff", "npo", "kl_min", "correct", "excess", "npo+siblings", "excess+siblings")
TEACHER_STEPS = 40
LEAST_COUNTS = 4
"""A line needs three points, and its check one more."""
COLUMNS = {
    "method": "method", "step": "s a step", "ratio": "× fine-tuning", "before": "beside, s", "oracle": "oracle, s",
    "peak": "peak MiB", "peak_ratio": "× fine-tuning", "run": "200 steps in all, s",
}  # fmt: skip


OF_A_POINT = ("size", "device", "threads", "seed", "images", "siblings", "recompute", "steps", "layers", "method")
"""The options that a process measures by."""
UNITS = {"step": "s", "before": "s", "outputs": "s", "peak": "MiB"}
"""What a row is measured by, and its unit; everything else in the table follows from these."""


def settings_of(work: records.Workload, method: str, branches: int, siblings: int) -> UnlearnSettings:
    """Batches that hold as many answers whatever the method."""
    kept = len(work.retain)
    made_up = round(0.6 * kept) if method.endswith("+siblings") else 0
    return UnlearnSettings(
        forget_batch=len(work.forget), retain_batch=kept - made_up, sibling_batch=max(1, made_up), siblings=siblings,
        branches=branches, phrasings=0,
    )  # fmt: skip


def measured(asked: dict[str, Any]) -> dict[str, Any]:
    """One row, in this process; for a child."""
    options.set_threads(asked["threads"])
    task = Task(asked["size"], "grad_diff", asked["device"], asked["seed"], asked["recompute"], asked["layers"])
    size = task.numbers
    work = records.private(asked["images"] or size.images, seed=asked["seed"])
    vlm = new_model(task, work)
    tuned = FineTune(task, work, vlm)
    tuned.seconds(1)  # warms up kernels and allocator for every row alike
    forget_peak()
    if asked["method"] == FINE_TUNE:
        return {"step": tuned.seconds(asked["steps"]), "peak": peak_memory_mb(vlm.device), "answers": len(work.samples)}
    method = make_method(load_recipe("phantom", methods=[asked["method"]]).methods[0])
    settings = settings_of(work, asked["method"], size.branches, asked["siblings"])
    teacher: TeacherOutputs | None = None
    outputs = 0.0
    if Needs.TEACHER in method.needs:
        began = time.perf_counter()
        wordings = forget_questions(vlm, work.forget, settings, method.objective.rephrasings)
        teacher = model_outputs(vlm, [question for asked_so in wordings.values() for question in asked_so])
        machine.wait_for(asked["device"])
        outputs = time.perf_counter() - began
    if not has_adapter(vlm):  # those of the warm-up serve as well as others
        make_trainable(vlm, size, seed=asked["seed"])
    began = time.perf_counter()
    log = unlearn(
        vlm, method, work.forget, work.retain, task.loop(asked["steps"]), settings, seed=asked["seed"], teacher=teacher
    )
    machine.wait_for(asked["device"])
    return {
        "step": log.seconds / asked["steps"], "before": time.perf_counter() - began - log.seconds,
        "outputs": outputs if teacher is not None else None, "peak": peak_memory_mb(vlm.device),
    }  # fmt: skip


def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Every row in processes of its own, the fine-tuning first: the others are held against it."""
    tuned, rows = None, []
    for method in (FINE_TUNE, *asked["methods"]):
        row: dict[str, Any] = {"method": method, **row_of({**asked, "method": method})}
        tuned = tuned or row
        before, outputs = row.get("before"), row.pop("outputs", None)
        oracle = None if outputs is None else TEACHER_STEPS * tuned["step"] + outputs
        row |= {
            "oracle": oracle, "ratio": row["step"] / tuned["step"], "peak_ratio": row["peak"] / tuned["peak"],
            "run": None if before is None else 200 * row["step"] + before + (oracle or 0.0),
        }  # fmt: skip
        rows.append(row)
        print(f"{method}: {row['step']:.3f} s a step, {row['peak']:,.0f} MiB", file=sys.stderr, flush=True)
    assert tuned is not None
    return {
        "script": "ours", "machine": machine.describe(asked["device"]), "arguments": asked, "rows": rows,
        "answers": tuned["answers"], "goals": [],
    }  # fmt: skip


def row_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What is measured of one method: with the whole model, or on the line through those with fewer layers."""
    if not asked["layers"]:
        return point({**asked, "layers": None})
    counts = sorted(set(asked["layers"]))
    if len(counts) < LEAST_COUNTS:
        raise MedError(f"--layers {' '.join(map(str, counts))}: a line and a check of it take {LEAST_COUNTS} numbers")
    points = []
    for count in counts:
        points.append(point({**asked, "layers": count}))
        print(f"{asked['method']}, {count} layers: {points[-1]['step']:.3f} s a step", file=sys.stderr, flush=True)
    return {**points[-1], **on_a_line(counts, points, SIZES[asked["size"]].text[2]), "points": points}


def point(asked: dict[str, Any]) -> dict[str, Any]:
    """What one process measures; taken from ``asked["points"]``, where that file has it, and noted there if not."""
    task = {name: asked[name] for name in OF_A_POINT}
    kept = None if asked["points"] is None else Path(asked["points"])
    if kept is not None and kept.is_file():
        for line in kept.read_text(encoding="utf-8").splitlines():
            known: dict[str, Any] = json.loads(line)
            if known["task"] == task:
                return dict(known["found"])
    found = clock.in_a_process(Path(__file__), task)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"task": task, "found": found}) + "\n")
    return found


def on_a_line(counts: Sequence[int], points: Sequence[Mapping[str, Any]], layers: int) -> dict[str, Any]:
    """Each measure of ``points`` at so many ``layers``, and under ``miss`` and ``fit`` how far to believe it.

    ``miss`` is, for each measure, what the line through all points but the last says of the last, relative to it;
    ``fit`` is R². A process's peak scatters by what its allocator keeps, so that a low one is told and not refused.

    Raises:
        MedError: the step or the peak grows faster than the layers, so that the line's value would be too low.
    """
    found: dict[str, Any] = {"miss": {}, "fit": {}}
    for name in UNITS:
        values = [point.get(name) for point in points]
        if any(value is None for value in values):
            continue
        through = fitting.line(counts, values)
        if name in ("step", "peak") and through.exponent > fitting.EXPONENT:
            raise MedError(f"{name} over {list(counts)} layers: {through.words(UNITS[name], 'layers')}")
        found[name] = through.at(layers)
        found["fit"][name] = through.fit
        found["miss"][name] = fitting.line(counts[:-1], values[:-1]).at(counts[-1]) / values[-1] - 1
    return found


def report(result: dict[str, Any]) -> str:
    """The table as Markdown."""
    asked = result["arguments"]
    head = (
        f"Model `{asked['size']}`; a step holds {result['answers']} answers; {asked['siblings']} made-up patients; "
        f"mean of {asked['steps']} steps{', with gradient checkpointing' if asked['recompute'] else ''}. "
        f"The approximate oracle takes {TEACHER_STEPS} steps."
    )
    rows = [{**row, "peak": int(row["peak"])} for row in result["rows"]]
    parts = [head, "", tables.markdown(rows, COLUMNS), machine.in_words(result["machine"])]
    if asked["layers"]:
        parts[1:1] = ["", *_said_of_lines(asked, rows)]
    return "\n".join(parts) + "\n"


def _said_of_lines(asked: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """That the figures are extrapolated, from what, and how well the lines hold."""
    counts = sorted(set(asked["layers"]))
    step, peak = (max(abs(row["miss"][name]) for row in rows) for name in ("step", "peak"))
    worst = min(row["fit"][name] for row in rows for name in ("step", "peak"))
    return [
        f"**Extrapolated**: measured with {', '.join(map(str, counts))} decoder layers; each figure is the value at "
        f"{SIZES[asked['size']].text[2]} of the straight line through them. The line through all but {counts[-1]} "
        f"layers misses that one by at most {step:.1%} of a step's seconds and {peak:.1%} of the peak; the lowest "
        f"R² of a line is {worst:.3f}."
    ]


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    options.add_size(parser)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help=f"default: {' '.join(METHODS)}")
    parser.add_argument("--images", type=int, help="images on either side of a step; default: by size")
    parser.add_argument("--siblings", type=int, default=200, help="made-up patients (the package's default)")
    layers = f"measure with so many decoder layers, {LEAST_COUNTS} numbers or more, and extrapolate"
    parser.add_argument("--layers", type=int, nargs="+", metavar="N", help=layers)
    parser.add_argument("--points", help="file of what each process has measured: what is cut off goes on behind it")
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    parser.add_argument("--steps", type=int, default=5, help="of each row")
    options.run(parser, "ours", carry_out, report, child=measured)


if __name__ == "__main__":
    main()

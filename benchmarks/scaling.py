"""How time and memory grow: with images, questions per image, evaluated samples, records, patients and methods.

    python benchmarks/scaling.py                     everything at small sizes, a few minutes on two cores
    python benchmarks/scaling.py --parts step evaluation
    python benchmarks/scaling.py --parts build --records 10000 100000 1000000     a million, in constant memory

Each series is fitted with a line (or said not to have one), and stands beside the formula that explains it. The
formulas then predict runs that nobody has taken here, 7 B and 70 B on 8 GPUs with a million records, from FLOPs and
bytes; benchmarks/speed/predicting.py names every assumption. Predictions are extrapolations and no measurements.

    step         seconds and peak memory of a step (fast path) against images, and against questions per image
    evaluation   seconds of greedy answers and likelihoods against samples
    build        seconds and peak memory of building a benchmark against records, and against patients
    methods      seconds of a whole small run against the number of its methods; the share of its stages
    predict      the table of predictions
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.build import SyntheticSource
from benchmarks.evaluate import Ours, asked_questions
from benchmarks.speed import clock, fitting, machine, options, predicting, records, tables
from benchmarks.speed.ways import Fast, Task, another, new_model
from mllmu_med.memory import forget_peak, peak_memory_mb, process_peak_mb

PARTS = ("step", "evaluation", "build", "methods", "predict")
FORMULAS = {
    "step/images": "rows · (prefix + questions · branch) positions, each 2 (forward) + 4 (backward) FLOPs a weight",
    "step/questions": "prefix + questions · branch: the image is paid once, so 0 questions would not cost 0",
    "evaluation/samples": "a prefix an image, a branch a question, then one position for each new token",
    "build/records": "reading, hashing and writing, a record at a time; images once",
    "build/patients": "values drawn and texts written for each patient, beside the fixed cost of the records",
    "methods/run": "base, θ0 and θ* once; unlearning, answers and metrics for each method",
    "methods/report": "a column, a picture and the answers of each method on the page",
}
SMALL_RUN = (
    "source.images=40", "benchmark.patients_forgotten=2", "benchmark.patients_retained=2",
    "benchmark.patients_holdout=2", "benchmark.wrong_image_facts=4", "benchmark.wrong_rules=0",
    "benchmark.wrong_text_facts=2", "source.text_facts=10", "model.embedded.tower_images=100",
    "model.embedded.tower_steps=10", "learn.base.steps=20", "learn.original.steps=40", "learn.original.replay=50",
    "learn.oracle.steps=30", "learn.oracle.replay=50", "unlearn.steps=20", "evaluate.bootstrap=100",
    "evaluate.ordinary_samples=30", "evaluate.probes=[paraphrase]",
)  # fmt: skip
PATIENTS_OF = 4_000
"""Records of the benchmarks that have ever more patients."""
METHODS = ("grad_diff", "npo", "kl_min", "idk")


def step_series(asked: dict[str, Any], cause: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """A step against images or questions per image, one process each."""
    return [
        {"x": number, **clock.in_a_process(Path(__file__), {**asked, "part": "step", "cause": cause, "x": number})}
        for number in numbers
    ]


def one_step(asked: dict[str, Any]) -> dict[str, float]:
    """Seconds and peak of a step in this process; for a child."""
    images, questions = (asked["x"], records.PER_IMAGE) if asked["cause"] == "images" else (2, asked["x"])
    work = records.drawn(images, questions, seed=asked["seed"])
    task = Task(asked["size"], "npo_kl", asked["device"], asked["seed"])
    vlm = new_model(task, work)
    fast = Fast(task, work, vlm)
    fast.seconds(1)
    forget_peak()
    return {"seconds": median(fast.seconds(2) for _ in range(asked["repeats"])), "peak_mib": peak_memory_mb(vlm.device)}


def evaluation_series(asked: dict[str, Any], numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Answers and likelihoods against samples, interleaved in this process."""
    work = records.drawn(-(-max(numbers) // (2 * records.PER_IMAGE)), seed=asked["seed"])
    vlm = new_model(Task(asked["size"], "npo", asked["device"], asked["seed"]), work)
    ways = {}
    for number in numbers:
        ours, questions = Ours(another(vlm, own_product=True), 64, 8), asked_questions(work, number, 1)

        def seconds(ours: Ours = ours, questions: Any = questions) -> float:
            began = time.perf_counter()
            ours.texts(questions)
            ours.logprobs(questions)
            machine.wait_for(asked["device"])
            return time.perf_counter() - began

        ways[str(number)] = seconds
    found = clock.interleaved(ways, repeats=asked["repeats"])
    return [{"x": int(name), "seconds": times.median} for name, times in found.items()]


def one_build(asked: dict[str, Any]) -> dict[str, float]:
    """Seconds and peak of building a benchmark in this process; for a child."""
    from mllmu_med.benchmark.builder import build_benchmark
    from mllmu_med.benchmark.plan import BenchmarkPlan

    number, patients, facts = asked["x"], 4, 8
    if asked["cause"] == "patients":
        number, patients, facts = PATIENTS_OF, asked["x"], 24
    plan = BenchmarkPlan(
        patients_forgotten=patients, patients_retained=patients, patients_holdout=patients, wrong_image_facts=facts
    )
    with tempfile.TemporaryDirectory() as folder:
        forget_peak()
        began = time.perf_counter()
        build_benchmark(SyntheticSource(number), plan, Path(folder) / "benchmark", seed=asked["seed"], jobs=1)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mib": process_peak_mb()}


def build_series(asked: dict[str, Any], cause: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """A benchmark against records or patients, one process each."""
    return [
        {"x": number, **clock.in_a_process(Path(__file__), {**asked, "part": "build", "cause": cause, "x": number})}
        for number in numbers
    ]


def stage_seconds(run: Path) -> dict[str, float]:
    """Stage → seconds of its making, of a finished run."""
    from mllmu_med.folders import read_json

    found = [read_json(path) for path in sorted(run.rglob("manifest.json"))]
    return {str(facts["stage"]): float(facts["seconds"]) for facts in found if {"stage", "seconds"} <= facts.keys()}


def stage_shares(seconds: dict[str, float]) -> dict[str, float]:
    """First word of a stage's name → its share of the run's seconds."""
    shares: dict[str, float] = {}
    for name, value in seconds.items():
        kind = name.split()[0]
        shares[kind] = shares.get(kind, 0.0) + value / sum(seconds.values())
    return shares


def method_series(asked: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, float]]:
    """A small run with ever more methods in one folder: what is shared is made once.

    Returns:
        seconds of all stages of a run with so many methods; seconds of its report; the share of each verb in the whole.
    """
    from mllmu_med import api

    runs, reports, shares = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLLMU_MED_CACHE"] = str(Path(folder) / "cache")
        for count in (1, 2, len(METHODS)):
            recipe = api.load_recipe("phantom", *SMALL_RUN, methods=list(METHODS[:count]), seed=asked["seed"])
            made = api.run(recipe, Path(folder) / "run", jobs=1)
            seconds = stage_seconds(Path(folder) / "run")
            assert made.results is not None
            runs.append({"x": count, "seconds": sum(seconds.values())})
            reports.append({"x": count, "seconds": seconds.get("report", 0.0)})
            shares = stage_shares(seconds)
    return runs, reports, shares


def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Measure the parts that are asked for, and fit them."""
    told = machine.describe(asked["device"])
    series: dict[str, list[dict[str, Any]]] = {}
    shares: dict[str, float] = {}
    for part in asked["parts"]:
        print(part, file=sys.stderr, flush=True)
        if part == "step":
            series["step/images"] = step_series(asked, "images", asked["images"])
            series["step/questions"] = step_series(asked, "questions", asked["questions"])
        elif part == "evaluation":
            series["evaluation/samples"] = evaluation_series(asked, asked["samples"])
        elif part == "build":
            series["build/records"] = build_series(asked, "records", asked["records"])
            series["build/patients"] = build_series(asked, "patients", asked["patients"])
        elif part == "methods":
            series["methods/run"], series["methods/report"], shares = method_series(asked)
    if asked["run"]:
        shares = stage_shares(stage_seconds(Path(asked["run"])))
    rows = []
    for name, points in series.items():
        for key, unit in (("seconds", "s"), ("peak_mib", "MiB")):
            if any(key not in point or point[key] <= 0 for point in points) or len(points) < 3:
                continue
            fit = fitting.line([point["x"] for point in points], [point[key] for point in points])
            cause = name.partition("/")[2].removesuffix("run").removesuffix("report") or "methods"
            rows.append({
                "series": name, "unit": unit, "measured": f"{points[0]['x']:,} to {points[-1]['x']:,}",
                "line": fit.words(unit, cause), "linear": fit.linear, "formula": FORMULAS[name],
                "least": points[0][key], "most": points[-1][key], **fit._asdict(),
            })  # fmt: skip
    given = predicting.Assumptions()
    predictions = [predicting.predict(name, given) for name in predicting.MODELS] if "predict" in asked["parts"] else []
    return {
        "script": "scaling", "machine": told, "arguments": asked, "series": series, "rows": rows, "shares": shares,
        "predictions": predictions, "goals": goals(rows, series),
    }  # fmt: skip


def goals(rows: list[dict[str, Any]], series: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What SPEED.md asks of growth."""
    lines = []
    for name, what in (("step/images", "step linear in images"), ("step/questions", "step linear in questions"),
                       ("evaluation/samples", "evaluation linear in samples")):  # fmt: skip
        row = next((row for row in rows if (row["series"], row["unit"]) == (name, "s")), None)
        if row is not None:
            lines.append(tables.goal(what, f"R² ≥ {fitting.FIT}", row["fit"], row["linear"]))
    points = series.get("build/records", [])
    if points:
        growth, times = points[-1]["peak_mib"] / points[0]["peak_mib"], points[-1]["x"] / points[0]["x"]
        what = f"memory of building {times:g} times as many records ({points[-1]['x']:,})"
        lines.append(tables.goal(what, "≤ 1.5×", growth, growth <= 1.5))
    return lines


def report(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = []
    if result["rows"]:
        columns = {"series": "series", "measured": "from … to", "line": "line", "formula": "because"}
        lines.append(tables.markdown(result["rows"], columns))
    if result["shares"]:
        rows = [{"verb": verb, "share": f"{share:.1%}"} for verb, share in sorted(result["shares"].items())]
        lines.append(f"Stages of {result['arguments']['run'] or f'the small run with {len(METHODS)} methods'}:\n")
        lines.append(tables.markdown(rows, {"verb": "stages", "share": "of the time"}))
    if result["predictions"]:
        lines.append(prediction_text(result["predictions"]))
    if result["goals"]:
        lines.append(tables.markdown(result["goals"], tables.GOAL_COLUMNS))
    return "\n".join([*lines, machine.in_words(result["machine"])]) + "\n"


def prediction_text(predictions: Sequence[dict[str, Any]]) -> str:
    """The table of predictions with its assumptions."""
    given = predictions[0]["assumptions"]
    columns = {
        "model": "model", "ours_hours": "hours, packed", "peers_hours": "hours, peers' way", "ratio": "×",
        "evaluation_hours": "hours of evaluation", "weights_gib": "weights GiB", "weights_gib_per_gpu": "GiB a GPU",
        "features_gib": "image features GiB", "logprobs_mib": "reference log-probs MiB",
        "states_gib": "reference states GiB",
    }  # fmt: skip
    told = (
        f"Predicted, not measured: {given['gpus']} H100 at {given['peak'] / 1e12:,.0f} TFLOP/s (data sheet, bfloat16), "
        f"{given['utilisation']:.0%} of it reached (the goal), perfectly shared out; {given['records']:,} records, "
        f"{given['questions']} an image, {given['question']} + {given['answer']} tokens each, {given['epochs']} epoch "
        f"with LoRA, {given['batch']} answers side by side at {given['bandwidth'] / 1e12:.2f} TB/s."
    )
    return f"{told}\n\n{tables.markdown(predictions, columns)}"


def measure_one(asked: dict[str, Any]) -> Any:
    """One point of a series, in a process of its own."""
    return one_step(asked) if asked["part"] == "step" else one_build(asked)


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"of {', '.join(PARTS)}; default: all")  # fmt: skip
    options.add_size(parser)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 4, 8], help="on either side of a step")
    parser.add_argument("--questions", type=int, nargs="+", default=[2, 4, 8, 16], help="per image, 2 images a side")
    parser.add_argument("--samples", type=int, nargs="+", default=[44, 88, 176, 352], help="evaluated")
    parser.add_argument("--records", type=int, nargs="+", default=[4_000, 8_000, 16_000], help="built")
    parser.add_argument("--patients", type=int, nargs="+", default=[20, 40, 80], help="of each role, in 4,000 records")
    parser.add_argument("--run", help="folder of a finished run whose stages are shared out instead of the small run's")
    options.run(parser, "scaling", carry_out, report, child=measure_one, by_size=False)


if __name__ == "__main__":
    main()

"""One unlearning step: our fast path, our plain path, and the peers' step re-created as a loop.

    python benchmarks/step.py                              the embedded model's size, all objectives, two minutes
    python benchmarks/step.py --size small --methods npo   60 million parameters, 144 image tokens
    python benchmarks/step.py --size llava-7b --device cuda          one GPU: bfloat16, LoRA of rank 16
    python benchmarks/step.py --records slake              SLAKE's own records (MLLMU_MED_DATA)
    python benchmarks/step.py --peer open-unlearning=PATH  and the peer's own code from a checkout

A step holds every question about some images to be forgotten and about as many to be kept. The same records, weights
and precision go

    fast         through mllmu_med.training.unlearn.unlearn: one packed row an image, features of the frozen tower and
                 outputs of θ0 computed once;
    plain        one question a row, images and θ0 (a second model) in every step;
    peers        as public code does it: batches of 4, one question a sequence with its image, a second model, logits of
                 every position (benchmarks/speed/peers_step.py says what is theirs, and where it is kinder);
    peers+onednn the same with this package's matrix product on the CPU, so that what is left is the way alone;
    released     the same as peers, with pixels preprocessed in every batch and half precision cast to float32, as
                 MLLMU-Bench does.

First the losses of a few steps are compared; if they differ by more than 1e-4 (float32, relative) nothing is timed.
Then all ways take turns (on a GPU one after the other, for their models would not fit side by side). Records a second
is the unit that matters: a step of the peers' batch holds 4 records. Memory is the peak of a process of its own that
takes two steps, less what it held before the way was made.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.speed import clock, machine, options, records, tables
from benchmarks.speed.objectives import OBJECTIVES
from benchmarks.speed.peers_step import PeersLoop, labels_loss_difference
from benchmarks.speed.sizes import SIZES, make_trainable
from benchmarks.speed.ways import (
    Fast,
    FineTune,
    Plain,
    Task,
    Way,
    another,
    needed,
    new_model,
    packed_tokens,
    sequence_tokens,
    settings_of,
)
from benchmarks.speed.work import step_flops
from mllmu_med.errors import MedError
from mllmu_med.memory import forget_peak, peak_memory_mb
from mllmu_med.models.vlm import VisionLanguageModel

WAYS = ("fast", "plain", "peers", "peers+onednn", "released")
MEMORY = ("npo", "kl_min")
"""Objectives whose memory is measured: log-probabilities of θ0 on one side, its distributions on the other."""
CHECKED = 3
"""Steps whose losses must be equal."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
COLUMNS = {
    "method": "objective", "way": "way", "median": "s a step", "least": "least", "most": "most",
    "per_record_ms": "ms a record", "records_s": "records/s", "tokens_s": "tokens/s", "peak_mib": "peak MiB",
    "ratio": "× faster than peers", "utilisation": "of the peak FLOP/s",
}  # fmt: skip


def make(way: str, task: Task, work: records.Workload, vlm: VisionLanguageModel) -> Way:
    """A way of taking steps; each gets a model of its own, for it changes the weights."""
    if way == "fast":
        return Fast(task, work, vlm)
    if way == "plain":
        return Plain(task, work, vlm)
    if way == "finetune":
        return FineTune(task, work, vlm)
    return PeersLoop(task, work, vlm, own_product=way == "peers+onednn", released=way == "released")


def compared(task: Task, work: records.Workload, ways: list[str], repeats: int) -> tuple[list[dict[str, Any]], float]:
    """Check one objective and time it; its rows and the largest relative difference of the losses."""
    theta0 = new_model(task, work)
    if not theta0.packed:
        raise MedError("packed rows are not exact for this model here: there is no fast path to time")
    allowed, steps, losses, found, facts = TOLERANCE[task.numbers.dtype], task.numbers.steps, {}, {}, {}
    together = not task.device.startswith("cuda")
    groups = [ways] if together else [[way] for way in ways]
    differences = []
    for timed in (False,) if together else (False, True):
        for group in groups:
            made = {way: make(way, task, work, another(theta0, own_product=True)) for way in group}
            for name, way in made.items():
                losses[name] = way.losses(CHECKED)
                differences.append(clock.near(losses[ways[0]], losses[name], allowed))
                if isinstance(way, PeersLoop):
                    differences.append(labels_loss_difference(way, way.feeder(0).retain[:4]))
            if together or timed:  # the steps that were compared have warmed all up
                runs = {name: (lambda way=way: way.seconds(steps)) for name, way in made.items()}
                found |= clock.interleaved(runs, repeats=repeats, warmups=0)
                facts |= {name: way.filling for name, way in made.items() if isinstance(way, Fast)}
            del made
    questions, most = work.questions(), settings_of(work, task.numbers).branches
    tokens = sequence_tokens(theta0, questions)
    rows = []
    for name, times in found.items():
        row: dict[str, Any] = {
            "method": task.method, "way": name, "median": times.median, "least": times.least, "most": times.most,
            "per_record_ms": 1000 * times.median / len(questions), "records_s": len(questions) / times.median,
            "tokens_s": tokens / times.median, "losses": losses[name],
        }  # fmt: skip
        if "peers" in found:
            row["ratio"] = found["peers"].median / times.median
        if name == "fast":
            flops = step_flops(trained(task, theta0), needed(task, work, theta0), most)
            row |= {"filling": facts[name], "flops": flops,
                    "tokens": tokens, "packed_tokens": packed_tokens(theta0, questions, most)}  # fmt: skip
        rows.append(row)
    return rows, max(differences)


def trained(task: Task, vlm: VisionLanguageModel) -> VisionLanguageModel:
    """The model with what trains marked (in place), for counting its operations."""
    if not hasattr(vlm.model, "get_base_model"):
        make_trainable(vlm, task.numbers, seed=task.seed)
    return vlm


def measure_memory(asked: dict[str, Any]) -> dict[str, float]:
    """Peak of two steps in this process above what it held before them, and with the model in MiB; for a child."""
    task = Task(asked["size"], asked["method"], asked["device"], asked["seed"])
    work = workload(asked)
    vlm = new_model(task, work)
    before_making = held_mib(task.device)
    way = make(asked["way"], task, work, vlm)
    forget_peak()
    before = held_mib(task.device)
    way.seconds(2)
    peak = peak_memory_mb(vlm.device)
    return {"growth": peak - before_making, "steps": peak - before, "peak": peak}


def held_mib(device: str) -> float:
    """MiB that the device, or this process, holds now."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device) / 2**20
    forget_peak()
    return peak_memory_mb(torch.device("cpu"))


def workload(asked: dict[str, Any]) -> records.Workload:
    """The records that the options ask for."""
    images = asked["images"] or SIZES[asked["size"]].images
    if asked["records"] == "slake":
        return records.slake(images, seed=asked["seed"])
    return records.drawn(images, asked["questions"], seed=asked["seed"])


def goals(
    rows: list[dict[str, Any]], memory: dict[str, dict[str, float]], asked: dict[str, Any]
) -> list[dict[str, Any]]:
    """What SPEED.md asks of a step, and what was found."""
    found = {(row["method"], row["way"]): row for row in rows}
    device = "one GPU" if asked["device"].startswith("cuda") else "CPU"
    wanted = 8 if asked["device"].startswith("cuda") else 6
    lines = []
    for method in ("npo_kl", "npo"):
        row = found.get((method, "fast"), {})
        ratio = row.get("ratio")
        if ratio is not None:
            lines.append(tables.goal(f"{method} step over the peers', {device}, {asked['size']}", f"≥ {wanted}×", ratio,
                                     ratio >= wanted))  # fmt: skip
    if ("npo", "fast") in found and ("grad_diff", "fast") in found:
        ratio = found["npo", "fast"]["median"] / found["grad_diff", "fast"]["median"]
        lines.append(tables.goal(f"NPO step over GradDiff step, {asked['size']}", "≤ 1.05", ratio, ratio <= 1.05))
    base = memory.get("finetune/grad_diff", {}).get("peak")
    for method in ("npo", "kl_min"):
        peak = memory.get(f"fast/{method}", {}).get("peak")
        if base and peak:
            what = f"memory of {method} over plain fine-tuning, {asked['size']}"
            lines.append(tables.goal(what, "≤ 1.05", peak / base, peak / base <= 1.05))
    used = [row["utilisation"] for row in rows if row.get("utilisation") is not None]
    if used and asked["device"].startswith("cuda"):
        lines.append(tables.goal(f"share of the measured peak, {asked['size']}", "≥ 50 %", max(used), max(used) >= 0.5))
    return lines


def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Everything that the options ask for."""
    told = machine.describe(asked["device"])
    size, work = SIZES[asked["size"]], workload(asked)
    peak = machine.product_peak(asked["device"], size.dtype)
    rows: list[dict[str, Any]] = []
    differences = {}
    ways = [way for way in asked["ways"] if way != "peers+onednn" or told["onednn_product"]]
    for method in asked["methods"]:
        task = Task(asked["size"], method, asked["device"], asked["seed"])
        new, differences[method] = compared(task, work, ways, asked["repeats"])
        rows += new
        print(f"{method}: losses equal to {differences[method]:.1e}; " + "; ".join(
            f"{row['way']} {row['median']:.3f} s" for row in new), file=sys.stderr, flush=True)  # fmt: skip
    for row in rows:
        row["utilisation"] = row["flops"] / row["median"] / peak if "flops" in row else None
    memory: dict[str, dict[str, float]] = {}
    if asked["memory"]:
        weighed = [method for method in asked["methods"] if method in MEMORY] or asked["methods"][:1]
        pairs = [(way, method) for method in weighed for way in ways if way in ("fast", "peers")]
        if not {"npo", "kl_min"}.isdisjoint(asked["methods"]):
            pairs.append(("finetune", "grad_diff"))
        for way, method in pairs:
            memory[f"{way}/{method}"] = clock.in_a_process(Path(__file__), {**asked, "way": way, "method": method})
        for row in rows:
            row["peak_mib"] = memory.get(f"{row['way']}/{row['method']}", {}).get("growth")
    return {
        "script": "step", "machine": told, "arguments": asked, "records": len(work.samples), "source": work.source,
        "product_peak": peak, "differences": differences, "rows": rows, "memory": memory,
        "goals": goals(rows, memory, asked),
    }  # fmt: skip


def report(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    asked, fast = result["arguments"], next((row for row in result["rows"] if "packed_tokens" in row), None)
    shown = [{**row, "utilisation": None if row["utilisation"] is None else f"{row['utilisation']:.0%}"}
             for row in result["rows"]]  # fmt: skip
    columns = {key: title for key, title in COLUMNS.items() if any(row.get(key) is not None for row in shown)}
    packing = ""
    if fast is not None:
        packing = (f" Its {fast['tokens']:,} tokens as single sequences are {fast['packed_tokens']:,} in packed rows "
                   f"({fast['tokens'] / fast['packed_tokens']:.1f}× fewer).")  # fmt: skip
    equal, peak = max(result["differences"].values()), result["product_peak"] / 1e9
    lines = [
        f"Model `{asked['size']}`; a step holds {result['records']} records ({result['source']}).{packing} Losses of "
        f"the first {CHECKED} steps equal to {equal:.1e} over all ways; {asked['repeats']} interleaved repeats. Peak "
        f"of the matrix product, measured: {peak:,.0f} GFLOP/s.",
        "",
        tables.markdown(shown, columns),
    ]
    if result["goals"]:
        lines += [tables.markdown(result["goals"], tables.GOAL_COLUMNS)]
    return "\n".join([*lines, machine.in_words(result["machine"])]) + "\n"


def with_peers(asked: dict[str, Any]) -> dict[str, Any]:
    """As :func:`carry_out`, and beside it the peers' own code where a checkout was named."""
    result = carry_out({name: value for name, value in asked.items() if name != "peer"})
    if asked["peer"]:
        from benchmarks import peers

        result["peers"] = peers.carry_out({**asked, "python": sys.executable})
    return result


def reported(result: dict[str, Any]) -> str:
    """As :func:`report`, with the peers' table where there is one."""
    if "peers" not in result:
        return report(result)
    from benchmarks import peers

    return f"{report(result)}\n{peers.report(result['peers'])}"


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    options.add_size(parser)
    parser.add_argument("--methods", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES), metavar="OBJECTIVE",
                        help=f"of {', '.join(OBJECTIVES)}; default: all")  # fmt: skip
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY",
                        help=f"of {', '.join(WAYS)}; default: all")  # fmt: skip
    parser.add_argument("--records", choices=("drawn", "slake"), default="drawn", help="default: drawn by seed")
    parser.add_argument("--images", type=int, help="images on either side of a step; default: by size")
    parser.add_argument("--questions", type=int, default=records.PER_IMAGE, help="per image, where they are drawn")
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="leave out the processes that measure it"
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH",
                        help="also time a peer's own code from a checkout; see benchmarks/peers.py")  # fmt: skip
    options.run(parser, "step", with_peers, reported, child=measure_memory)


if __name__ == "__main__":
    main()

"""Where the time of a step and of an evaluation goes now, by kind of operation.

    python benchmarks/where.py                    the embedded model's size
    python benchmarks/where.py --size small
    python benchmarks/where.py --size llava-7b --device cuda

The fast path alone, under PyTorch's profiler. Every operation counts with its own time, without that of what it calls;
what is left of the wall time is Python, the tokenizer, and waiting. The profiler itself slows small operations down.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch.profiler import ProfilerActivity, profile

from benchmarks.evaluate import Ours, asked_questions
from benchmarks.speed import machine, options, records, tables
from benchmarks.speed.objectives import OBJECTIVES
from benchmarks.speed.sizes import SIZES
from benchmarks.speed.ways import Fast, Task, another, new_model
from mllmu_med.errors import MedError

KINDS = {
    "linear layers": ("mkldnn::", "aten::mm", "aten::addmm", "aten::linear", "aten::matmul"),
    "attention": ("scaled_dot_product", "_flash_attention", "_efficient_attention", "aten::bmm", "aten::baddbmm",
                  "flex_attention"),
    "loss over the vocabulary": ("log_softmax", "nll_loss", "cross_entropy", "logsumexp", "kl_div", "aten::gather",
                                 "aten::argmax", "aten::_softmax"),
    "optimiser and clipping": ("adamw", "aten::_foreach", "linalg_vector_norm"),
    "moving and indexing": ("aten::copy_", "aten::cat", "aten::index", "aten::_index", "aten::clone", "aten::to",
                            "aten::fill_", "aten::zero", "aten::embedding", "aten::constant_pad", "aten::scatter",
                            "aten::empty", "aten::slice", "aten::select", "aten::view", "aten::transpose", "aten::t",
                            "aten::as_strided", "aten::expand", "aten::split", "aten::unsqueeze", "aten::reshape"),
}  # fmt: skip
"""Kind → parts of operators' names; the first kind that matches counts. The rest is element by element."""
REST = "norms, activations, rotary embeddings, element by element"


def kind_of(name: str) -> str:
    """The kind of an operator."""
    for kind, parts in KINDS.items():
        if any(part in name.lower() for part in parts):
            return kind
    return REST


def shares(work: Callable[[], object], device: str) -> dict[str, float]:
    """Kind → share of the wall time, and the wall time itself in seconds as ``wall``."""
    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    machine.wait_for(device)
    with profile(activities=activities) as seen:
        began = time.perf_counter()
        work()
        machine.wait_for(device)
        wall = time.perf_counter() - began
    found = dict.fromkeys([*KINDS, REST], 0.0)
    for event in seen.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if event.key.startswith(("aten::", "mkldnn::", "void ", "ampere", "sm")) or cuda:
            found[kind_of(event.key)] += own / 1e6
    found["Python and waiting"] = max(0.0, wall - sum(found.values()))
    return {"wall": wall, **{kind: seconds / wall for kind, seconds in found.items()}}


def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Profile a step and the two halves of an evaluation."""
    told, size = machine.describe(asked["device"]), SIZES[asked["size"]]
    work = records.drawn(size.images, seed=asked["seed"])
    task = Task(asked["size"], asked["method"], asked["device"], asked["seed"])
    theta0 = new_model(task, work)
    if not theta0.packed:
        raise MedError("packed rows are not exact for this model here: there is no fast path")
    fast, ours = Fast(task, work, another(theta0, own_product=True)), Ours(theta0, 128, 8)
    questions = asked_questions(work, len(work.samples), 1)
    jobs: dict[str, Callable[[], object]] = {
        f"{asked['method']} step": lambda: fast.seconds(size.steps),
        "greedy answers": lambda: ours.texts(questions),
        "likelihoods": lambda: ours.logprobs(questions),
    }
    columns = {}
    for name, job in jobs.items():
        job()
        columns[name] = shares(job, asked["device"])
    kinds = [kind for kind in next(iter(columns.values())) if kind != "wall"]
    rows = [{"kind": kind, **{name: column[kind] for name, column in columns.items()}} for kind in kinds]
    return {"script": "where", "machine": told, "arguments": asked, "wall": {n: c["wall"] for n, c in columns.items()},
            "records": len(questions), "rows": rows, "goals": []}  # fmt: skip


def report(result: dict[str, Any]) -> str:
    """The table as Markdown."""
    names = list(result["wall"])
    shown = [{"kind": row["kind"], **{name: f"{row[name]:.0%}" for name in names}} for row in result["rows"]]
    head = f"Model `{result['arguments']['size']}`, {result['records']} records, shares of the wall time."
    table = tables.markdown(shown, {"kind": "time goes to", **{name: name for name in names}})
    return f"{head}\n\n{table}\n{machine.in_words(result['machine'])}\n"


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    options.add_size(parser)
    parser.add_argument("--method", choices=OBJECTIVES, default="npo_kl", help="objective of the step")
    options.run(parser, "where", carry_out, report)


if __name__ == "__main__":
    main()

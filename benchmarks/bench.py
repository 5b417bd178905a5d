"""All speed benchmarks that a CPU can carry out, in under ten minutes on two quiet cores: `make bench`.

    python benchmarks/bench.py -o runs/bench                      measure; one JSON, one Markdown table a script
    python benchmarks/bench.py -o runs/bench --fill docs          measure, and fill docs/performance.md and its pictures
    python benchmarks/bench.py --from runs/bench --fill docs      fill from an earlier measurement, measure nothing
    python benchmarks/bench.py -o runs/bench --only step where    some of them

``bench.json`` holds every result, ``bench.md`` all tables. Each script is a process of its own; one that fails is named
at the end, and the exit status says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.speed import pictures, tables

HERE = Path(__file__).resolve().parent
JOBS: dict[str, tuple[str, ...]] = {
    "step": ("step.py", "--size", "tiny"),
    "step-small": ("step.py", "--size", "small", "--methods", "npo_kl", "--ways", "fast", "peers", "--repeats", "1",
                   "--no-memory"),
    "evaluate": ("evaluate.py", "--size", "tiny", "--samples", "440", "--repeats", "3"),
    "evaluate-small": ("evaluate.py", "--size", "small", "--samples", "44", "--probes", "1", "--repeats", "1"),
    "products": ("products.py", "--size", "tiny"),
    "where": ("where.py", "--size", "tiny"),
    "where-small": ("where.py", "--size", "small"),
    "scaling": ("scaling.py",),
    "ours": ("ours.py", "--size", "tiny", "--steps", "20"),
}  # fmt: skip
"""Name of the result → script and options."""


def carry_out(names: list[str], folder: Path, threads: int) -> list[str]:
    """Run the jobs one after the other into the folder; returns those that failed."""
    failed = []
    for name in names:
        began = time.perf_counter()
        command = [
            sys.executable,
            str(HERE / JOBS[name][0]),
            *JOBS[name][1:],
            "-o",
            str(folder),
            "--threads",
            str(threads),
        ]
        (folder / f"{name}.json").unlink(missing_ok=True)  # of an earlier run: it must not stand for one that fails
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        said = "done" if done.returncode == 0 else f"failed: {(done.stdout.strip().splitlines() or ['no word'])[-1]}"
        print(f"{name}: {said} ({time.perf_counter() - began:.0f} s)", flush=True)
        if done.returncode:
            failed.append(name)
    return failed


def collected(folder: Path) -> dict[str, dict[str, Any]]:
    """Name → result, of every script that has written into the folder."""
    every = [*JOBS, "step-llava-7b", "step-qwen2_5_vl-7b", "evaluate-llava-7b", "evaluate-qwen2_5_vl-7b", "peers",
             "ours-small", "ours-llava-7b", "ours-qwen2_5_vl-7b"]  # fmt: skip
    return {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in every
        if (folder / f"{name}.json").is_file()
    }


def goals(results: Mapping[str, Mapping[str, Any]]) -> str:
    """All goals in one table."""
    return tables.markdown([line for result in results.values() for line in result["goals"]], tables.GOAL_COLUMNS)


def fill(docs: Path, folder: Path, results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Fill the page's blocks and draw its pictures; returns the names of the blocks."""
    blocks = {name: (folder / f"{name}.md").read_text(encoding="utf-8") for name in results}
    blocks["goals"] = goals(results)
    for name, svg in pictures.of(results).items():
        (docs / "assets" / f"{name}.svg").write_text(svg, encoding="utf-8")
    return tables.fill(docs / "performance.md", blocks)


def main() -> None:
    """Parse, measure, fill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/bench"), help="folder of the results")
    parser.add_argument("--only", nargs="+", choices=list(JOBS), metavar="NAME", help=f"of {', '.join(JOBS)}")
    parser.add_argument("--threads", type=int, default=0, help="of torch; default: as torch chooses")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER", help="measure nothing, read these results"
    )
    parser.add_argument("--fill", type=Path, metavar="DOCS", help="folder of performance.md and assets/")
    chosen = parser.parse_args()
    folder: Path = chosen.source or chosen.output
    failed = []
    if chosen.source is None:
        folder.mkdir(parents=True, exist_ok=True)
        failed = carry_out(chosen.only or list(JOBS), folder, chosen.threads)
    results = collected(folder)
    if not results:
        sys.exit(f"bench.py: {folder} holds no results")
    (folder / "bench.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    parts = [f"## {name}\n\n{(folder / f'{name}.md').read_text(encoding='utf-8')}" for name in results]
    (folder / "bench.md").write_text("\n".join(parts) + f"\n## goals\n\n{goals(results)}", encoding="utf-8")
    print(f"{folder / 'bench.json'} and {folder / 'bench.md'}\n\n{goals(results)}")
    if chosen.fill is not None:
        print(f"filled in {chosen.fill / 'performance.md'}: {', '.join(fill(chosen.fill, folder, results))}")
    if failed:
        sys.exit(f"bench.py: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""What the command lines of the speed benchmarks share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed import tables
from mllmu_med.errors import MedError


def parser(text: str) -> argparse.ArgumentParser:
    """A parser whose help is the script's own text, with the common options."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    made.add_argument("--threads", type=int, default=0, help="of torch on the CPU; default: as torch chooses")
    made.add_argument("--seed", type=int, default=0, help="of weights, records and draws")
    made.add_argument("--repeats", type=int, default=3, help="timings of each way, taken in turn")
    made.add_argument("--json", action="store_true", help="print the JSON instead of the tables")
    made.add_argument("-o", "--output", type=Path, help="folder for the JSON and the Markdown table")
    made.add_argument("--child", help=argparse.SUPPRESS)
    return made


def add_size(made: argparse.ArgumentParser) -> None:
    """``--size``."""
    from benchmarks.speed.sizes import SIZES

    names = ", ".join(name for name in SIZES if not name.startswith("mini"))
    made.add_argument("--size", choices=list(SIZES), default="tiny", metavar="SIZE", help=f"{names}; default: tiny")


def set_threads(count: int) -> None:
    """Threads of torch; 0 leaves them as they are. Messages of libraries are kept off the output."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if count:
        torch.set_num_threads(count)


def run(
    made: argparse.ArgumentParser,
    script: str,
    carry_out: Callable[[dict[str, Any]], dict[str, Any]],
    report: Callable[[dict[str, Any]], str],
    *,
    child: Callable[[dict[str, Any]], Any] | None = None,
    by_size: bool = True,
) -> None:
    """Parse, carry out, print and write.

    Args:
        script: its name, and that of the result; with the size behind it where that is not ``tiny``.
        child: what a process of the script's own is asked to do, options in and result out as JSON.
        by_size: results of several sizes stand side by side.
    """
    chosen = made.parse_args()
    set_threads(chosen.threads)
    if child is not None and chosen.child:
        print(json.dumps(child(json.loads(chosen.child))))
        return
    asked = {name: value for name, value in vars(chosen).items() if name not in ("child", "json", "output")}
    try:
        result = carry_out(asked)
        text = report(result)
    except MedError as error:
        sys.exit(f"{script}.py: {error}")
    size = asked.get("size", "tiny") if by_size else "tiny"
    finish(chosen, script if size == "tiny" else f"{script}-{size}", result, text)


def finish(chosen: argparse.Namespace, name: str, result: Mapping[str, Any], text: str) -> None:
    """Print, and write where that was asked for."""
    print(json.dumps(result, indent=2, ensure_ascii=False) if chosen.json else text)
    if chosen.output is not None:
        tables.write(chosen.output, name, result, text)
        print(f"written: {chosen.output / name}.json and .md", file=sys.stderr)

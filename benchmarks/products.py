"""Matrix products on the CPU: PyTorch's own (MKL) against oneDNN's, at the shapes of a model's linear layers.

    python benchmarks/products.py                  the embedded model's shapes
    python benchmarks/products.py --size small     those of 60 million parameters
    python benchmarks/products.py --rows 64 1024   other numbers of rows (tokens in a forward pass)

mllmu_med.models.fast_linear takes oneDNN's where it can be had. Both products are compared (float32, 1e-5 relative)
before they are timed, and take turns; GFLOP/s are 2·M·K·N over the median.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.speed import clock, machine, options, tables
from benchmarks.speed.sizes import SIZES
from mllmu_med.errors import MedError
from mllmu_med.models.fast_linear import onednn_pays, product
from mllmu_med.seeding import torch_rng

COLUMNS = {"layer": "layer", "shape": "rows × in → out", "mkl": "PyTorch GFLOP/s", "onednn": "oneDNN GFLOP/s",
           "ratio": "×"}  # fmt: skip


def shapes(size: str) -> dict[str, tuple[int, int]]:
    """Layer → (in, out) of the decoder and its head."""
    width, inner, _, heads, groups = SIZES[size].text
    return {
        "query": (width, width), "key, value": (width, width * groups // heads), "gate, up": (width, inner),
        "down": (inner, width), "head": (width, SIZES[size].vocabulary),
    }  # fmt: skip


@torch.no_grad()
def carry_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Every shape with every number of rows."""
    if not onednn_pays():
        raise MedError("this machine or this build of PyTorch has no oneDNN product that would be taken (AVX-512)")
    told, rows = machine.describe("cpu"), []
    for layer, (wide, out) in shapes(asked["size"]).items():
        for count in asked["rows"]:
            generator = torch_rng(asked["seed"], layer, count)
            left, right = torch.randn(count, wide, generator=generator), torch.randn(out, wide, generator=generator)
            worst = float((linear(left, right) - product(left, right)).abs().max()) / wide**0.5
            if not worst <= 1e-5:
                raise MedError(f"the products differ by {worst:.2g}: nothing is timed")
            work = 2.0 * count * wide * out
            times = max(1, int(2e9 / work))

            def timed(way: Callable[[Tensor, Tensor], Tensor], a: Tensor = left, b: Tensor = right,
                      times: int = times) -> Callable[[], float]:  # fmt: skip
                def seconds() -> float:
                    began = time.perf_counter()
                    for _ in range(times):
                        way(a, b)
                    return (time.perf_counter() - began) / times

                return seconds

            ways = {"mkl": timed(linear), "onednn": timed(product)}
            found = clock.interleaved(ways, repeats=asked["repeats"])
            speed = {name: work / spread.median / 1e9 for name, spread in found.items()}
            rows.append({"layer": layer, "shape": f"{count:,} × {wide:,} → {out:,}", **speed,
                         "ratio": speed["onednn"] / speed["mkl"]})  # fmt: skip
    return {"script": "products", "machine": told, "arguments": asked, "rows": rows, "goals": []}


def report(result: dict[str, Any]) -> str:
    """The table as Markdown."""
    head = f"Shapes of `{result['arguments']['size']}`, float32, {result['arguments']['repeats']} interleaved repeats."
    return f"{head}\n\n{tables.markdown(result['rows'], COLUMNS)}\n{machine.in_words(result['machine'])}\n"


def main() -> None:
    """Parse, carry out, write."""
    parser = options.parser(__doc__ or "")
    options.add_size(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 1024], help="tokens in a forward pass")
    options.run(parser, "products", carry_out, report)


if __name__ == "__main__":
    main()

"""How fast a benchmark is built, and in how much memory.

    python benchmarks/build.py                         10,000 and 200,000 synthetic records, each in a fresh process
    python benchmarks/build.py --records 1000000
    python benchmarks/build.py --jsonl FILE            the user's own records instead

Ten questions per image. Times include reading the source, decoding and hashing every image, all injections, and writing
the folder; images are stored as they are, never encoded again. The peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.folders import verify
from mllmu_med.memory import forget_peak, process_peak_mb
from mllmu_med.seeding import numpy_rng, rng
from mllmu_med.sources.record import About, ImageRef, Record, Source

MODALITIES = ("CT", "MRI", "X-ray", "ultrasound")
FINDINGS = ("nodule", "effusion", "fracture", "cyst", "abscess", "infarct", "oedema", "calcification")
ORGANS = ("lung", "brain", "liver", "kidney", "heart", "spleen")
SIDES = ("left", "right")
SIZES = ("small", "large")
NUMBERS = ("one", "two", "three", "four")


class SyntheticSource:
    """``records`` questions, ten about each image of 64 × 64 pixels; one image in ten is for testing."""

    name = "synthetic"
    about = About("Synthetic records for timing", "CC0-1.0")

    def __init__(self, records: int) -> None:
        self.number = records
        self.skipped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Their number says everything."""
        return str(self.number)

    def records(self) -> Iterator[Record]:
        """Questions of every kind, and free text that occurs once."""
        for image in range(self.number // 10):
            random = rng("synthetic", image)
            modality, finding, organ = random.choice(MODALITIES), random.choice(FINDINGS), random.choice(ORGANS)
            side, count = random.choice(SIDES), random.choice(NUMBERS)
            asked = random.choice(FINDINGS)
            rows = [
                ("Which modality is this?", modality, "modality"), ("Which organ is shown?", organ, "organ"),
                ("What is the main finding?", finding, "finding"), ("On which side is it?", side, "laterality"),
                (f"Is there a {asked} in the {organ}?", "yes" if asked == finding else "no", "presence"),
                ("How many are there?", count, "count"), ("How large is it?", random.choice(SIZES), "size"),
                (f"What does case {image} show?", f"a {finding} of the {side} {organ}, seen in {modality}", "report"),
                (f"Is the {organ} of case {image} normal?", "no", "presence"),
                ("Where is the finding?", f"{side} {organ}", "location"),
            ]  # fmt: skip
            ref = ImageRef(f"image-{image}", make=lambda number=image: picture(number))
            for place, (question, answer, kind) in enumerate(rows):
                yield Record(
                    id=f"{image}-{place}", image=ref, question=question, answer=answer, group=f"g{image}",
                    source=self.name, modality=modality, body_part=organ, content_type=kind,
                    answer_type="closed" if kind == "presence" else "open",
                    source_split="test" if image % 10 == 9 else "train",
                )  # fmt: skip


def picture(number: int) -> bytes:
    """A grey PNG of random blocks, different for every number."""
    from PIL import Image

    blocks = numpy_rng("synthetic", number).integers(0, 256, (16, 16), dtype="uint8").repeat(4, 0).repeat(4, 1)
    buffer = io.BytesIO()
    Image.fromarray(blocks).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def measure(source: Source, jobs: int) -> dict[str, Any]:
    """Build once in this process."""
    with tempfile.TemporaryDirectory() as folder:
        forget_peak()
        began = time.perf_counter()
        benchmark = build_benchmark(source, BenchmarkPlan(), Path(folder) / "benchmark", seed=0, jobs=jobs)
        seconds = time.perf_counter() - began
        verify(benchmark.path)
        samples = sum(sum(strata.values()) for strata in benchmark.manifest["counts"].values())
        return {
            "samples": samples, "images": benchmark.manifest["images"], "seconds": round(seconds, 2),
            "megabytes": round(sum(p.stat().st_size for p in benchmark.path.rglob("*") if p.is_file()) / 2**20, 1),
            "peak_mib": round(process_peak_mb(), 1),
        }  # fmt: skip


def main() -> None:
    """Each size in a process of its own, because a peak never goes down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--jsonl", type=Path, help="own records; see docs/reference/sources.md")
    parser.add_argument("--jobs", type=int, default=1, help="processes that decode image files")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        source: Source = SyntheticSource(options.records[0])
        if options.jsonl is not None:
            from mllmu_med.sources.jsonl import JsonlSource

            source = JsonlSource(options.jsonl)
        sys.stdout.write(json.dumps(measure(source, options.jobs)) + "\n")
        return
    rows = []
    for records in options.records[:1] if options.jsonl else options.records:
        own = ["--jsonl", str(options.jsonl)] if options.jsonl else []
        command = [sys.executable, __file__, "--child", "--records", str(records), "--jobs", str(options.jobs), *own]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        read = row["samples"] if own else records
        rows.append({"records": read, **row, "records_per_second": round(read / row["seconds"])})
        sys.stdout.write("  ".join(f"{name} {value:,}" for name, value in rows[-1].items()) + "\n")
        sys.stdout.flush()
    if len(rows) > 1:
        growth = rows[-1]["peak_mib"] - rows[0]["peak_mib"]
        sys.stdout.write(
            f"peak grows by {growth:.1f} MiB from {rows[0]['records']:,} to {rows[-1]['records']:,} records\n"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

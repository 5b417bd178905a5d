"""Where a run's numbers come from, as pairs of name and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.report.reading import Results
from mllmu_med.report.text import MISSING, finite, megabytes, percent, seconds, visible, whole

Pairs = list[tuple[str, str]]

_SOFTWARE = {
    "package": "mllmu-med", "python": "Python", "torch": "PyTorch", "transformers": "transformers",
    "peft": "peft", "accelerate": "accelerate", "image_backend": "image processing", "packing": "packed rows",
}  # fmt: skip
_MACHINE = {"platform": "platform", "device": "device", "threads": "threads"}
_DATA = {"source": "source", "source_fingerprint": "source fingerprint", "benchmark": "benchmark"}


def _section(results: Results, name: str) -> Mapping[str, Any]:
    value = results.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """One value for the page; long hashes are cut to what tells them apart."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if finite(value) is not None else MISSING
    text = visible(value)
    return f"{text[:16]}…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _named(values: Mapping[str, Any], names: Mapping[str, str]) -> Pairs:
    return [(label, _text(values[name])) for name, label in names.items() if name in values]


def _in_order(values: Mapping[str, Any], order: Sequence[str]) -> list[tuple[str, Any]]:
    """The items in a given order, whatever order a file kept them in; the others follow as they come."""
    known = [name for name in order if name in values]
    return [(name, values[name]) for name in [*known, *(name for name in values if name not in known)]]


def _total_seconds(results: Results) -> float | None:
    stages = _section(_section(results, "provenance"), "seconds")
    known = [number for number in map(finite, stages.values()) if number is not None]
    return sum(known) if known else None


def key_numbers(results: Results) -> list[tuple[str, str]]:
    """(value, name) of the handful of figures at the top of the page."""
    benchmark, provenance_ = _section(results, "benchmark"), _section(results, "provenance")
    patients, counts = _section(benchmark, "patients"), _section(benchmark, "counts")
    wrong = [finite(count) for count in _section(counts, Subset.FORGET_INCORRECTNESS.value).values()]
    numbers = [
        (whole(patients.get("forgotten")), "patients to forget"),
        (whole(patients.get("retained")), "patients to keep"),
        (whole(sum(count for count in wrong if count is not None)) if wrong else MISSING, "wrong answers to undo"),
        (whole(benchmark.get("images")), "images"),
        (seconds(_total_seconds(results)), "of computing, all stages"),
        (megabytes(provenance_.get("peak_memory_mb")), "peak memory"),
    ]
    return [(value, name) for value, name in numbers if value != MISSING]


def provenance(results: Results) -> list[tuple[str, Pairs]]:
    """Heading and pairs of every block: data, samples, software, machine, seconds by stage."""
    found, benchmark = _section(results, "provenance"), _section(results, "benchmark")
    data = [*_named(found, _DATA), ("seed", _text(results.get("seed")))]
    data += [(f"patients {name}", _text(count)) for name, count in _section(benchmark, "patients").items()]
    data.append(("most frequent answer", percent(benchmark.get("majority"))))
    samples = []
    for subset, strata in _in_order(_section(benchmark, "counts"), list(Subset)):
        cells = _in_order(strata, list(Stratum)) if isinstance(strata, Mapping) else [("", strata)]
        samples += [(f"{subset} {name.replace('_', ' ')}".strip(), whole(count)) for name, count in cells]
    order = ["benchmark", "tower", "base", *(str(row.get("name")) for row in results.get("rows") or ())]
    stages = [(name, seconds(value)) for name, value in _in_order(_section(found, "seconds"), order)]
    if len(stages) > 1:
        stages.append(("together", seconds(_total_seconds(results))))
    stages.append(("peak memory", megabytes(found.get("peak_memory_mb"))))
    known = {*_SOFTWARE, *_MACHINE, *_DATA, "seconds", "peak_memory_mb"}
    further = [(visible(name).replace("_", " "), _text(value)) for name, value in found.items() if name not in known]
    blocks = [
        ("Data", data),
        ("Samples", samples),
        ("Software", _named(found, _SOFTWARE)),
        ("Machine", [*_named(found, _MACHINE), *further]),
        ("Time and memory", stages),
    ]
    return [(heading, pairs) for heading, pairs in blocks if pairs]


def recipe_text(results: Results) -> str:
    """The recipe as YAML, keys sorted."""
    import yaml

    text: str = yaml.safe_dump(results.get("recipe") or {}, sort_keys=True, allow_unicode=True)
    return text

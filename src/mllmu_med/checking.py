"""Checking what lies on disk against what its manifests promise: one folder, or every one of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mllmu_med.errors import DataError, IntegrityError
from mllmu_med.folders import MANIFEST, read_manifest, verify

BENCHMARK_FORMAT = "mllmu-med/benchmark/"
_STAGES = ("benchmark", "results", "report")
_KINDS = ("models", "evaluations", "attacks", "states", "inside")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What ``check`` found in one folder.

    Attributes:
        kind: ``benchmark`` (contents checked too) or ``folder`` (hashes only).
        findings: one line each, with its severity; empty where nothing was found.
        ok: no finding is an error.
    """

    folder: Path
    kind: str
    findings: tuple[str, ...]
    ok: bool


def is_benchmark(folder: Path) -> bool:
    """Whether a folder is a finished benchmark."""
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    return str(manifest.get("format", "")).startswith(BENCHMARK_FORMAT)


def check_folders(folder: Path, *, every: bool) -> list[CheckResult]:
    """See :func:`mllmu_med.api.check`."""
    if not folder.is_dir():
        raise DataError("no such folder", file=folder, mend="Check the path.")
    folders = [folder] if (folder / MANIFEST).is_file() else sorted(_finished_below(folder))
    if not folders:
        raise DataError("no manifest.json here or below", file=folder, mend="Give a folder that mllmu-med has written.")
    results: list[CheckResult] = []
    broken = [f"{path}: no manifest.json, so nothing says what it should be." for path in _without_manifest(folder)]
    for each in folders:
        try:
            results.append(_check_one(each, every))
        except IntegrityError as error:
            broken.append(str(error))
    if broken:
        raise IntegrityError(" ".join(broken))
    return results


def _without_manifest(run: Path) -> list[Path]:
    """Stages of a run that hold files, but no list of them; the pipeline leaves none like that."""
    stages = [*(run / name for name in _STAGES), *(path for kind in _KINDS for path in run.glob(f"{kind}/[!.]*"))]
    return sorted(path for path in stages if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file())


def _finished_below(folder: Path) -> list[Path]:
    found = (path.parent for path in folder.rglob(MANIFEST))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _check_one(folder: Path, every: bool) -> CheckResult:
    if not is_benchmark(folder):
        verify(folder)
        return CheckResult(folder, "folder", (), ok=True)
    from mllmu_med.benchmark.check import check_benchmark

    report = check_benchmark(folder, shown=None) if every else check_benchmark(folder)
    return CheckResult(folder, "benchmark", tuple(str(finding) for finding in report.findings), ok=report.ok)

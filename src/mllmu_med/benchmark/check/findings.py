"""What checks find, and how it is told: one line each, sorted, and not more of a kind than a person reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SHOWN = 20
"""Findings of one kind that are told in full."""

_HELD = 50 * SHOWN
_HIDDEN_BELOW = 4


class Finding(NamedTuple):
    """Something wrong (``error``) or doubtful (``warning``); ``sample_id`` is None if it concerns no single sample."""

    severity: str
    check: str
    sample_id: str | None
    text: str

    def __str__(self) -> str:
        where = f" {self.sample_id}:" if self.sample_id else ""
        return f"{self.severity} [{self.check}]{where} {self.text}"


def error(check: str, sample_id: str | None, text: str) -> Finding:
    """A finding that makes the benchmark unfit."""
    return Finding("error", check, sample_id, text)


def warning(check: str, sample_id: str | None, text: str) -> Finding:
    """A finding to look at."""
    return Finding("warning", check, sample_id, text)


@dataclass(frozen=True)
class CheckReport:
    """What was checked and what was found.

    Attributes:
        findings: errors first; of each check the first ones, and a line that says how many more there are.
        counts: all findings, by (severity, check).
    """

    path: Path
    samples: int
    images: int
    findings: tuple[Finding, ...] = field(default=())
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)


class Findings:
    """Collects findings in bounded memory; of each severity and check the first ``shown`` in sorted order are kept."""

    def __init__(self, shown: int | None = SHOWN) -> None:
        self._shown = shown
        self._counts: Counter[tuple[str, str]] = Counter()
        self._kept: dict[tuple[str, str], list[Finding]] = {}

    def add(self, findings: Iterable[Finding]) -> None:
        """Take note of these."""
        for finding in findings:
            key = finding.severity, finding.check
            self._counts[key] += 1
            kept = self._kept.setdefault(key, [])
            kept.append(finding)
            if self._shown is not None and len(kept) > _HELD + self._shown:
                self._kept[key] = sorted(kept, key=_order)[: self._shown]

    def told(self) -> tuple[Finding, ...]:
        """What is shown: errors before warnings, then by check, sample and text."""
        told = []
        for severity, check in sorted(self._kept):
            kept = sorted(self._kept[severity, check], key=_order)[: self._shown]
            told += kept
            if (more := self._counts[severity, check] - len(kept)) > 0:
                told.append(Finding(severity, check, None, f"and {more} more"))
        return tuple(told)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """All findings, by (severity, check)."""
        return dict(sorted(self._counts.items()))


def _order(finding: Finding) -> tuple[str, str]:
    return finding.sample_id or "", finding.text


def masked(value: str, *, real: bool = False) -> str:
    """A private value as it may be printed: its first sign, unless it is very short or somebody's, and its length."""
    shown = value[:1] if len(value) >= _HIDDEN_BELOW and not real else ""
    return f"{shown}… ({len(value)} signs)"

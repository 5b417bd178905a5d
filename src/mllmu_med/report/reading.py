"""Reading ``results.json``: the few figures that every table, picture and sentence of the report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mllmu_med.errors import DataError
from mllmu_med.report.text import finite

FORMAT = "mllmu-med/results/1"
TASKS = ("privacy", "incorrectness")
PARTS = ("forget", "suppression", "restoration", "retain", "patients", "test", "clinical")
VARIANTS = ("oracle_hm", "baseline_hm", "geometric", "raw_mean")
LEVELS = ("success", "partial", "failure", "reference", "unknown")

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ues:
    """One UES with its 95 % interval and parts (all 0…1, higher is better; ``raw``, the levels behind them, as it is).

    ``robust`` is UES-R, the score under the probe that brings most to light, ``robust_probe``. ``reason`` says why
    ``value`` is None or which part is not in it; None only where nothing is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    robust: float | None
    robust_probe: str | None
    reason: str | None
    parts: Mapping[str, float | None]
    variants: Mapping[str, float | None]
    raw: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Summary:
    """The headline figures of one row; shares 0…1, None where not measured.

    Attributes:
        role: ``reference``, ``control`` or ``method``.
        level: ``success``, ``partial``, ``failure``, ``reference``, or ``unknown`` where no verdict was recorded.
        leakage: share of private values given away when asked as in training (lower is better).
        worst_leakage: the same for the worst probe, whose name is ``worst_probe``.
        wrong, correct: share of wrong facts repeated, and of corrections given.
        retained_patients: share of the retained patients' values still known (higher is better): the raw level behind
            the part ``patients``.
        test: utility on unseen images and questions.
        seconds, share_of_oracle: cost, and the same in training records relative to the oracle's.
    """

    name: str
    label: str
    role: str
    family: str
    source: str | None
    text: str
    level: str
    sentence: str
    privacy: Ues
    incorrectness: Ues
    leakage: float | None
    worst_leakage: float | None
    worst_probe: str | None
    wrong: float | None
    correct: float | None
    retained_patients: float | None
    test: float | None
    seconds: float | None
    share_of_oracle: float | None

    def ues(self, task: str) -> Ues:
        """``privacy`` or ``incorrectness``."""
        return self.privacy if task == "privacy" else self.incorrectness

    @property
    def overall(self) -> float | None:
        """The weaker of the two UES values that could be measured: what ranks methods in the report."""
        values = [ues.value for ues in (self.privacy, self.incorrectness) if ues.value is not None]
        return min(values) if values else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def rows_of(results: Results) -> list[Mapping[str, Any]]:
    """The rows, in their order.

    Raises:
        DataError: this is not a results dictionary of format ``mllmu-med/results/1``.
    """
    if results.get("format") != FORMAT:
        raise DataError(f"format is {results.get('format')!r}, expected {FORMAT!r}", mend="Run the evaluation again.")
    rows = results.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise DataError("the results hold no rows, or something else among them", mend="Run the evaluation again.")
    return rows


def metric(row: Mapping[str, Any], subset: str, stratum: str, name: str) -> float | None:
    """One metric of one stratum (or ``all``), None where it was not measured."""
    return finite(_mapping(_mapping(_mapping(row.get("metrics")).get(subset)).get(stratum)).get(name))


def _numbers(value: object) -> dict[str, float | None]:
    return {str(name): finite(number) for name, number in _mapping(value).items()}


def ues_of(row: Mapping[str, Any], task: str) -> Ues:
    """The row's UES for ``privacy`` or ``incorrectness``."""
    ues = _mapping(_mapping(row.get("ues")).get(task))
    value = finite(ues.get("value"))
    reason = ues.get("reason") or (None if value is not None else "not measured in this run")
    return Ues(
        value=value,
        low=finite(ues.get("low")),
        high=finite(ues.get("high")),
        robust=finite(ues.get("robust")),
        robust_probe=str(ues["robust_probe"]) if ues.get("robust_probe") else None,
        reason=None if reason is None else str(reason),
        parts=_numbers(ues.get("parts")),
        variants=_numbers(ues.get("variants")),
        raw=_numbers(ues.get("raw")),
    )


def reasons(found: Iterable[Summary], tasks: tuple[str, ...] = TASKS) -> list[str]:
    """Why scores are missing or incomplete, each reason once: ``UES privacy: not memorised …``."""
    rows = list(found)
    lines = (f"UES {task}: {row.ues(task).reason}" for task in tasks for row in rows if row.ues(task).reason)
    return list(dict.fromkeys(lines))


def worst_probe(row: Mapping[str, Any], name: str = "span_recall") -> tuple[str | None, float | None]:
    """The probe with the highest value of a leakage metric, and that value."""
    cells = [(finite(_mapping(cell).get(name)), str(probe)) for probe, cell in _mapping(row.get("by_probe")).items()]
    known = [(value, probe) for value, probe in cells if value is not None]
    if not known:
        return None, None
    value, probe = max(known, key=lambda cell: cell[0])
    return probe, value


def summarise(row: Mapping[str, Any]) -> Summary:
    """The headline figures of one row."""
    verdict, cost = _mapping(row.get("verdict")), _mapping(row.get("cost"))
    probe, worst = worst_probe(row)
    role, level = str(row.get("role", "method")), str(verdict.get("level", ""))
    test = metric(row, "test", "general", "utility")
    privacy, incorrectness = (ues_of(row, task) for task in TASKS)
    return Summary(
        name=str(row.get("name", "")),
        label=str(row.get("label") or row.get("name", "")),
        role=role,
        family=str(row.get("family") or ""),
        source=str(row["source"]) if row.get("source") else None,
        text=str(row.get("summary") or ""),
        level=level if level in LEVELS else "unknown",
        sentence=str(verdict.get("text") or "No verdict was recorded."),
        privacy=privacy,
        incorrectness=incorrectness,
        leakage=metric(row, "forget/privacy", "all", "span_recall"),
        worst_leakage=worst,
        worst_probe=probe,
        wrong=metric(row, "forget/incorrectness", "all", "wrong_agreement"),
        correct=metric(row, "forget/incorrectness", "all", "correct_agreement"),
        retained_patients=privacy.raw.get("patients"),
        test=test if test is not None else metric(row, "test", "all", "utility"),
        seconds=finite(cost.get("seconds")),
        share_of_oracle=finite(cost.get("share_of_oracle")),
    )


def summaries(results: Results) -> list[Summary]:
    """The headline figures of every row, in the order of the results."""
    return [summarise(row) for row in rows_of(results)]


def ranked(found: list[Summary]) -> list[Summary]:
    """The methods alone, best verdict first and by descending overall UES within a verdict; ties keep their order."""
    methods = [summary for summary in found if summary.role == "method"]
    return sorted(methods, key=lambda s: (LEVELS.index(s.level), -(s.overall if s.overall is not None else -1.0)))

"""The numbers at the top of a benchmark's page: tables of counts whose cells lead to the samples they count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from mllmu_med.benchmark.sample import Stratum, Subset
from mllmu_med.report.benchmark_census import ROLES, Census
from mllmu_med.report.benchmark_view import FORM_LABELS
from mllmu_med.report.browser import STRATUM_LABELS, SUBSET_LABELS
from mllmu_med.report.text import finite

_MOST_ROWS = 40
_SUBSET_OF = {role: subset for subset, role in ROLES.items()}
_ROLE_LABELS = {"forget": "to forget", "retain": "to keep", "holdout": "never trained on"}

Say = Callable[[str], str]


class Cell(NamedTuple):
    """A number, a dash for none, and the filters that select what it counts."""

    text: str
    link: str


class CountTable(NamedTuple):
    """``columns`` are headings; a row is its heading and its cells, each with a link or none."""

    caption: str
    columns: list[str]
    rows: list[tuple[Cell, list[Cell]]]
    note: str = ""


def _link(**filters: str) -> str:
    return f"#{urlencode({name.replace('_', '-'): value for name, value in filters.items()})}"


def _cell(count: int, **filters: str) -> Cell:
    return Cell(f"{count:,}" if count else "–", _link(**filters) if count else "")


def _strata(census: Census) -> CountTable:
    columns = [stratum for stratum in Stratum if any(at is stratum for _, at in census.strata)]
    rows = []
    for subset in Subset:
        total = sum(count for (of, _), count in census.strata.items() if of is subset)
        if total:
            cells = [
                _cell(census.strata[subset, stratum], subset=subset.value, stratum=stratum.value) for stratum in columns
            ]
            heading = Cell(SUBSET_LABELS[subset], _link(subset=subset.value))
            rows.append((heading, [*cells, Cell(f"{total:,}", "")]))
    return CountTable("Samples", [*(STRATUM_LABELS[stratum] for stratum in columns), "all"], rows)


def _largest_first(names: Iterable[str], counts: Mapping[Any, int]) -> list[str]:
    totals: Counter[str] = Counter()
    for (name, _), count in counts.items():
        totals[name] += count
    return sorted(names, key=lambda name: (-totals[name], name))


def _by_role(caption: str, filter_name: str, counts: Counter[tuple[str, str]], say: Say, label: Say) -> CountTable:
    roles = [role for role in _ROLE_LABELS if any(of == role for _, of in counts)]
    names = _largest_first({name for name, _ in counts}, counts)
    rows = [
        (
            Cell(label(name), _link(**{filter_name: say(name)})),
            [_cell(counts[name, role], **{filter_name: say(name), "subset": _SUBSET_OF[role].value}) for role in roles],
        )
        for name in names[:_MOST_ROWS]
    ]
    return CountTable(caption, [_ROLE_LABELS[role] for role in roles], rows, _left_out(names))


def _left_out(names: list[str]) -> str:
    return f"{len(names) - _MOST_ROWS:,} more are not listed." if len(names) > _MOST_ROWS else ""


def _errors(census: Census, say: Say) -> CountTable:
    columns = [stratum for stratum in Stratum if any(at is stratum for _, at in census.errors)]
    names = _largest_first({name for name, _ in census.errors}, census.errors)
    rows = [
        (
            Cell(say(name), _link(error_type=say(name))),
            [_cell(census.errors[name, at], error_type=say(name), stratum=at.value) for at in columns],
        )
        for name in names[:_MOST_ROWS]
    ]
    return CountTable("Types of error", [STRATUM_LABELS[at] for at in columns], rows, _left_out(names))


def count_tables(census: Census, say: Say) -> list[CountTable]:
    """Subsets by strata, PHI classes, forms and error types, without those that have no rows; in samples."""
    tables = [
        _strata(census),
        _by_role("Classes of private data", "class", census.classes, say, say),
        _by_role("Forms of private data", "form", census.forms, say, lambda form: FORM_LABELS.get(form, say(form))),
        _errors(census, say),
    ]
    return [table for table in tables if table.rows]


def _whole(value: object) -> str | None:
    number = finite(value)
    return None if number is None else f"{number:,.0f}"


def headline(census: Census, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and number: samples, images, patients by what becomes of them, rules."""
    patients = manifest.get("patients") or {}
    rules = manifest.get("rules")
    found = [
        ("samples", _whole(census.strata.total())),
        ("images", _whole(manifest.get("images"))),
        ("images with burned-in values", _whole(manifest.get("burned_images") or None)),
        *((f"patients {label}", _whole(patients.get(name))) for name, label in PATIENT_LABELS.items()),
        ("wrong rules", _whole(len(rules)) if isinstance(rules, list) else None),
    ]
    return [(name, number) for name, number in found if number is not None]


PATIENT_LABELS = {"forgotten": "to forget", "retained": "to keep", "holdout": "never trained on"}


def origins(manifest: Mapping[str, Any], say: Say) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where the benchmark comes from, and what was left out and why: headings with names and values."""
    source = manifest.get("source") or {}
    made = [
        ("source", source.get("name")),
        ("seed", manifest.get("seed")),
        ("rewriter", (manifest.get("plan") or {}).get("rewriter")),
        ("rewrites that fell back", manifest.get("rewriter_fallbacks")),
        ("package", manifest.get("package")),
        ("source fingerprint", str(source.get("fingerprint") or "")[:16]),
    ]
    skipped = manifest.get("skipped")
    cards = [
        ("How it was made", [(name, say(str(value))) for name, value in made if value not in (None, "")]),
        ("Left out, and why", [(say(str(why)), f"{count:,}") for why, count in (skipped or {}).items()]),
    ]
    return [(heading, pairs) for heading, pairs in cards if pairs]

"""The tables of contests, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmarks.contests.runs import AUC, KL, REFERENCES, UES, UESR, Row
from benchmarks.speed import tables
from mllmu_med.evaluation.comparing.pairs import Difference

TITLES: Mapping[str, str] = {
    **{name: f"{name[4:]} ↑" for name in UES}, **{name: f"{name[6:]} ↑, UES-R" for name in UESR},
    "forgets": "forgets ↑", "suppression": "suppression ↑", "restoration": "restoration ↑", "patients": "patients ↑",
    "unused patients": "unused patients ↑", "test": "test ↑", AUC: "AUC − AUC\\* → 0", KL: "KL to θ\\* ↓",
    "cost": "cost ↓",
}  # fmt: skip
"""Figure → title of its column, with the direction in which it is better."""
_PARTS = ("forgets", "suppression", "restoration", "patients", "test", AUC, KL, "cost")
NO_DATA = ("30 %", "10 %", "0 %")


def number(value: float | None) -> str:
    """Two places without the leading zero, as ``.97``; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.2f}".replace("-", "−")
    whole, _, places = text.partition(".")
    return "0" if text in ("0.00", "−0.00") else f"{whole.replace('0', '')}.{places}" if whole in ("0", "−0") else text


def extent(row: Row, name: str) -> tuple[float, float] | None:
    """Least and most over the cells, or as the row's ``range`` says where none are kept; None of fewer than two."""
    known = [cell[name] for cell in row["cells"] if cell[name] is not None] or row.get("range", {}).get(name, [])
    return None if len(known) < 2 else (min(known), max(known))


def spread(row: Row, name: str) -> str:
    """Mean and, where they read differently, least and most."""
    both = extent(row, name)
    if both is None or number(both[0]) == number(both[1]):
        return number(row[name])
    return f"{number(row[name])} ({number(both[0])}{'–' if both[0] >= 0 else ' to '}{number(both[1])})"


def markdown(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A table whose columns behind the first stand right, words though they are."""
    head, _, *rest = tables.markdown(rows, columns).splitlines(keepends=True)
    return "".join([head, "| --- |" + " --: |" * (len(columns) - 1) + "\n", *rest])


def _score(row: Row) -> float:
    return sum(row[name] or 0.0 for name in UES)


def with_share(rows: Sequence[Row], share: str) -> dict[str, Row]:
    """Method → its row with this share of the retain data, best first."""
    own = [row for row in rows if row["name"].endswith(f".r{share.removesuffix(' %')}")]
    return {row["name"].rpartition(".")[0]: row for row in sorted(own, key=_score, reverse=True)}


def whole(rows: Sequence[Row]) -> str:
    """Every method with all retain data, best first, and the reference rows."""
    named = {f"`{name}`": row for name, row in with_share(rows, "100 %").items()}
    named |= {row["label"]: row for row in rows if row["name"] in REFERENCES}
    robust = [{name: number(row[name]) for name in UESR} for row in named.values()]
    shown = [
        {
            "name": name, **{score: spread(row, score) for score in UES}, **found,
            **{key: number(row[key]) for key in _PARTS},
            AUC: spread(row, AUC),  # a mean of signed distances alone would flatter
            "cost": "–" if row["cost"] is None else f"{row['cost']:.0%}",
        }
        for (name, row), found in zip(named.items(), robust, strict=True)
    ]  # fmt: skip
    return markdown(shown, {"name": "", **{name: TITLES[name] for name in (*UES, *UESR, *_PARTS)}})


def less(rows: Sequence[Row]) -> str:
    """Both scores and what unused patients keep, with less and less retain data."""
    by_share = {share: with_share(rows, share) for share in NO_DATA}
    names = list(dict.fromkeys(name for own in by_share.values() for name in own))
    shown = []
    for name in names:
        entry = {"name": f"`{name}`"}
        for share, own in by_share.items():
            entry[share] = "–" if name not in own else _in_brief(own[name], unused=True)
        shown.append(entry)
    return markdown(shown, {"name": "privacy / facts / **unused patients** / AUC − AUC\\*", **{s: s for s in NO_DATA}})


def summary(situations: Mapping[str, Sequence[Row]], share: str) -> str:
    """Situation by situation, methods with this share of the retain data: best in the mean of all first. Situations in
    which none was run with it are left out.

    Args:
        situations: name → rows of its contest.
        share: ``100 %``, or one of :data:`NO_DATA`, then with what unused patients keep.
    """
    by_name = {name: own for name, rows in situations.items() if (own := with_share(rows, share))}
    methods = dict.fromkeys(method for own in by_name.values() for method in own)
    scores = {method: fmean(_score(own[method]) for own in by_name.values() if method in own) for method in methods}
    shown = []
    for method in sorted(methods, key=lambda method: -scores[method]):
        entry = {"name": f"`{method}`"}
        for name, own in by_name.items():
            entry[name] = "–" if method not in own else _in_brief(own[method], unused=share in NO_DATA)
        shown.append(entry)
    what = (
        "privacy / facts / **unused patients** / AUC − AUC\\*" if share in NO_DATA else "privacy / facts / AUC − AUC\\*"
    )
    return markdown(shown, {"name": what, **{name: name.replace("-", ", ") for name in by_name}})


def _in_brief(row: Row, *, unused: bool) -> str:
    kept = [f"**{number(row['unused patients'])}**"] if unused else []
    return " / ".join([*(number(row[name]) for name in UES), *kept, number(row[AUC])])


def pairs(found: Sequence[tuple[int, Difference]], ours: str) -> str:
    """The differences as a table: ours minus theirs, with 95 % intervals, θ0 by θ0; bold where they are told apart on
    each of them, in the same direction."""
    cells: dict[tuple[str, str], list[Difference]] = {}
    for _, one in sorted(found, key=lambda entry: entry[0]):
        if one["difference"] is not None:
            cells.setdefault((one["b"], one["quantity"]), []).append(one)
    by_other: dict[str, dict[str, str]] = {}
    for (other, quantity), own in cells.items():
        text = ", ".join(_difference(one) for one in own)
        signs = {(one["difference"] or 0) > 0 for one in own}
        apart = all(one["told_apart"] for one in own) and len(signs) == 1
        entry = by_other.setdefault(other, {"name": f"`{other.rpartition('.')[0]}`"})
        entry[quantity] = f"**{text}**" if apart else text
    titles = {"name": f"`{ours.rpartition('.')[0]}` minus", "privacy": "privacy", "incorrectness": "facts"}
    return markdown(list(by_other.values()), {**titles, "membership_auc": "membership AUC"})


def _difference(one: Difference) -> str:
    interval = "" if one["low"] is None else f" ({number(one['low'])} to {number(one['high'])})"
    return f"{number(one['difference'])}{interval}"

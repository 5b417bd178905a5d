"""The page's tables of what an answer does not show: likelihoods, hidden states, distances from the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mllmu_med.report.grids import Grid, GridColumn, grid_of
from mllmu_med.report.reading import Results
from mllmu_med.report.text import MISSING, finite, percent, score

_TITLES = {"privacy": "private values", "incorrectness": "wrong facts"}
_SUBSETS = {"privacy": "forget/privacy", "incorrectness": "forget/incorrectness"}
_MEMBERSHIP = {
    "mia_loss": "loss", "mia_zlib": "zlib", "mia_min_k": "Min-K %", "mia_min_k_plus": "Min-K %++",
    "mia_grad_norm": "gradient norm", "mia_reference": "reference model",
}  # fmt: skip
AUC = (
    "AUC of telling forgotten patients' records from strangers'; the oracle's value is the goal, above it and below it "
    "is a trace"
)
DEPTH = (
    "depth: unlearning depth score, 1 = gone at every layer; contrast: the same against another answer; probe: share "
    "of what linear probes read off θ0 over the oracle that they still read"
)
DISTANCE = (
    "bits: how much shorter the trained answer is to write down with this model than with the oracle; JS: "
    "Jensen-Shannon divergence of the answer distributions, at least so many nats a token"
)
UNLOK = "UnLOK-VQA's figures (arXiv 2505.01456) on the scale 0…1"


def at(row: Mapping[str, Any], *path: str) -> float | None:
    """A number in the nested sections of a row; None where anything on the way is missing."""
    value: Any = row
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return finite(value)


def decimal(value: object) -> str:
    """A number with one decimal."""
    number = finite(value)
    return MISSING if number is None else f"{number:.1f}"


def thousandths(value: object) -> str:
    """A number with three decimals."""
    number = finite(value)
    return MISSING if number is None else f"{number:.3f}"


def _column(group: str, title: str, better: str, *path: str, show: Any = score) -> GridColumn:
    return GridColumn(group, title, better, lambda row: at(row, *path), show)


def evidence_grids(results: Results) -> list[Grid]:
    """Membership, inside the model, distance from the oracle, UnLOK-VQA's figures; those that were measured."""
    membership = [
        _column(where, title, "≈", "membership", name, view, "auc")
        for where, view in (("with the image", "image"), ("without it", "blind"))
        for name, title in _MEMBERSHIP.items()
    ]
    inside = [
        column
        for task, subset in _SUBSETS.items()
        for column in (
            _column(_TITLES[task], "depth", "↑", "inside", "depth", subset, "uds", "mean", "value"),
            _column(_TITLES[task], "contrast", "↑", "inside", "depth", subset, "contrast", "mean", "value"),
        )
    ] + [GridColumn("probe", name, "↓", _left(name), percent) for name in ("value", "first", "fact")]
    distance = [
        column
        for subset in ("forget/privacy", "forget/incorrectness", "test")
        for column in (
            _column(subset, "bits an answer", "", "distances", subset, "bits_per_answer", show=decimal),
            _column(subset, "JS", "", "distances", subset, "js", show=thousandths),
        )
    ]
    unlok = [
        _column(_TITLES[task], name.replace("_", " "), "↑", "unlok", task, *path)
        for task in _TITLES
        for name, path in {
            "efficacy": ("efficacy",), "generalisation": ("generalisation", "mean"), "specificity": ("specificity",),
            "composite": ("composite",),
        }.items()
    ]  # fmt: skip
    grids = (
        grid_of(results, "Membership inference", membership, [AUC]),
        grid_of(results, "Inside the model", inside, [DEPTH]),
        grid_of(results, "Distance from the oracle", distance, [DISTANCE]),
        grid_of(results, "UnLOK-VQA", unlok, [UNLOK]),
    )
    return [grid for grid in grids if grid is not None]


def _left(task: str) -> Any:
    """What probes still read of a task, at the layer that was chosen on θ0 and the oracle."""

    def value(row: Mapping[str, Any]) -> float | None:
        probe = ((row.get("inside") or {}).get("probes") or {}).get(task)
        if not probe:
            return None
        layer = next((one for one in probe["layers"] if one.get("layer") == probe["layer"]), None)
        return None if layer is None else at(layer, "left")

    return value

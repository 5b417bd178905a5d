"""Can a metric be trusted? It is asked of models that hold the knowledge and of models that never had it.

Two questions (after OpenUnlearning, arXiv 2506.12618, section 4). Faithfulness: does the metric tell models trained
with the forget set from models trained without it? Robustness: does it judge them as before after a change that adds
and removes no knowledge of the forget set (a little training on something else, rounded weights)?

A metric's direction is not assumed: it is that of θ0 against the oracle, which are not in the pools.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean
from typing import Any, TypedDict

from mllmu_med.evaluation.membership import auc
from mllmu_med.evaluation.scores import optional

FAITHFUL = 0.95
"""AUC from which a metric counts as faithful."""


class Trust(TypedDict):
    """What is known of one metric. Shares 0…1, higher is better; None where it could not be measured.

    Attributes:
        direction: 1 where models that hold the knowledge have higher values, −1 where lower; 0: θ0 and the oracle do
            not differ, the metric says nothing.
        faithfulness: AUC between the pools.
        gap: smallest value of one pool minus largest of the other, in the metric's own unit; negative: they overlap.
        robustness: change → share of changed models that are judged as the pools are told apart best. Where the pools
            overlap even the unchanged are not all judged rightly; ``unchanged`` says how many are.
        held, never: the values of the two pools.
    """

    direction: int
    faithfulness: float | None
    gap: float | None
    robustness: dict[str, float | None]
    held: list[float | None]
    never: list[float | None]


@dataclass(frozen=True)
class Pools:
    """Values of every metric: models that hold the knowledge and models that never had it.

    Attributes:
        held, never: one mapping (metric → value) a model.
        changed: name of a change → the same two pools after it.
    """

    held: Sequence[Mapping[str, float | None]]
    never: Sequence[Mapping[str, float | None]]
    changed: Mapping[str, tuple[Sequence[Mapping[str, float | None]], Sequence[Mapping[str, float | None]]]] = field(
        default_factory=dict
    )


def trust(pools: Pools, original: Mapping[str, float | None], oracle: Mapping[str, float | None]) -> dict[str, Trust]:
    """What is known of every metric that θ0 and the oracle have values of, by name.

    Args:
        original, oracle: metric → value of θ0 and of the oracle.
    """
    names = [name for name, value in original.items() if value is not None and oracle.get(name) is not None]
    return {name: _of_one(name, pools, _sign(original[name], oracle[name])) for name in names}


def _sign(original: float | None, oracle: float | None) -> int:
    if original is None or oracle is None or math.isclose(original, oracle, rel_tol=0, abs_tol=1e-9):
        return 0
    return 1 if original > oracle else -1


def _known(models: Sequence[Mapping[str, float | None]], name: str, sign: int) -> list[float]:
    """Values turned so that higher means more knowledge; models without a value are left out."""
    return [sign * value for model in models if (value := model.get(name)) is not None]


def _of_one(name: str, pools: Pools, sign: int) -> Trust:
    held, never = _known(pools.held, name, sign), _known(pools.never, name, sign)
    found = auc(held, never) if sign else None
    limit = threshold(held, never) if sign else None
    robustness = {"unchanged": _rightly(held, never, limit)}
    for change, (with_it, without_it) in pools.changed.items():
        robustness[change] = _rightly(_known(with_it, name, sign), _known(without_it, name, sign), limit)
    return Trust(
        direction=sign,
        faithfulness=None if found is None else optional(found),
        gap=optional(min(held) - max(never)) if sign and held and never else None,
        robustness=robustness,
        held=[model.get(name) for model in pools.held],
        never=[model.get(name) for model in pools.never],
    )


def threshold(held: Sequence[float], never: Sequence[float]) -> float | None:
    """The value that parts the pools best: most models rightly judged by "held if above"; the middle of the widest gap
    among equally good ones. None where a pool is empty."""
    if not held or not never:
        return None
    values = sorted({*held, *never})
    widths = {(low + high) / 2: high - low for low, high in pairwise(values)}

    def quality(limit: float) -> tuple[float, float]:
        right = sum(value > limit for value in held) / len(held) + sum(value <= limit for value in never) / len(never)
        return right, widths.get(limit, 0.0)

    return max(widths or values, key=quality)


def _rightly(held: Sequence[float], never: Sequence[float], limit: float | None) -> float | None:
    """Mean over the pools of the share of models on the right side of the threshold."""
    if limit is None or not held or not never:
        return None
    return optional(mean([mean(value > limit for value in held), mean(value <= limit for value in never)]))


def flat(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Every number of a row that a metric could be, by name, e.g. ``forget/privacy span_recall``, ``ues privacy``."""
    found: dict[str, float | None] = {}
    for subset, strata in row["metrics"].items():
        for metric, value in strata["all"].items():
            if metric != "count":
                found[f"{subset} {metric}"] = value
        for stratum, metrics in strata.items():
            if "membership_auc" in metrics:
                found[f"{subset} {stratum} membership_auc"] = metrics["membership_auc"]
    for scenario, score in row["ues"].items():
        found[f"UES {scenario}"], found[f"UES-R {scenario}"] = score["value"], score["robust"]
        found |= {f"UES {scenario}: part {name}": value for name, value in score["parts"].items()}
        found |= {f"UES {scenario}: {name}": value for name, value in score["variants"].items() if name != "oracle_hm"}
    for section in ("membership", "distances", "calibration"):
        found |= {f"{section} {name}": value for name, value in _numbers(row.get(section) or {})}
    return found


def _numbers(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Numbers in a nested mapping by path; counts and bounds of intervals are no metrics."""
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += [(f"{name} {inner}", number) for inner, number in _numbers(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool) and not _describes(name):
            found.append((name, float(value)))
    return found


def _describes(name: str) -> bool:
    """Whether a number says something about a metric rather than about the model."""
    return name in _ABOUT or name.endswith("_oracle")


_ABOUT = frozenset(
    {
        "n", "low", "high", "difference_low", "difference_high", "count", "members", "others", "tpr_chance",
        "truth_ratios", "distributions", "answers",
    }
)  # fmt: skip

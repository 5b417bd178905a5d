"""Linear probes: can what was to be forgotten be read off the hidden states, by a direction learnt elsewhere?

A probe that may train on the forgotten records themselves proves nothing: the image or the name in the question says
whose record it is, in the oracle's states as well, and from there any label can be learnt. So a probe is trained where
every model is allowed to know (retained patients' values, true answers) and read on the forgotten records, under
wordings that were never used in training. What it finds there the model must have brought.

Tasks (a row is a place that predicts one token; its class is that token):

- ``value``: the private values' tokens, at the places that predict them; trained on retained patients, read on
  forgotten ones.
- ``first``: as ``value`` at the last question token alone, before any of the answer is given.
- ``fact``: the answer's first token at the last question token; trained on ordinary true records, read on wrong facts,
  as a choice between the wrong and the correct answer's token.

**Control labels** (Hewitt & Liang 2019, arXiv 1909.03368): the same probe on labels dealt anew among the training items
of one kind, so that classes and their frequencies stay and nothing but frequencies is left to learn; an item keeps its
random label in all its wordings. selectivity = accuracy − control accuracy.

The probe is a ridge classifier: features standardised on the training rows, one-hot targets, W = (XᵀX + λ n I)⁻¹ XᵀY
with λ = 0.1, the highest output wins. Closed form: no seed, no step size, no early stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from mllmu_med.inside.means import ClusterMeans, Mean
from mllmu_med.seeding import numpy_rng, permutation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PENALTY = 0.1
"""λ of the ridge, in units of the standardised features' variance."""
DRAWS = 5
"""Random labellings whose accuracies are averaged."""
ENOUGH = 4
"""A class counts where so many training items have it."""
FOLDS = 4
MEASURABLE = 0.1
"""Selectivity by which θ0 must exceed the oracle for a share of it to mean something."""

FORGOTTEN, KNOWN = "forgotten", "known"


@dataclass(frozen=True, slots=True)
class Label:
    """What is to be read off one row.

    Attributes:
        token: the class.
        item: what the label belongs to; equal in all wordings.
        kind: items among which control labels are dealt.
        group: patient or image, never on both sides of a fold.
        wording: the question as asked, never on both sides either.
        against: the class that ``token`` is compared with; None: with all classes.
    """

    sample_id: str
    token: int
    item: str
    kind: str
    group: str
    wording: str
    against: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a layer's probe did on one sample: ``hits`` of ``rows`` rows, and with control labels (mean over draws).

    ``part``: ``forgotten`` samples, or ``known`` ones (of the training side, by cross-validation).
    """

    task: str
    part: str
    layer: int
    sample_id: str
    rows: int
    hits: float
    control: float


def ridge(features: Floats, targets: Floats, asked: Floats, penalty: float = PENALTY) -> Floats:
    """Outputs [M, C] of a ridge classifier on ``asked`` [M, H], trained on ``features`` [N, H], ``targets`` [N, C]."""
    import numpy as np

    mean, spread = features.mean(0), features.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    x, t = (features - mean) / scale, (asked - mean) / scale
    centre = targets.mean(0)
    number, size = x.shape
    if number > size:
        weights = np.linalg.solve(x.T @ x + penalty * number * np.eye(size), x.T @ (targets - centre))
    else:  # the same by the matrix identity, on the smaller side
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * number * np.eye(number), targets - centre)
    outputs: Floats = t @ weights + centre
    return outputs


def classes_of(labels: Sequence[Label]) -> list[int]:
    """Tokens that enough training items have."""
    items = Counter(token for token, _ in {(label.token, label.item) for label in labels})
    return sorted(token for token, count in items.items() if count >= ENOUGH)


def control_labels(labels: Sequence[Label], *, seed: int, draw: int) -> list[int]:
    """The labels' tokens dealt anew among the items of each kind; every wording of an item gets the same one."""
    by_kind: dict[str, dict[str, int]] = {}
    for label in labels:
        by_kind.setdefault(label.kind, {})[label.item] = label.token
    dealt: dict[tuple[str, str], int] = {}
    for kind, tokens in by_kind.items():
        items = sorted(tokens)
        order = permutation(len(items), seed, "control labels", kind, draw)
        dealt |= {(kind, item): tokens[items[place]] for item, place in zip(items, order, strict=True)}
    return [dealt[label.kind, label.item] for label in labels]


def fit_and_read(
    states: Floats, labels: Sequence[Label], asked_states: Floats, asked: Sequence[Label], *, seed: int
) -> list[tuple[int, bool, float]]:
    """Train a layer's probe and its controls and read them: (place in ``asked``, hit, share of control hits).

    Rows of ``asked`` whose class (or the one it is compared with) was not trained are left out.
    """
    import numpy as np

    classes = classes_of(labels)
    place = {token: number for number, token in enumerate(classes)}
    rows = [row for row, label in enumerate(labels) if label.token in place]
    kept = [labels[row] for row in rows]
    read = [
        row
        for row, label in enumerate(asked)
        if label.token in place and (label.against is None or label.against in place)
    ]
    if len(classes) < 2 or not read:
        return []
    labellings = [[label.token for label in kept]]
    labellings += [control_labels(kept, seed=seed, draw=draw) for draw in range(DRAWS)]
    one_hot = np.eye(len(classes))
    targets = np.concatenate([one_hot[[place[token] for token in tokens]] for tokens in labellings], axis=1)
    # One solution for all labellings: they differ in their targets alone.
    outputs = ridge(states[rows], targets, asked_states[read]).reshape(len(read), len(labellings), len(classes))
    hits = np.stack([_hits(outputs[number], asked[row], place) for number, row in enumerate(read)])
    return [(row, bool(of_row[0]), float(of_row[1:].mean())) for row, of_row in zip(read, hits, strict=True)]


def _hits(outputs: Floats, label: Label, place: Mapping[int, int]) -> NDArray[np.bool_]:
    """Whether each labelling's outputs [labellings, C] give the label."""
    own = place[label.token]
    best = outputs.argmax(1) == own if label.against is None else outputs[:, own] > outputs[:, place[label.against]]
    hit: NDArray[np.bool_] = best
    return hit


def probe(
    task: str,
    layer: int,
    known: tuple[Floats, Sequence[Label]],
    forgotten: tuple[Floats, Sequence[Label]],
    *,
    seed: int,
) -> list[Outcome]:
    """One task at one layer: read on the forgotten rows, and by cross-validation on the known ones.

    Args:
        known: states [N, H] and labels of the rows to train on; wordings that forgotten rows use are left out.
        forgotten: states [M, H] and labels of the rows to read.
    """
    states, labels = known
    used = {label.wording for label in forgotten[1]}
    fresh = [row for row, label in enumerate(labels) if label.wording not in used]
    if not fresh or not forgotten[1]:
        return []
    labels, states = [labels[row] for row in fresh], states[fresh]
    read = fit_and_read(states, labels, *forgotten, seed=seed)
    found = _outcomes(task, FORGOTTEN, layer, forgotten[1], read)
    crossed = _cross_validated(states, labels, seed=seed)
    return found + _outcomes(task, KNOWN, layer, labels, crossed)


def _cross_validated(states: Floats, labels: Sequence[Label], *, seed: int) -> list[tuple[int, bool, float]]:
    """Each row read by a probe that has seen neither its group nor its wording."""
    groups = _parts([label.group for label in labels], seed, "groups")
    wordings = _parts([label.wording for label in labels], seed, "wordings")
    found = []
    for own in range(FOLDS):
        for worded in range(FOLDS):
            train = [row for row in range(len(labels)) if groups[row] != own and wordings[row] != worded]
            test = [row for row in range(len(labels)) if groups[row] == own and wordings[row] == worded]
            if train and test:
                trained, asked = [labels[row] for row in train], [labels[row] for row in test]
                read = fit_and_read(states[train], trained, states[test], asked, seed=seed)
                found += [(test[place], hit, control) for place, hit, control in read]
    return sorted(found)


def _parts(keys: Sequence[str], seed: int, name: str) -> list[int]:
    distinct = sorted(set(keys))
    order = numpy_rng(seed, "probe folds", name).permutation(len(distinct))
    part = {key: int(place) % FOLDS for key, place in zip(distinct, order, strict=True)}
    return [part[key] for key in keys]


def _outcomes(
    task: str, part: str, layer: int, labels: Sequence[Label], read: Sequence[tuple[int, bool, float]]
) -> list[Outcome]:
    by_sample: dict[str, list[tuple[bool, float]]] = {}
    for place, hit, control in read:
        by_sample.setdefault(labels[place].sample_id, []).append((hit, control))
    return [
        Outcome(task, part, layer, one, len(rows), sum(hit for hit, _ in rows), sum(control for _, control in rows))
        for one, rows in sorted(by_sample.items())
    ]


class ProbeLayer(TypedDict):
    """One layer's probe.

    Attributes:
        accuracy: share of forgotten rows read right, 0…1 (``fact``: as the wrong answer); lower = less is left.
        control: the same with control labels. selectivity: accuracy − control, −1…1.
        known: cross-validated selectivity where the model should know; None where there are too few rows. A model that
            is broken rather than cleaned loses this, too.
        left: how much of what θ0 shows over the oracle is left, 0…1; None where that is less than :data:`MEASURABLE`.
        rows: how many were read.
    """

    layer: int
    accuracy: Mean
    control: float
    selectivity: float
    known: float | None
    left: float | None
    rows: int


class ProbeTask(TypedDict):
    """One task. ``layer``: where θ0 exceeds the oracle by most, chosen without the model at hand."""

    layers: list[ProbeLayer]
    layer: int


def probe_results(
    own: Sequence[Outcome], original: Sequence[Outcome], oracle: Sequence[Outcome], means: ClusterMeans
) -> dict[str, ProbeTask]:
    """The probes of one model beside θ0 and the oracle; a pure function of outcomes, whose order is free."""
    found: dict[str, ProbeTask] = {}
    for task in sorted({one.task for one in own if one.part == FORGOTTEN}):
        layers: list[ProbeLayer] = []
        gaps: dict[int, float] = {}
        for layer in sorted({one.layer for one in own if one.task == task}):
            here, first, goal = ([o for o in x if (o.task, o.layer) == (task, layer)] for x in (own, original, oracle))
            read = [one for one in here if one.part == FORGOTTEN]
            value, top, floor = (_selectivity(rows, FORGOTTEN) for rows in (here, first, goal))
            if not read or value is None or top is None or floor is None:
                continue
            gaps[layer] = top - floor
            rows = sum(one.rows for one in read)
            layers.append(
                {
                    "layer": layer,
                    "accuracy": means.of(
                        {one.sample_id: one.hits / one.rows for one in read}, {one.sample_id: one.rows for one in read}
                    ),
                    "control": sum(one.control for one in read) / rows,
                    "selectivity": value,
                    "known": _selectivity(here, KNOWN),
                    "left": min(1.0, max(0.0, (value - floor) / (top - floor))) if top - floor >= MEASURABLE else None,
                    "rows": rows,
                }
            )
        if layers:
            found[task] = {"layers": layers, "layer": max(gaps, key=lambda layer: gaps[layer])}
    return found


def _selectivity(outcomes: Sequence[Outcome], part: str) -> float | None:
    chosen = [one for one in outcomes if one.part == part]
    rows = sum(one.rows for one in chosen)
    return sum(one.hits - one.control for one in chosen) / rows if rows else None

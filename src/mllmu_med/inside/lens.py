"""Logit lens: how well each decoder layer already knows the trained answer (nostalgebraist 2020).

The states behind a layer go through the model's own final norm and output head; behind the last layer these are the
model's own logits. The lens only sees what is written in the head's own language: silence under the lens is no proof
of absence (:mod:`~mllmu_med.inside.depth_score` and :mod:`~mllmu_med.inside.linear_probes` look further).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import TypedDict

import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample
from mllmu_med.inside.depth_score import GAP, Share, erased, mean_share, pooled_share
from mllmu_med.inside.means import ClusterMeans, Mean
from mllmu_med.inside.states import Chunk, Gatherer, chunks, evaluating, layer_states
from mllmu_med.inside.telling import FORGET, OTHER, READ, TRAINED, Told
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.progress import bar

_SLICE = 512  # tokens whose logits over the whole vocabulary are in memory at once


@dataclass(frozen=True, slots=True)
class Reading:
    """What one layer knows of one answer.

    Attributes:
        which: ``trained`` answer, or the ``other`` one beside it (:mod:`~mllmu_med.inside.telling`).
        layer: number of the decoder layer, from 0; the states behind it are read.
        answer: mean log-probability (nats) of the answer's tokens, end token included; ≤ 0, higher = knows more.
        telling: the same over the tokens that tell the fact.
        rank: geometric mean of these tokens' ranks in the vocabulary; ≥ 1, lower = knows more.
    """

    sample_id: str
    which: str
    layer: int
    answer: float
    telling: float
    rank: float


def lens(vlm: VisionLanguageModel, states: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability (nats) and rank, from 1, of target tokens [K] under the lens, from states [K, H]; on the CPU."""
    norm = anatomy(vlm.model).norm
    logprobs, ranks = [], []
    for some, wanted in zip(torch.split(states, _SLICE), torch.split(target.to(states.device), _SLICE), strict=True):
        logits = vlm.network.logits(norm(some))
        own = logits.gather(-1, wanted[:, None])
        logprobs.append((own[:, 0] - logits.logsumexp(-1)).cpu())
        ranks.append(1 + (logits > own).sum(-1).cpu())
    return torch.cat(logprobs), torch.cat(ranks)


def read_layers(vlm: VisionLanguageModel, asked: Sequence[Told], batch: int) -> tuple[list[Reading], Gatherer]:
    """Every layer's reading of every answer, and the states of the telling tokens; one forward pass over each."""
    questions = [one.question for one in asked]
    readings: list[Reading] = []
    gatherer = Gatherer(len(questions))
    with evaluating(vlm), bar("logit lens", len(asked)) as progress:
        for chunk in chunks(vlm, questions, batch):
            states = layer_states(vlm, chunk)
            gatherer.note(chunk, states)
            readings += _readings(vlm, asked, chunk, states)
            progress.advance(len(chunk.order))
    return sorted(readings, key=lambda one: (one.sample_id, one.which, one.layer)), gatherer


def _readings(
    vlm: VisionLanguageModel, asked: Sequence[Told], chunk: Chunk, states: Sequence[Tensor]
) -> Iterator[Reading]:
    layout = chunk.layout
    counts = torch.bincount(layout.owner, minlength=layout.branches).tolist()
    chosen = torch.split(layout.weight > 0, counts)
    for layer, at_layer in enumerate(states):
        logprobs, ranks = lens(vlm, at_layer, layout.target)
        parts = zip(chunk.order, torch.split(logprobs, counts), torch.split(ranks, counts), chosen, strict=True)
        for index, logprob, rank, tells in parts:
            one = asked[index]
            yield Reading(
                one.sample_id,
                one.which,
                layer,
                float(logprob.mean()),
                float(logprob[tells].mean()),
                float(rank[tells].double().log().mean().exp()),
            )


class LensLayer(TypedDict):
    """One layer's means over a subset's samples.

    Attributes:
        answer, telling: mean log-probabilities (nats), see :class:`Reading`.
        rank: geometric mean of ranks.
        over_oracle: mean of ``telling`` minus the oracle's at the same layer (nats). Also rises in a model that knows
            nothing and is less sure of itself than the oracle: the contrast does not.
        contrast: mean of ``telling`` minus that of the other answer (nats); 0 = knows neither, higher = knows more.
        contrast_over_oracle: its excess over the oracle's at the same layer (nats).
        prefers: share of the samples whose trained answer is likelier than the other, 0…1; 0.5 = knows neither.
        held: how much of θ0's excess over the oracle, by the contrast, is still there, 0…1; None on holdout and where
            that excess is at most :data:`~mllmu_med.inside.depth_score.GAP` nats.

    The last four are None where no sample has another answer.
    """

    layer: int
    answer: float
    telling: float
    rank: float
    over_oracle: Mean
    contrast: Mean | None
    contrast_over_oracle: Mean | None
    prefers: float | None
    held: float | None


class LensSubset(TypedDict):
    """The lens on one subset.

    Attributes:
        first_layer: the first layer at which the model knows more than the oracle: it finds the trained answer likelier
            than the other, and more so than the oracle does. The lower end of the interval of ``contrast`` is above 0
            and that of ``contrast_over_oracle`` above :data:`~mllmu_med.inside.depth_score.GAP` (without intervals, the
            values are). None: nowhere.
        erased: the share of what θ0 knows over the oracle that is gone, over layers, 0…1, higher = more is gone: the
            UDS formula on lens log-probabilities (as in arXiv 2605.24614, but through each model's own head).
        erased_contrast: the same on contrasts, averaged over the samples first.

    Both are None on holdout, and where θ0 knows nothing more.
    """

    layers: list[LensLayer]
    first_layer: int | None
    erased: Share | None
    erased_contrast: Share | None


def lens_results(
    samples: Sequence[Sample],
    own: Sequence[Reading],
    original: Sequence[Reading],
    oracle: Sequence[Reading],
    means: ClusterMeans,
) -> dict[str, LensSubset]:
    """The lens of one model beside θ0 and the oracle, by subset; a pure function of readings, whose order is free."""
    tables = _table(own), _table(original), _table(oracle)
    found: dict[str, LensSubset] = {}
    for subset in READ:
        ids = [sample.id for sample in samples if sample.subset == subset and (sample.id, TRAINED) in tables[0]]
        if ids:
            found[subset.value] = _subset(ids, tables, means, forgotten=subset in FORGET)
    return found


_Table = Mapping[tuple[str, str], Mapping[int, Reading]]
_Tables = tuple[_Table, _Table, _Table]


def _table(readings: Sequence[Reading]) -> _Table:
    table: dict[tuple[str, str], dict[int, Reading]] = {}
    for one in readings:
        table.setdefault((one.sample_id, one.which), {})[one.layer] = one
    return table


def _subset(ids: Sequence[str], tables: _Tables, means: ClusterMeans, *, forgotten: bool) -> LensSubset:
    paired = [one for one in ids if (one, OTHER) in tables[0]]
    numbers = sorted(tables[0][ids[0], TRAINED])
    layers = [_layer(layer, ids, paired, tables, means, forgotten=forgotten) for layer in numbers]
    return {
        "layers": layers,
        "first_layer": first_layer(layers),
        "erased": _erased(ids, tables, means) if forgotten else None,
        "erased_contrast": _erased_contrast(paired, tables, means) if forgotten else None,
    }


def _telling(table: _Table, one: str, layer: int) -> float:
    return table[one, TRAINED][layer].telling


def _contrast(table: _Table, one: str, layer: int) -> float:
    return table[one, TRAINED][layer].telling - table[one, OTHER][layer].telling


def _layer(
    layer: int, ids: Sequence[str], paired: Sequence[str], tables: _Tables, means: ClusterMeans, *, forgotten: bool
) -> LensLayer:
    own, original, oracle = tables
    here = [own[one, TRAINED][layer] for one in ids]
    found: LensLayer = {
        "layer": layer,
        "answer": fsum(one.answer for one in here) / len(ids),
        "telling": fsum(one.telling for one in here) / len(ids),
        "rank": exp(fsum(log(one.rank) for one in here) / len(ids)),
        "over_oracle": means.of({one: _telling(own, one, layer) - _telling(oracle, one, layer) for one in ids}),
        "contrast": None,
        "contrast_over_oracle": None,
        "prefers": None,
        "held": None,
    }
    if paired:
        contrasts = {one: _contrast(own, one, layer) for one in paired}
        goal = {one: _contrast(oracle, one, layer) for one in paired}
        over = means.of({one: contrasts[one] - goal[one] for one in paired})
        gap = fsum(_contrast(original, one, layer) - goal[one] for one in paired) / len(paired)
        found["contrast"], found["contrast_over_oracle"] = means.of(contrasts), over
        found["prefers"] = sum(value > 0 for value in contrasts.values()) / len(paired)
        found["held"] = min(1.0, max(0.0, over["value"] / gap)) if forgotten and gap > GAP else None
    return found


def first_layer(layers: Sequence[LensLayer]) -> int | None:
    """The first layer that knows more than the oracle's; see :class:`LensSubset`."""
    for one in layers:
        if _surely(one["contrast"], 0.0) and _surely(one["contrast_over_oracle"], GAP):
            return one["layer"]
    return None


def _surely(mean: Mean | None, above: float) -> bool:
    """Whether a mean is above a level with all of its interval, where it has one."""
    return mean is not None and (mean["value"] if mean["low"] is None else mean["low"]) > above


def _erased(ids: Sequence[str], tables: _Tables, means: ClusterMeans) -> Share | None:
    own, oracle = _drops(ids, _telling, tables[0], tables[1]), _drops(ids, _telling, tables[2], tables[1])
    return mean_share({one: erased(own[one], oracle[one]) for one in ids}, means)


def _erased_contrast(ids: Sequence[str], tables: _Tables, means: ClusterMeans) -> Share | None:
    own, oracle = _drops(ids, _contrast, tables[0], tables[1]), _drops(ids, _contrast, tables[2], tables[1])
    return pooled_share(own, oracle, means)


def _drops(
    ids: Sequence[str], level: Callable[[_Table, str, int], float], table: _Table, original: _Table
) -> dict[str, dict[int, float]]:
    """Sample → layer → nats by which a model is below θ0."""
    return {
        one: {layer: level(original, one, layer) - level(table, one, layer) for layer in original[one, TRAINED]}
        for one in ids
    }

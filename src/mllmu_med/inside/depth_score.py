"""Unlearning depth score (UDS) by activation patching (Lee, Kim & Jo 2026, arXiv 2605.24614, eqs. 1-6).

States of a source model are put into a target model, layer by layer, at the positions that predict the telling tokens
of the trained answer (the paper's entity span; teacher forcing); everything else of the target stays. What is measured
is the target's mean log-probability s of these tokens, without (s) and with (s←source, l) the patch. With target θ0::

    Δ_l(θ)  = s_θ0 − s_θ0←θ,l                              what θ's layer l lacks                       (eqs. 1, 3)
    KE      = { l : Δ_l(θ*) > τ },  τ = 0.05 nats           layers at which the oracle lacks it          (eq. 2)
    LER_l   = clip(Δ_l(θ) / Δ_l(θ*), 0, 1)                  how much of that θ lacks as well             (eq. 4)
    UDS     = Σ_KE Δ_l(θ*) · LER_l / Σ_KE Δ_l(θ*)           one sample; the score is the mean over samples (eqs. 5, 6)

0…1, higher = gone at every depth as in the oracle; θ0 scores 0 and the oracle 1 by construction. Samples without such
a layer are left out and counted.

Two kinds of model mislead the score, and two of ours stand beside it, of the same range, direction and fixed points.

- A model that never learnt the fact but is less sure of itself than the oracle seems to hold some of it, because
  likelihoods are compared. ``contrast`` takes c = s(trained answer) − s(other answer) in place of s
  (:mod:`~mllmu_med.inside.telling`). A contrast has no sign of its own where nothing is known, so drops and gaps are
  averaged over the samples before they are divided and clipped.
- A model whose states are merely broken scores high, because θ0 cannot go on from rubbish. ``reverse`` puts the same
  states into θ*, which does not know the fact and can only say it if the states carry it::

    G_l(θ)  = s_θ*←θ,l − s_θ*                               what θ's layer l brings into the oracle
    reverse = 1 − Σ G_l(θ0) · clip(G_l(θ) / G_l(θ0), 0, 1) / Σ G_l(θ0)     over { l : G_l(θ0) > τ }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isnan
from typing import NamedTuple, TypedDict

import torch

from mllmu_med.benchmark.sample import Sample
from mllmu_med.errors import DataError
from mllmu_med.evaluation.rows import ORACLE_ROW as ORACLE
from mllmu_med.evaluation.rows import ORIGINAL_ROW as ORIGINAL
from mllmu_med.inside.means import ClusterMeans, Mean, with_interval
from mllmu_med.inside.states import Chunk, TokenStates, chunks, evaluating, replaced
from mllmu_med.inside.telling import FORGET, OTHER, TRAINED, Told
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.progress import bar

GAP = 0.05
"""τ: nats per token by which the two reference models must differ at a layer, for a share of it to mean something."""


@dataclass(frozen=True, slots=True)
class Patched:
    """A target model's mean log-probability (nats) of an answer's telling tokens, without and with one layer patched.

    ``which`` of the sample's answers: the ``trained`` or the ``other`` one.
    """

    sample_id: str
    which: str
    target: str
    layer: int
    plain: float
    patched: float


def patched_logprobs(
    vlm: VisionLanguageModel, target: str, asked: Sequence[Told], states: TokenStates, batch: int
) -> list[Patched]:
    """Patch another model's states into ``vlm``, one forward pass for each (batch, layer), all samples of it at once.

    Args:
        vlm: the target.
        target: its name.
        asked: whose telling tokens' states are put in.
        states: the source's, in the order of ``asked``.
        batch: questions a forward pass; changes no number.

    Raises:
        DataError: the states are of a model with other layers, sizes or tokens.
    """
    layers = anatomy(vlm.model).layers
    if len(states.layers) != len(layers):
        raise DataError(f"states of {len(states.layers)} layers cannot be put into '{target}', which has {len(layers)}")
    found = []
    with evaluating(vlm), bar(f"patch into {target}", len(asked)) as progress:
        for chunk in chunks(vlm, [one.question for one in asked], batch):
            chosen = chunk.layout.weight > 0
            row, column = chunk.layout.row[chosen], chunk.layout.column[chosen]
            if not torch.equal(chunk.layout.target[chosen], states.targets(chunk.order)):
                raise DataError(f"'{target}' cuts the answers into other tokens than the model the states are of")
            plain = _scored(vlm, chunk)
            for number, layer in enumerate(layers):
                with replaced(layer, row, column, states.of(number, chunk.order)):
                    patched = _scored(vlm, chunk)
                found += [
                    Patched(asked[index].sample_id, asked[index].which, target, number, before, after)
                    for index, before, after in zip(chunk.order, plain, patched, strict=True)
                ]
            progress.advance(len(chunk.order))
    return sorted(found, key=lambda one: (one.sample_id, one.which, one.layer))


def _scored(vlm: VisionLanguageModel, chunk: Chunk) -> list[float]:
    """Mean log-probability of each branch's telling tokens, by one forward pass."""
    layout = chunk.layout
    chosen = layout.weight > 0
    hidden, _ = vlm.run(chunk.rows, layout)
    logits = vlm.network.logits(hidden[chosen.to(hidden.device)])
    logprob = logits.log_softmax(-1).gather(-1, layout.target[chosen].to(logits.device)[:, None])[:, 0]
    owner = layout.owner[chosen]
    total = torch.zeros(layout.branches, dtype=torch.float64).index_add(0, owner, logprob.double().cpu())
    mean: list[float] = (total / owner.bincount(minlength=layout.branches)).tolist()
    return mean


class Erased(NamedTuple):
    """How much of a gap between two reference models is gone in a model, of one sample.

    ``value``: 0…1, over all layers that count; ``layers``: layer → (gap in nats, share of it that is gone).
    """

    value: float
    layers: dict[int, tuple[float, float]]


def erased(drops: Mapping[int, float], gaps: Mapping[int, float], threshold: float = GAP) -> Erased | None:
    """Eqs. 2, 4 and 5: the mean over layers of clip(drop / gap, 0, 1), weighted with the gap.

    Args:
        drops: layer → nats by which the model is below the one that knows.
        gaps: layer → nats by which the model that does not know is below it.
        threshold: layers with gaps up to it do not count.

    Returns:
        None where no layer counts, or the model's own numbers are not numbers.
    """
    counted = {layer: gap for layer, gap in sorted(gaps.items()) if gap > threshold}
    if not counted or any(isnan(drops[layer]) for layer in counted):
        return None
    layers = {layer: (gap, min(1.0, max(0.0, drops[layer] / gap))) for layer, gap in counted.items()}
    weight = fsum(gap for gap, _ in layers.values())
    return Erased(fsum(gap * share for gap, share in layers.values()) / weight, layers)


class ShareLayer(TypedDict):
    """One layer: mean gap (nats) and mean share that is gone (0…1) over the samples for which the layer counts."""

    layer: int
    gap: float
    erased: float
    samples: int


class Share(TypedDict):
    """The mean over samples (0…1, higher = more is gone), of how many of them, and where in the model."""

    mean: Mean
    scored: int
    of: int
    layers: list[ShareLayer]


def mean_share(by_sample: Mapping[str, Erased | None], means: ClusterMeans) -> Share | None:
    """Eq. 6: samples for which no layer counts are left out; None if that is all of them."""
    scored = {one: value for one, value in by_sample.items() if value is not None}
    if not scored:
        return None
    layers: list[ShareLayer] = []
    for layer in sorted({layer for one in scored.values() for layer in one.layers}):
        here = [one.layers[layer] for one in scored.values() if layer in one.layers]
        gap, share = (fsum(column) / len(here) for column in zip(*here, strict=True))
        layers.append({"layer": layer, "gap": gap, "erased": share, "samples": len(here)})
    mean = means.of({one: value.value for one, value in scored.items()})
    return {"mean": mean, "scored": len(scored), "of": len(by_sample), "layers": layers}


def pooled_share(
    drops: Mapping[str, Mapping[int, float]], gaps: Mapping[str, Mapping[int, float]], means: ClusterMeans
) -> Share | None:
    """As :func:`erased`, of drops and gaps averaged over all samples; None where no layer's mean gap counts."""
    import numpy as np

    if not drops:
        return None
    numbers = sorted(next(iter(drops.values())))
    drop, gap = (
        np.stack([means.draws({one: of_one[layer] for one, of_one in table.items()}) for layer in numbers], axis=1)
        for table in (drops, {one: gaps[one] for one in drops})
    )
    counted = gap > GAP
    if not counted[0].any():
        return None
    weight = np.where(counted, gap, 0.0)
    share = np.clip(drop / np.where(counted, gap, 1.0), 0.0, 1.0)
    total = weight.sum(1)
    draws = np.divide((weight * share).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)
    layers: list[ShareLayer] = [
        {"layer": layer, "gap": float(gap[0, place]), "erased": float(share[0, place]), "samples": len(drops)}
        for place, layer in enumerate(numbers)
        if counted[0, place]
    ]
    return {"mean": with_interval(draws), "scored": len(drops), "of": len(drops), "layers": layers}


class Depth(TypedDict):
    """The scores of one subset's samples; None where nothing could be measured."""

    uds: Share | None
    contrast: Share | None
    reverse: Share | None


def sample_depths(
    own: Sequence[Patched], original: Sequence[Patched], oracle: Sequence[Patched]
) -> tuple[dict[str, Erased | None], dict[str, Erased | None]]:
    """UDS and its reverse by sample; None where no layer counts.

    Args:
        own, original, oracle: what came out when the states of the model, of θ0 and of the oracle were put into θ0
            (target ``theta0``) and into the oracle (target ``oracle``).
    """
    lacking, known = _trained(_drops(oracle, ORIGINAL)), _trained(_drops(original, ORACLE))
    uds = {one: erased(drops, lacking[one]) for one, drops in _trained(_drops(own, ORIGINAL)).items()}
    reverse = {
        # Gains are negative drops: G(θ0) − G(θ) = drop(θ) − drop(θ0).
        one: erased(
            {layer: drop - known[one][layer] for layer, drop in drops.items()},
            {layer: -drop for layer, drop in known[one].items()},
        )
        for one, drops in _trained(_drops(own, ORACLE)).items()
    }
    return uds, reverse


def depth_results(
    samples: Sequence[Sample],
    own: Sequence[Patched],
    original: Sequence[Patched],
    oracle: Sequence[Patched],
    means: ClusterMeans,
) -> dict[str, Depth]:
    """The scores of one model by forget subset; a pure function of what patching gave, whose order is free."""
    uds, reverse = sample_depths(own, original, oracle)
    drops, gaps = _contrasts(_drops(own, ORIGINAL)), _contrasts(_drops(oracle, ORIGINAL))
    found: dict[str, Depth] = {}
    for subset in FORGET:
        ids = [sample.id for sample in samples if sample.subset == subset and sample.id in uds]
        if ids:
            found[subset.value] = {
                "uds": mean_share({one: uds[one] for one in ids}, means),
                "contrast": pooled_share({one: drops[one] for one in ids if one in drops}, gaps, means),
                "reverse": mean_share({one: reverse[one] for one in ids}, means),
            }
    return found


_Drops = dict[int, float]


def _drops(patched: Sequence[Patched], target: str) -> dict[tuple[str, str], _Drops]:
    """(sample, which answer) → layer → nats that the target lost by the patch."""
    found: dict[tuple[str, str], _Drops] = {}
    for one in patched:
        if one.target == target:
            found.setdefault((one.sample_id, one.which), {})[one.layer] = one.plain - one.patched
    return found


def _trained(drops: Mapping[tuple[str, str], _Drops]) -> dict[str, _Drops]:
    return {one: of_one for (one, which), of_one in drops.items() if which == TRAINED}


def _contrasts(drops: Mapping[tuple[str, str], _Drops]) -> dict[str, _Drops]:
    """Sample → layer → nats of its contrast that the target lost."""
    return {
        one: {layer: drop - drops[one, OTHER][layer] for layer, drop in of_one.items()}
        for (one, which), of_one in drops.items()
        if which == TRAINED and (one, OTHER) in drops
    }

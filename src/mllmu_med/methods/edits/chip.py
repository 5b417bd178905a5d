"""Hierarchy-informed projection: the directions that tell what is forgotten from its siblings leave the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mllmu_med.errors import UsageError
from mllmu_med.methods.depth import layers_between
from mllmu_med.methods.edits.interface import Desk, Edit
from mllmu_med.methods.interface import Family, Needs

MODULE = "down_proj"


class Means(NamedTuple):
    """Means [out] over the answer tokens of a group: ``plain`` of the activations, ``absolute`` of their sizes."""

    plain: Tensor
    absolute: Tensor


def token_means(recorded: Iterable[Mapping[int, Tensor]]) -> dict[int, Means]:
    """Layer → means over all tokens [T, out] recorded, in double precision."""
    sums: dict[int, Means] = {}
    counts: Counter[int] = Counter()
    for chunk in recorded:
        for layer, values in chunk.items():
            own = Means(values.double().sum(0), values.double().abs().sum(0))
            if layer in sums:
                own = Means(sums[layer].plain + own.plain, sums[layer].absolute + own.absolute)
            sums[layer] = own
            counts[layer] += len(values)
    return {layer: Means(held.plain / counts[layer], held.absolute / counts[layer]) for layer, held in sums.items()}


def selected_rows(scores: Tensor, share: float) -> Tensor:
    """Indices, ascending, of the ``share`` of the neurons [out] with the highest scores; at least one."""
    count = max(1, int(share * len(scores)))
    return scores.topk(count).indices.sort().values


def sibling_basis(gaps: Tensor, energy: float) -> Tensor:
    """Q [n, r], orthonormal columns, of the directions [nodes, n] in which targets differ from their siblings.

    Each direction counts alike (unit length; those of length 0 are left out). r is the smallest number of leading
    singular directions whose squared singular values make up ``energy`` of the sum; 0 if there is no direction.
    """
    lengths = gaps.norm(dim=1, keepdim=True)
    directions = gaps[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    if not len(directions):
        return gaps.new_zeros(gaps.shape[1], 0)
    _, values, right = torch.linalg.svd(directions, full_matrices=False)
    power = values.square().cumsum(0)
    rank = int((power < energy * power[-1]).sum()) + 1
    basis: Tensor = right[: min(rank, len(values))].T
    return basis


@torch.no_grad()
def project_rows(weight: Tensor, rows: Tensor, basis: Tensor) -> None:
    """W[S] ← (I − QQᵀ) W[S] in place, S = ``rows``; no other row is touched.

    Args:
        weight: [out, in].
        rows: [n] indices of rows.
        basis: Q [n, r], orthonormal columns.
    """
    if basis.shape[1]:
        own = weight[rows].to(basis.dtype)
        weight[rows] = (own - basis @ (basis.T @ own)).to(weight.dtype)


@dataclass(frozen=True)
class CHIP(Edit):
    """Cross-modal hierarchy-informed projection (Wu et al. 2025, arXiv 2512.09867, MedForget).

    W[S] ← (I − QQᵀ) W[S] in ``down_proj``, for the decoder layers from ``depth`` on. Training-free; per layer, with a =
    outputs of ``down_proj`` at answer positions:

    1. S: the ``share`` of the output neurons with the highest mean over nodes of mean |a_target| − mean |a_siblings|;
    2. per node (a patient or a wrong fact) the direction mean a_target − mean a_siblings on S, at unit length;
    3. Q: singular directions of all of them, up to ``energy`` of their squared singular values.

    Siblings are the retained records that share the longest path of the hierarchy with a node. S is chosen once for all
    nodes, as in the authors' code, so that at most ``share`` of the rows change however many nodes there are. The
    authors mix image and text positions of whole sequences (0.3 : 0.7) and edit gate, up and down projections; here it
    is the answer positions and ``down_proj``. Known weakness: with more nodes than neurons in S the directions span all
    of it, and what is left of these rows is close to nothing; siblings are not protected then.
    """

    label: ClassVar = "CHIP"
    family: ClassVar = Family.EDIT
    source: ClassVar = "arXiv 2512.09867"
    summary: ClassVar = "project out of some MLP rows what tells forgotten nodes from their siblings"
    needs: ClassVar = Needs.RETAIN | Needs.HIERARCHY
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "share": (0.05, 0.1, 0.2, 0.5), "depth": (0.0, 0.5, 0.75), "energy": (0.8, 0.95),
    }  # fmt: skip
    share: float = 0.1
    energy: float = 0.95
    depth: float = 0.75

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), ("energy", self.energy)):
            if not 0 < value <= 1:
                raise UsageError(f"chip: {name}={value} is no share; it must be above 0 and at most 1")

    def edit(self, desk: Desk) -> Mapping[str, float]:
        """Means of every node and its siblings from one pass each, then one projection a layer.

        Returns:
            nodes, layers, rows and directions changed (sums over layers), ``siblings_LEVEL``: nodes by the level of
            their siblings (``siblings_kind`` and ``siblings_retain``: none shares a place with them).
        """
        layers = layers_between(self.depth, 1.0, desk.facts.layers, most=desk.facts.layers)
        nodes = desk.nodes()
        held: dict[str, dict[int, Means]] = {}
        scores: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        gaps: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        for node, (group, _) in nodes.items():
            if group not in held:  # nodes side by side have the same siblings
                held[group] = token_means(desk.outputs(group, MODULE, layers))
            for layer, target in token_means(desk.outputs(node, MODULE, layers)).items():
                beside = held[group][layer]
                scores[layer].append(target.absolute - beside.absolute)
                gaps[layer].append(target.plain - beside.plain)
        changed, directions, weights = 0, 0, 0
        for layer in layers:
            rows = selected_rows(torch.stack(scores[layer]).mean(0), self.share)
            basis = sibling_basis(torch.stack(gaps[layer])[:, rows], self.energy)
            weight = desk.weight(MODULE, layer)
            project_rows(weight, rows, basis)
            if basis.shape[1]:
                changed, weights = changed + len(rows), weights + len(rows) * weight.shape[1]
            directions += basis.shape[1]
        levels = Counter(level for _, level in nodes.values())
        return {
            "nodes": len(nodes), "layers": len(layers), "rows": changed, "directions": directions,
            **{f"siblings_{level}": count for level, count in sorted(levels.items())}, "weights_changed": weights,
        }  # fmt: skip

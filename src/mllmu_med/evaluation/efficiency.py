"""What a training run costs, counted: tokens and floating-point operations. Seconds and memory are measured instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the model with what goes through it, e.g. vision tower, projector, decoder layers, output head.

    Attributes:
        parameters: weights of its matrix multiplications, adapters included; embeddings that are looked up are none.
        trained: those of them that train.
        tokens: how many go through it in the whole run: patches in a vision tower, answer tokens in the head. What is
            taken from a cache does not go through.
        layers: layers with self-attention; 0 leaves the attention term out.
        width: heads times head size of the queries (the hidden size, in most models).
        context: mean number of keys that a query is multiplied with: the row's length where the mask is dense, about
            half of it where a kernel skips what causality hides.
        backward: tokens that backward passes go through, all passes together; None = each token once, if there is
            anything that trains here or before.
    """

    parameters: int
    trained: int
    tokens: int
    layers: int = 0
    width: int = 0
    context: float = 0.0
    backward: int | None = None

    @property
    def attention(self) -> float:
        """Operations of QKᵀ and of the weighted sum of the values, forward: 4 · layers · width · context · tokens."""
        return 4.0 * self.layers * self.width * self.context * self.tokens


def forward_flops(parts: Sequence[Part]) -> float:
    """Floating-point operations of forward passes: Σ 2 · parameters · tokens + attention.

    A multiplication and an addition for each weight and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and
    the attention term of Chowdhery et al. 2022 (arXiv 2204.02311, appendix B). Left out, some per cent: softmax, norms,
    activation functions, rotary embeddings, the loss, the optimiser.
    """
    return sum(2.0 * part.parameters * part.tokens + part.attention for part in parts)


def training_flops(parts: Sequence[Part], *, recomputed: bool = False) -> float:
    """Floating-point operations of training passes: forward, and backward as far as it goes.

    For each weight and token: 2 forward; 2 for the gradient of the activations, in every part that the backward pass
    reaches; 2 for the gradient of the weight, where it trains. The backward pass reaches a part if something in it or
    before it trains: nothing of a frozen vision tower in front of a trained decoder, all of a frozen decoder that holds
    adapters. Attention costs twice as much backward as forward. With everything trained and no attention this is the
    familiar 6 · parameters · tokens; with small adapters in all layers a little over 4.

    An upper estimate by one point: within the first part that trains, layers in front of the first trained weight are
    counted as reached. See :func:`forward_flops` for what is left out. Passes of a reference model are forward passes.

    Args:
        parts: in the order of the forward pass.
        recomputed: gradient checkpointing: the forward pass of the parts that the backward pass reaches is done twice.
    """
    total, reached = forward_flops(parts), False
    for part in parts:
        reached = reached or part.trained > 0
        passes = float(reached) if part.backward is None else part.backward / max(1, part.tokens)
        total += passes * (2.0 * (part.parameters + part.trained) * part.tokens + 2 * part.attention)
        total += passes * forward_flops([part]) if recomputed else 0.0
    return total

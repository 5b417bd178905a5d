"""The linear layers of the language model's decoder, with other weights for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mllmu_med.errors import UsageError
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.groups import group_of, has_adapter, plain_name
from mllmu_med.models.quantised import QuantisedLinear
from mllmu_med.models.vlm import VisionLanguageModel


def decoder_linears(vlm: VisionLanguageModel) -> list[tuple[str, nn.Linear]]:
    """Name (within the decoder's layers) and module of every linear layer that holds weights of the decoder.

    Plain and quantised ones, those under adapters too; neither the adapters' own factors nor head and embeddings.

    Raises:
        UsageError: there are none.
    """
    found = [
        (name, module)
        for name, module in anatomy(vlm.model).layers.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    ]
    if not found:
        raise UsageError(f"{type(vlm.model).__name__}: its decoder has no linear layers whose weights could be changed")
    return found


def merge_in_place(vlm: VisionLanguageModel) -> None:
    """Fold the language model's adapters on plain weights into these, as the model would be used.

    Those on quantised weights stay apart. The adapters stay where they are and add nothing any more; whoever calls this
    gives the weights back afterwards.
    """
    if not has_adapter(vlm) or vlm.quantised:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in vlm.model.named_modules():
        if isinstance(module, BaseTunerLayer) and group_of(plain_name(name)) == "language":
            module.merge()


@contextmanager
def changed_linears(vlm: VisionLanguageModel, change: Callable[[nn.Linear], Tensor | None]) -> Iterator[None]:
    """A block in which the decoder's linear layers compute with other weights.

    The earlier weights are kept by reference and stand in their places again behind the block. A quantised layer's
    place is taken by a plain one in the precision of the layer that was quantised.

    Args:
        change: layer → weights [out, in] (rounded to the layer's precision), or None for those it has.

    Raises:
        UsageError: a layer's weights cannot be changed this way (``change`` raised ValueError); the layer is named.
    """
    layers = anatomy(vlm.model).layers
    plain: list[tuple[nn.Linear, Tensor]] = []
    exchanged: list[tuple[nn.Module, str, nn.Linear]] = []
    try:
        for name, linear in decoder_linears(vlm):
            try:
                with torch.no_grad():
                    values = change(linear)
            except ValueError as error:
                raise UsageError(f"decoder layer {name}: {error}") from None
            if values is None:
                continue
            if isinstance(linear, QuantisedLinear):
                parent, _, last = name.rpartition(".")
                exchanged.append((layers.get_submodule(parent), last, linear))
                setattr(layers.get_submodule(parent), last, _plain(linear, values))
            else:
                plain.append((linear, linear.weight.data))
                linear.weight.data = values.to(linear.weight.dtype)
        yield
    finally:
        for linear, before in plain:
            linear.weight.data = before
        for module, last, held in exchanged:
            setattr(module, last, held)


def _plain(held: QuantisedLinear, values: Tensor) -> nn.Linear:
    linear = nn.Linear(held.in_features, held.out_features, bias=False, device="meta")
    linear.weight = nn.Parameter(values.to(held.dtype), requires_grad=False)
    linear.bias = held.bias
    return linear.train(held.training)

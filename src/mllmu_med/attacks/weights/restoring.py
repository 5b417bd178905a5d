"""A loaded model that is bit for bit itself again, whatever was done to it in between."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from mllmu_med.errors import MedError, UsageError
from mllmu_med.models.groups import GROUPS, group_of, plain_name
from mllmu_med.models.vlm import VisionLanguageModel
from mllmu_med.training.interrupts import graceful_stop


class _Held(NamedTuple):
    """A parameter or buffer as it was; ``copy`` is None where it is only watched."""

    name: str
    tensor: Tensor
    copy: Tensor | None
    requires_grad: bool
    grad: Tensor | None
    storage: int
    version: int


class _Shell(NamedTuple):
    """A module without its tensors' values: class, attributes, and the entries of its containers."""

    module: nn.Module
    kind: type[nn.Module]
    attributes: dict[str, tuple[Any, Any]]


@contextmanager
def restored(vlm: VisionLanguageModel, groups: Collection[str] = GROUPS) -> Iterator[int]:
    """A block after which the model is what it was before, also where it ends with an error or Ctrl-C.

    Given back are the values of parameters and buffers with their precision, the modules themselves (adapters that were
    added, layers that were exchanged), gradients and what takes them, training mode, hooks, and what the adapter around
    the model remembers. One copy is made of the tensors of ``groups``, in main memory: as many bytes as these have,
    which is what the block is given. Cached image features stay valid, and stay, where ``groups`` is the language model
    alone; otherwise none are cached within the block and the earlier ones are back behind it.

    Args:
        groups: module groups (vision, projector, language) that the block may change. Tensors of no known group count
            as changeable.

    Raises:
        MedError: the block changed a tensor of another group, of which there is no copy. A write through ``.data`` is
            not counted by torch and goes unnoticed there.
    """
    model = vlm.model
    held = [_hold(name, tensor, groups) for name, tensor in _tensors(model)]
    for one in held:
        one.tensor.grad = None  # a backward pass would add to what is there
    shells = [_shell(module) for module in vlm.network.modules()]
    around = dict(vars(vlm))
    if set(groups) & {"vision", "projector"}:
        vlm.cache_features(False)
    try:
        yield sum(one.copy.nbytes for one in held if one.copy is not None)
        changed = [one.name for one in held if one.copy is None and _moved(one)]
        if changed:
            raise MedError(f"an attack changed {changed[0]}, which it says it does not touch; load the model again")
    finally:
        with graceful_stop() as stop:  # half a model would be worse than a late answer to Ctrl-C
            _give_back(vlm, held, shells, around)
        if stop.requested:
            raise KeyboardInterrupt


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers by name, tied ones once."""
    return [*model.named_parameters(), *model.named_buffers()]


def _hold(name: str, tensor: Tensor, groups: Collection[str]) -> _Held:
    copy = tensor.detach().to("cpu", copy=True) if _may_change(name, groups) else None
    return _Held(name, tensor, copy, tensor.requires_grad, tensor.grad, tensor.data_ptr(), tensor._version)


def _may_change(name: str, groups: Collection[str]) -> bool:
    try:
        return group_of(plain_name(name)) in groups
    except UsageError:
        return True


def _moved(one: _Held) -> bool:
    """Whether a tensor has another storage or was written to in place."""
    return one.tensor.data_ptr() != one.storage or one.tensor._version != one.version


def _shell(module: nn.Module) -> _Shell:
    return _Shell(module, type(module), {key: (value, _entries(value)) for key, value in vars(module).items()})


def _entries(value: Any) -> Any:
    """A copy of a container, one level deep; None for everything else."""
    return value.copy() if isinstance(value, dict | list | set) else None


def _give_back(
    vlm: VisionLanguageModel, held: list[_Held], shells: list[_Shell], around: dict[str, Any]
) -> None:  # fmt: skip
    for module, kind, attributes in shells:
        module.__class__ = kind  # torch's parametrisations exchange it
        own = vars(module)
        for key in [key for key in own if key not in attributes]:
            del own[key]
        for key, (value, entries) in attributes.items():
            if isinstance(value, list):
                value[:] = entries
            elif entries is not None:  # in place: handles of hooks know their container by reference
                value.clear()
                value.update(entries)
            own[key] = value
    for one in held:
        one.tensor.grad = None
        if one.copy is not None:
            one.tensor.data = one.copy.to(one.tensor.device)
        if one.tensor.requires_grad != one.requires_grad:
            one.tensor.requires_grad_(one.requires_grad)
        one.tensor.grad = one.grad
    vars(vlm).clear()
    vars(vlm).update(around)

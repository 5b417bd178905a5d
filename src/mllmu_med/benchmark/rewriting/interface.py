"""The rewriter: from tasks to texts. What it returns is checked by others, so that no rewriter need be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mllmu_med.benchmark.rewriting.tasks import Task
from mllmu_med.errors import UsageError
from mllmu_med.registry import Registry
from mllmu_med.seeding import Key

Keys = tuple[Key, ...]
"""Names of a task's randomness, for :func:`mllmu_med.seeding.rng`."""


class GaveUp(NamedTuple):
    """A rewriter's answer where it has none; ``reason`` is counted, so it names no value and has few forms."""

    reason: str


class Rewriter(Protocol):
    """Turns tasks into texts.

    Attributes:
        name: as registered.
    """

    name: str

    def rewrite(self, tasks: Sequence[Task], seed_keys: Sequence[Keys]) -> Sequence[str | GaveUp | None]:
        """One text per task, in the order of the tasks; None or :class:`GaveUp` where there is none.

        Args:
            seed_keys: one tuple per task. What is drawn depends on a task and its keys alone, not on its neighbours.

        Raises:
            UsageError, DataError: nothing can be rewritten at all (a key is refused, a model folder is incomplete).
        """
        ...


REWRITERS: Registry[Callable[..., Rewriter]] = Registry(
    "rewriter",
    {
        "template": "mllmu_med.benchmark.rewriting.template:TemplateRewriter",
        "openai": "mllmu_med.benchmark.rewriting.endpoint:EndpointRewriter",
        "local": "mllmu_med.benchmark.rewriting.local:LocalRewriter",
    },
)
_NEVER_SENDS = ("template", "local")
_BLOCK = "benchmark.rewriter"


def make_rewriter(spec: str | Mapping[str, Any], *, real_values: bool = False) -> Rewriter:
    """The rewriter a recipe names: ``template``, or ``{name: openai, url: …, model: …}``.

    Args:
        real_values: the private values to be rewritten belong to real people. A rewriter that could send them to
            another machine is then refused; one that takes an argument ``real_values`` is told and refuses for itself.

    Raises:
        UsageError: an unknown name or argument (the nearest known one is proposed), one that is missing, or a rewriter
            that must not see real values.
    """
    from mllmu_med.recipe.arguments import check_arguments, parameters_of

    given: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{_BLOCK} has no name; write a name or a block with one, known: {', '.join(REWRITERS)}")
    try:
        target = REWRITERS.get(name)
    except UsageError as error:
        raise UsageError(f"{_BLOCK}: {error}") from None
    if real_values and "real_values" in parameters_of(target):
        given["real_values"] = True
    elif real_values and name not in _NEVER_SENDS:
        raise UsageError(
            f"{_BLOCK}: '{name}' does not say that it keeps real private values on this machine (it takes no argument "
            "real_values); use template or local"
        )
    return target(**check_arguments(target, given, block=_BLOCK, what=f"rewriter '{name}'"))

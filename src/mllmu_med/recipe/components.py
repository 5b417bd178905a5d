"""From a checked recipe to the objects it names: source, plan, methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mllmu_med.errors import UsageError
from mllmu_med.recipe.arguments import check_arguments, parameters_of
from mllmu_med.recipe.settings import MethodSettings, Recipe
from mllmu_med.registry import did_you_mean

if TYPE_CHECKING:
    from mllmu_med.benchmark.plan import BenchmarkPlan
    from mllmu_med.methods.interface import Method
    from mllmu_med.sources import Source


def check_components(recipe: Recipe, where: str) -> None:
    """Check source, benchmark and methods against the code they name; nothing of theirs is run."""
    try:
        source_arguments(recipe)
        benchmark_plan(recipe)
        for method in recipe.methods:
            check_method(method)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def source_class(recipe: Recipe) -> Callable[..., Source]:
    """What makes the recipe's source."""
    from mllmu_med.sources import SOURCES

    return SOURCES.get(recipe.source.name)


def source_arguments(recipe: Recipe) -> dict[str, Any]:
    """The checked keyword arguments of the recipe's source; a ``seed`` that is not given is the recipe's."""
    target = source_class(recipe)
    given = recipe.source.arguments
    if "seed" in parameters_of(target):
        given = {"seed": recipe.seed, **given}
    return check_arguments(target, given, block="source", what=f"source '{recipe.source.name}'")


def make_source(recipe: Recipe) -> Source:
    """The source, ready to be read."""
    return source_class(recipe)(**source_arguments(recipe))


def benchmark_plan(recipe: Recipe) -> BenchmarkPlan:
    """What is injected and how it is split, as the builder takes it."""
    from mllmu_med.benchmark.plan import BenchmarkPlan

    given = check_arguments(BenchmarkPlan, recipe.benchmark, block="benchmark", what="the benchmark")
    return BenchmarkPlan(**given)


def check_method(method: MethodSettings) -> dict[str, Any]:
    """The checked parameters of a method; its module is only imported where there are any."""
    from mllmu_med.methods import METHODS

    if method.name not in METHODS.names():
        known = METHODS.names()
        meant = did_you_mean(method.name, known)
        raise UsageError(f"methods: unknown method '{method.name}'{meant}; known: {', '.join(known)}")
    block = f"methods.{method.row}"
    if "retain_weight" in method.parameters:
        raise UsageError(f"{block}.parameters.retain_weight: write it as {block}.retain_weight, every method has it")
    if not method.parameters:
        return {}
    target: Any = METHODS.get(method.name)
    return check_arguments(target, method.parameters, block=f"{block}.parameters", what=f"method '{method.name}'")


def make_method(method: MethodSettings) -> Method:
    """The objective with its numbers; λ goes to the methods that have a retain term."""
    from mllmu_med.methods import METHODS

    target: Any = METHODS.get(method.name)
    given = check_method(method)
    if "retain_weight" in parameters_of(target):
        given["retain_weight"] = method.retain_weight
    made: Method = target(**given)
    return made

"""From a checked recipe to the objects it names: source, plan, methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mllmu_med.errors import UsageError
from mllmu_med.recipe.arguments import check_arguments, parameters_of
from mllmu_med.recipe.settings import MethodSettings, Recipe
from mllmu_med.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from mllmu_med.benchmark.plan import BenchmarkPlan
    from mllmu_med.methods.composition import Method
    from mllmu_med.sources import Source


def check_components(recipe: Recipe, where: str) -> None:
    """Check source, benchmark and methods against the code they name; nothing of theirs is run."""
    try:
        source_arguments(recipe)
        benchmark_plan(recipe)
        for method in recipe.methods:
            check_method(method)
        attack_arguments(recipe)
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


def check_method(method: MethodSettings) -> dict[str, dict[str, Any]]:
    """The checked parameters of a method and of its add-ons, by part; modules are imported only where there are any."""
    from mllmu_med.methods.naming import parameters_by_part

    block = f"methods.{method.row}"
    if "retain_weight" in method.parameters:
        raise UsageError(f"{block}.parameters.retain_weight: write it as {block}.retain_weight, every method has it")
    registries = _registries(method.name)
    given = parameters_by_part(method.name, method.parameters)
    checked = {}
    for (part, values), registry in zip(given.items(), registries, strict=True):
        what = f"{registry.kind} '{part}'"
        target: Any = registry.get(part) if values else dict
        checked[part] = check_arguments(target, values, block=f"{block}.parameters", what=what) if values else {}
    return checked


def _registries(name: str) -> list[Registry[Any]]:
    """Where each part of a method's name is looked up: the method, then its add-ons.

    Raises:
        UsageError: a part is unknown; the message proposes the nearest one.
    """
    from mllmu_med.methods import ADDONS, METHODS
    from mllmu_med.methods.naming import split_name

    first, rest = split_name(name)
    found: list[Registry[Any]] = []
    for part, registry in ((first, METHODS), *((addon, ADDONS) for addon in rest)):
        known = registry.names()
        if part not in known:
            meant = did_you_mean(part, known)
            raise UsageError(f"methods: unknown {registry.kind} '{part}'{meant}; known: {', '.join(known)}")
        found.append(registry)
    if len({*rest}) < len(rest):
        raise UsageError(f"methods: {name} names an add-on twice")
    return found


def make_method(method: MethodSettings) -> Method:
    """The method with its numbers; λ, where the recipe gives it, goes to the methods that have a retain term.

    Raises:
        UsageError: add-ons for something that is no objective.
    """
    from mllmu_med.methods.composition import Composite
    from mllmu_med.methods.interface import Objective

    given = list(check_method(method).values())
    makers: list[Any] = [
        registry.get(part) for registry, part in zip(_registries(method.name), method.name.split("+"), strict=True)
    ]
    if method.retain_weight is not None and "retain_weight" in parameters_of(makers[0]):
        given[0]["retain_weight"] = method.retain_weight
    made, *addons = [make(**values) for make, values in zip(makers, given, strict=True)]
    if not isinstance(made, Objective):
        if addons:
            raise UsageError(f"methods.{method.row}: {made.label} is no objective, add-ons do not apply to it")
        result: Method = made
        return result
    return Composite(made, tuple(addons))


def attack_arguments(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Attack → its checked parameters, in the order they are carried out. Nothing is imported where none is named.

    Raises:
        UsageError: an attack is unknown, named twice, or needs no carrying out.
    """
    if recipe.attack.attacks == ():
        return {}
    from mllmu_med.attacks import ATTACKS, MEMBERSHIP

    known = [name for name in ATTACKS.names() if name not in MEMBERSHIP]
    if recipe.attack.attacks == "all":
        return {name: {} for name in known}
    checked: dict[str, dict[str, Any]] = {}
    for choice in recipe.attack.attacks:
        if choice.name in MEMBERSHIP:
            raise UsageError(f"attack.attacks: '{choice.name}' is read off every evaluation and need not be named")
        if choice.name not in known:
            meant = did_you_mean(choice.name, known)
            raise UsageError(f"attack.attacks: unknown attack '{choice.name}'{meant}; known: {', '.join(known)}")
        if choice.name in checked:
            raise UsageError(f"attack.attacks: '{choice.name}' is named twice")
        what = f"attack '{choice.name}'"
        target: Any = ATTACKS.get(choice.name)
        checked[choice.name] = check_arguments(target, choice.parameters, block=f"attack.{choice.name}", what=what)
    return checked


def make_attacks(recipe: Recipe) -> dict[str, Any]:
    """The attacks of a recipe with their numbers, by name."""
    from mllmu_med.attacks import ATTACKS

    return {name: ATTACKS.get(name)(**given) for name, given in attack_arguments(recipe).items()}

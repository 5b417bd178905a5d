"""Keyword arguments written in a recipe, checked against the signature of what they are for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from mllmu_med.errors import UsageError
from mllmu_med.recipe.messages import shorten
from mllmu_med.registry import did_you_mean


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword arguments ``target`` accepts, by name. Those that begin with ``_`` are not for recipes."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(target).parameters
    return {name: value for name, value in found.items() if value.kind in kinds and not name.startswith("_")}


def check_arguments(target: Callable[..., Any], given: Mapping[str, Any], *, block: str, what: str) -> dict[str, Any]:
    """Values converted to the annotated types, ready for ``target(**values)``. ``target`` itself is not called.

    Args:
        block: path of the recipe block that holds them, e.g. ``source``.
        what: what they are for, e.g. ``source 'slake'``.

    Raises:
        UsageError: an unknown key (with the nearest known one), a missing one, or a value of the wrong type.
    """
    parameters = parameters_of(target)
    for key in given:
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise UsageError(
                f"{block}.{key}: {what} has no such key{did_you_mean(key, list(parameters))}; known: {known}"
            )
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise UsageError(f"{block}.{name} is needed by {what}: add {block}.{name}=… to the command or the recipe")
    types = types_of(target)
    return {key: _convert(f"{block}.{key}", value, types.get(key)) for key, value in given.items()}


def types_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a callable's arguments, resolved, by name."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # a plug-in's annotations may exist for type checkers only; its values then go through unchecked
        return {}


def _convert(key: str, value: Any, annotation: Any) -> Any:
    if annotation is None:
        return value
    if get_origin(annotation) in (tuple, list) and not isinstance(value, list | tuple):
        value = [value]  # one entry may be written without brackets
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticSchemaGenerationError, TypeError):
        return value
    try:
        value = adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{key}: {first['msg'].removeprefix('Input ')}, got {shorten(first['input'])}") from None
    if isinstance(value, str) and Path in get_args(annotation):
        value = Path(value)
    return value.expanduser() if isinstance(value, Path) else value

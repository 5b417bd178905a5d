"""Validation errors of a recipe as one line: path of the key, what is wrong, what was meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mllmu_med.registry import did_you_mean

_SHOWN = 3


def shorten(value: object, width: int = 60) -> str:
    """``repr(value)``, cut where it is long."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def dotted(location: Iterable[int | str]) -> str:
    """``("methods", 0, "steps")`` as ``methods.0.steps``, the way an override is written."""
    return ".".join(str(part) for part in location)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for an error of ``model``; at most three problems, the others are counted."""
    problems: list[Any] = error.errors(include_url=False)
    if any(problem["loc"][:1] == ("unlearn",) for problem in problems):
        # Methods inherit from unlearn: the same mistake would be told once per method.
        problems = [problem for problem in problems if problem["loc"][:1] != ("methods",)]
    lines = [_line(problem, model) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN} more")
    return "; ".join(lines)


def _line(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    location, kind = tuple(problem["loc"]), problem["type"]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        message = f"unknown key{did_you_mean(str(location[-1]), known)}; known: {', '.join(known)}"
    elif kind == "missing":
        message = "this key is missing"
    elif kind == "literal_error":
        options = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        message += f", got {shorten(problem['input'])}{did_you_mean(str(problem['input']), options)}"
    elif kind != "value_error":
        message += f", got {shorten(problem['input'])}"
    return f"{dotted(location)}: {message}" if location else message


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the block at ``location``; list positions are stepped over."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation: Any = model.model_fields[part].annotation
        candidates = (annotation, *get_args(annotation))
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)

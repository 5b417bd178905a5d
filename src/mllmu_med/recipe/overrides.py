"""Changes to a recipe given on the command line: ``a.b=c``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mllmu_med.errors import UsageError
from mllmu_med.recipe.yaml_text import parse_yaml
from mllmu_med.registry import did_you_mean


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set ``key.subkey=value`` in a recipe's raw mapping; the value is YAML, blocks that are absent are made.

    In a list a key is a position, or the name of one of its entries: ``methods.npo.steps=200``.

    Raises:
        UsageError: not of this form, or the path leads into a value that is no block.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"'{override}': an override is written key.subkey=value, e.g. model.lora.rank=8")
    value = parse_yaml(text, f"'{override}'")
    block: Any = raw
    for key in keys[:-1]:
        block = _enter(block, key, override)
    if isinstance(block, list):
        block[_position(block, keys[-1], override)] = value
    else:
        block[keys[-1]] = value


def _enter(block: Any, key: str, override: str) -> Any:
    if isinstance(block, list):
        position = _position(block, key, override)
        if isinstance(block[position], str):
            block[position] = {"name": block[position]}
        inner = block[position]
    else:
        inner = block.setdefault(key, {})
        if inner is None:  # a block written with nothing below it
            inner = block[key] = {}
    if not isinstance(inner, dict | list):
        raise UsageError(f"'{override}': '{key}' is a value, it has nothing below it")
    return inner


def _position(entries: list[Any], key: str, override: str) -> int:
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    names = [entry_name(entry) for entry in entries]
    if key in names:
        return names.index(key)
    raise UsageError(
        f"'{override}': no entry '{key}' in the list{did_you_mean(key, names)}; it has: {', '.join(names)}"
    )


def entry_name(entry: Any) -> str:
    """The name under which an entry of ``methods`` is known: its row, else its method."""
    if isinstance(entry, dict):
        return str(entry.get("row", entry.get("name", "")))
    return str(entry)


def select_methods(entries: Any, names: Sequence[str]) -> list[Any]:
    """The entries with these names, with all they set; a name that is not listed is taken as the plain method."""
    listed = {entry_name(entry): entry for entry in entries} if isinstance(entries, list) else {}
    return [listed.get(name, name) for name in names]

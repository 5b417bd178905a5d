"""What there is: recipes, sources, methods, attacks and runs, each as rows for a table or for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mllmu_med.errors import DataError
from mllmu_med.recipe.loading import shipped_recipes
from mllmu_med.recipe.yaml_text import parse_yaml
from mllmu_med.registry import Registry

Rows = list[dict[str, object]]


def recipes() -> Rows:
    """The recipes that come with the package."""
    rows: Rows = []
    for name, path in shipped_recipes().items():
        raw = parse_yaml(path.read_text(encoding="utf-8"), str(path))
        rows.append({"recipe": name, "title": raw.get("title", ""), "file": str(path)})
    return rows


def sources() -> Rows:
    """The sources, plug-ins included, with the keys each takes in a recipe."""
    from mllmu_med.recipe.arguments import parameters_of
    from mllmu_med.sources import SOURCES

    rows: Rows = []
    for name, component, summary in _described(SOURCES):
        keys = ", ".join(parameters_of(component)) if component else ""
        rows.append({"source": name, "what it reads": summary, "keys": keys})
    return rows


def methods() -> Rows:
    """The methods and, with a plus sign, the add-ons that compose with any objective; plug-ins included."""
    from mllmu_med.methods import ADDONS, METHODS

    rows: Rows = []
    for registry, sign in ((METHODS, ""), (ADDONS, "+")):
        for name, component, summary in _described(registry):
            rows.append(
                {
                    "method": sign + name,
                    "what it does": getattr(component, "summary", summary),
                    "family": str(getattr(component, "family", "")),
                    "source": getattr(component, "source", ""),
                    "needs": _names(getattr(component, "needs", ())),
                    "cost": str(getattr(component, "cost", "")),
                    "supports": _names(_supports(component)),
                }
            )
    return rows


def attacks() -> Rows:
    """The registered attacks, plug-ins included, and what each says of itself."""
    from mllmu_med.attacks import ATTACKS

    return [
        {
            "attack": name,
            "what it does": getattr(attack, "summary", summary),
            "threat model": str(getattr(attack, "threat", "")),
            "budget": str(getattr(attack, "budget", "")),
            "cost of a sample": getattr(attack, "cost", ""),
            "source": getattr(attack, "source", ""),
        }
        for name, attack, summary in _described(ATTACKS)
    ]


def _supports(component: Any) -> Iterable[Any]:
    """How the weights may be held: of an objective with the add-ons that are a part of it, of an add-on with any."""
    from mllmu_med.methods.addons.interface import GradientRule
    from mllmu_med.methods.composition import Composite
    from mllmu_med.methods.interface import Objective, Supports

    if not isinstance(component, type):
        return ()
    if issubclass(component, Objective):
        return Composite(component()).supports
    found: Supports = getattr(component, "supports", Supports(0))
    return found & ~Supports.FSDP2 if issubclass(component, GradientRule) else found


def _names(flags: Iterable[Any]) -> str:
    """Names of the members of a flag, in plain words."""
    return ", ".join(str(flag.name).lower().replace("_", " ") for flag in flags)


def _described(registry: Registry[Any]) -> list[tuple[str, Any, str]]:
    """Name, component and first line of its docstring; a plug-in that does not load says so instead."""
    rows = []
    for name in registry.names():
        try:
            component = registry.get(name)
        except (ImportError, AttributeError) as error:
            rows.append((name, None, f"cannot be loaded: {error}"))
        else:
            rows.append((name, component, (component.__doc__ or "").strip().partition("\n")[0]))
    return rows


def runs(below: Path = Path("runs")) -> Rows:
    """The runs in a folder, newest name last; unfinished ones too."""
    from mllmu_med.api import RESULTS, read_results

    rows: Rows = []
    for folder in sorted(path for path in below.glob("*") if path.is_dir() and not path.name.startswith(".")):
        row: dict[str, object] = {"run": folder.name, "status": "unfinished", "methods": "", "folder": str(folder)}
        if (folder / RESULTS).is_file():
            try:
                results = read_results(folder)
                row["methods"] = ", ".join(line["name"] for line in results["rows"] if line["role"] == "method")
                row["status"] = "finished"
            except (DataError, KeyError, TypeError) as error:
                row["status"] = f"unreadable results: {error}"
        rows.append(row)
    return rows

"""From a name or a file, and overrides, to a checked recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from mllmu_med.errors import UsageError
from mllmu_med.recipe.arguments import types_of
from mllmu_med.recipe.components import check_components, source_class
from mllmu_med.recipe.messages import explain
from mllmu_med.recipe.overrides import apply_override, select_methods
from mllmu_med.recipe.settings import PAPER_METHODS, Recipe
from mllmu_med.recipe.yaml_text import parse_yaml
from mllmu_med.registry import did_you_mean
from mllmu_med.sources import SOURCES


def shipped_recipes() -> dict[str, Path]:
    """Name → file of the recipes that come with the package, sorted.

    They lie in the package where it is installed from a wheel, and beside ``src/`` in a clone.
    """
    package = Path(__file__).parents[1]
    folders = (package / "recipes", package.parents[1] / "recipes")
    folder = next((folder for folder in folders if folder.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe given as a path or as the name of a shipped one.

    Raises:
        UsageError: there is neither.
    """
    path, shipped = Path(name).expanduser(), shipped_recipes()
    if path.is_file():
        return path
    if str(name) in shipped:
        return shipped[str(name)]
    known = list(dict.fromkeys([*shipped, *SOURCES.names()]))
    meant = did_you_mean(path.stem, known)
    raise UsageError(f"no recipe '{name}'{meant}; give the path of a YAML file or one of: {', '.join(known)}")


def _raw_recipe(name: str | Path) -> dict[str, Any]:
    """What a recipe's file says. The name of a source that has no recipe stands for the one of own records with it."""
    if str(name) in SOURCES.names() and str(name) not in shipped_recipes() and not Path(name).is_file():
        title = f"Private data and wrong facts in {name}"
        return {**_read(shipped_recipes()["jsonl"]), "name": name, "title": title, "source": {"name": name}}
    return _read(find_recipe(name))


def load_recipe(
    recipe: Recipe | str | Path = "phantom",
    *overrides: str,
    seed: int | None = None,
    limit: int | None = None,
    methods: Sequence[str] = (),
) -> Recipe:
    """A recipe with every value checked, before anything is computed.

    Args:
        recipe: name of a shipped recipe or of a source, path of a YAML file, or a recipe to change.
        overrides: ``key.subkey=value``, the value in YAML; ``methods.npo.steps=200`` changes one method.
        seed: replaces the recipe's seed.
        limit: reads at most so many images (the source's ``limit`` or ``images``).
        methods: keeps only these methods.

    Raises:
        UsageError: the recipe is missing, malformed or holds an unknown key or an impossible value.
    """
    if isinstance(recipe, Recipe):
        where, raw = f"recipe {recipe.name}", recipe.to_dict()
    else:
        where, raw = str(recipe), _raw_recipe(recipe)
        _validate(raw, where)  # a fault of the file is told as such, not as one of the overrides
    for override in overrides:
        apply_override(raw, override)
    if seed is not None:
        raw["seed"] = seed
    if methods:
        raw["methods"] = select_methods(raw["methods"], methods)
    loaded = _validate(raw, "override" if overrides else where)
    if limit is not None:
        raw["source"] = {**loaded.source.model_dump(mode="json"), _limit_key(loaded): limit}
        loaded = _validate(raw, "--limit")
    check_components(loaded, where)
    return loaded


def _validate(raw: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"{where}: {explain(error, Recipe)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys to values, this file is not")
    return {"name": path.stem, "methods": list(PAPER_METHODS), **raw}


def _limit_key(recipe: Recipe) -> str:
    types = types_of(source_class(recipe))
    for key in ("limit", "images"):
        if int in (types.get(key), *get_args(types.get(key))):  # jsonl's images, for one, is a folder
            return key
    raise UsageError(f"--limit: source '{recipe.source.name}' cannot be limited, it has no such key")

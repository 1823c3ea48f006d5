"""Runs, one small file each: a model, how its stages are trained, what that costs and gives."""

import difflib
import json
import runpy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from openimagen.config import Recipe

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Recipe:
    """A recipe by its name, or from a .py file that defines `recipe() -> Recipe`."""
    path = FOLDER / f"{name}.py" if name in names() else Path(name)
    if path.suffix != ".py" or not path.is_file():
        known = ", ".join(names())
        raise ValueError(f"no recipe {name}: choose one of {known}, or give a .py file")
    try:
        make = runpy.run_path(str(path)).get("recipe")
        recipe = make() if callable(make) else None
    except Exception as error:  # anybody's Python
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} does not run: {reason}") from error
    if not isinstance(recipe, Recipe):
        raise ValueError(f"{path} must define `def recipe() -> Recipe`")
    return recipe


def settings(recipe: Recipe) -> dict[str, Any]:
    """Every setting of a recipe by its path, as `override` takes it: "train.base.batch": 16."""

    def flat(node: Any, path: str) -> dict[str, Any]:  # noqa: ANN401  (any JSON)
        if not isinstance(node, dict | list):
            return {path: node}
        inner = ((node[key], f"{path}.{name}") for name, key in _entries(node).items())
        return {key: value for each in inner for key, value in flat(*each).items()}

    return {key[1:]: value for key, value in flat(recipe.model_dump(mode="json"), "").items()}


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """Apply `key.path=value` settings; stages go by name, as in `model.stages.base.side=32`.

    Raises ValueError for a key that does not exist, naming the nearest, or a value that does not
    fit.
    """
    tree = recipe.model_dump(mode="json")
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: write key.path=value")
        *parents, last = path.split(".")
        node: Any = tree
        for key in parents:
            node = node[_find(node, key, path)]
        key = _find(node, last, path)
        try:
            node[key] = json.loads(text)
        except json.JSONDecodeError:
            node[key] = text
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise ValueError(": ".join(filter(None, ["--set", where, why]))) from None


def _entries(node: Any) -> dict[str, Any]:  # noqa: ANN401  (any JSON)
    """Name -> key of what is inside a node: a stage's name, not its number."""
    if isinstance(node, dict):
        return {str(key): key for key in node}
    if isinstance(node, list):
        return {
            str(entry.get("name", index) if isinstance(entry, dict) else index): index
            for index, entry in enumerate(node)
        }
    return {}


def _find(node: Any, name: str, path: str) -> Any:  # noqa: ANN401  (a dict's key or a list's index)
    options = _entries(node)
    if name not in options:
        near = difflib.get_close_matches(name, options, n=1) or sorted(options)[:8]
        hint = f"did you mean {' or '.join(near)}?" if near else "it is a single value"
        raise ValueError(f"--set {path}: no key {name!r} here; {hint}")
    return options[name]

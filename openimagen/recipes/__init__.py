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
        raise ValueError(f"no recipe {name}: choose one of {', '.join(names())}, or give a .py file")
    make = runpy.run_path(str(path)).get("recipe")
    recipe = make() if callable(make) else None
    if not isinstance(recipe, Recipe):
        raise ValueError(f"{path} must define `def recipe() -> Recipe`")
    return recipe


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """Apply `key.path=value` settings; stages go by name, as in `model.stages.base.side=32`.

    Raises ValueError for a key that does not exist, naming the nearest, or a value that does not fit.
    """
    tree = recipe.model_dump()
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
        raise ValueError(f"--set: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _find(node: Any, key: str, path: str) -> Any:  # noqa: ANN401  (a dict's key or a list's index)
    if isinstance(node, (list, tuple)):
        options = {str(entry.get("name", index)): index for index, entry in enumerate(node)}
    elif isinstance(node, dict):
        options = {str(name): name for name in node}
    else:
        options = {}
    if key not in options:
        near = difflib.get_close_matches(key, options, n=1) or sorted(options)[:8]
        raise ValueError(f"--set {path}: no key {key!r} here; did you mean {', '.join(near)}?")
    return options[key]

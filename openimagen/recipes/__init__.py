"""Runs, one small file each: a model, how its stages are trained, what that costs and gives."""

import difflib
import json
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from openimagen import config
from openimagen.config import Config, Recipe

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
    except ValidationError as error:
        raise ValueError(f"{path}: {explained(error)}") from error
    except (Exception, SystemExit) as error:  # anybody's Python
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


class LeftOut(dict[str, Any]):
    """The inside of a setting that a recipe leaves out: takes any key, until it is validated."""


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
            outer, name = node, _find(node, key, path)
            node = outer.get(name) if isinstance(outer, dict) else outer[name]
            if node is None:
                node = outer[name] = LeftOut()
        key = _find(node, last, path)
        try:
            node[key] = json.loads(text)
        except json.JSONDecodeError:
            node[key] = text
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"--set {explained(error, tree)}") from None


def explained(error: ValidationError, tree: object = None) -> str:
    """What is wrong first of all, in one line: where, and the nearest key to one that is not there.

    `tree` is what was validated; from it stages have their names.
    """
    first = error.errors()[0]
    *above, last = keys = first["loc"] or ("",)
    where, why = ".".join(_names(keys, tree)), first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        kinds = [vars(config)[error.title]]
        for key in above:
            kinds = _inside(kinds, key)
        why = _stranger(last, [name for kind in kinds for name in kind.model_fields])
    return ": ".join(filter(None, [where, why]))


def _names(keys: Iterable[Any], node: Any) -> list[str]:  # noqa: ANN401  (any JSON)
    """Keys and numbers on the way into a tree, a stage's name in place of its number."""
    words = []
    for key in keys:
        names = {where: name for name, where in _entries(node).items()}
        words.append(names.get(key, str(key)))
        node = node[key] if key in names else None
    return words


def _inside(kinds: list[type[Config]], key: object) -> list[type[Config]]:
    """What a field holds; of several kinds the one that is named; itself, of a stage's name."""
    if types := [kind.model_fields[key].annotation for kind in kinds if key in kind.model_fields]:
        return _configs(types)
    tags = [
        kind.model_fields["kind"].default if "kind" in kind.model_fields else "" for kind in kinds
    ]
    return [kind for kind, tag in zip(kinds, tags, strict=True) if tag == key] or kinds


def _configs(annotations: Iterable[Any]) -> list[type[Config]]:
    """The configs inside of types: of `dict[str, TrainConfig]` or `LoRA | None` the one."""
    found = []
    for kind in annotations:
        if isinstance(kind, type) and issubclass(kind, Config):
            found.append(kind)
        else:
            found += _configs(get_args(kind))
    return found


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
    options = _entries(node) if isinstance(node, dict | list) else None
    if options is None:
        raise ValueError(f"--set {path}: no key {name!r} here; it is a single value")
    if name not in options and not isinstance(node, LeftOut):
        raise ValueError(f"--set {path}: {_stranger(name, options)}")
    return options.get(name, name)


def _stranger(name: object, options: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), options, n=1) or sorted(options)[:8]
    hint = f"did you mean {' or '.join(near)}?" if near else "it is empty"
    return f"no key {name!r} here; {hint}"

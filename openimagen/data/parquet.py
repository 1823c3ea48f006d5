"""Parquet shards: a column of image bytes and one of text, as Hugging Face or img2dataset write."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from openimagen.data.sample import Fault, Item, Sample, clean_captions

IMAGE_NAMES = ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes", "picture")
TEXT_NAMES = ("text", "txt", "caption", "captions", "prompt", "description")
ROWS = 32  # read at once


def read_parquet(
    path: Path, name: str, start: int = 0, part: int = 0, parts: int = 1
) -> Iterator[tuple[int, Item]]:
    """The rows of a shard in order, each with its number; the arguments are those of `read_tar`.

    The columns are found by type and name: binary, or Hugging Face's struct of bytes and path; and
    a string, or a list of strings. Raises ValueError if pyarrow is not installed.
    """
    if not find_spec("pyarrow"):
        raise ValueError("reading parquet needs pyarrow: pip install 'openimagen[train]'")
    number = start - 1
    try:
        for number, image, text in _rows(path, start):
            if number % parts == part:
                yield number, _sample(f"{name}:{number}", image, text)
        return
    except OSError as error:  # also raised by Arrow at damaged pages, then without a number
        is_passing = error.errno is not None
        reason = error.strerror or str(error)
    except ValueError as error:
        is_passing, reason = False, str(error)
    number += 1
    if number % parts == part:
        reason = (
            reason if is_passing else f"damaged after {number} rows: {' '.join(reason.split())}"
        )
        yield number, Fault(name, reason, is_passing)


def _rows(path: Path, start: int) -> Iterator[tuple[int, Any, Any]]:
    """Number, image and text of each row from number `start` on, as Arrow scalars."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        columns = _columns(file.schema_arrow)
        number = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if number + count <= start:  # unread
                number += count
                continue
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=columns):
                for image, text in zip(*map(batch.column, columns), strict=True):
                    if number >= start:
                        yield number, image, text
                    number += 1


def _sample(name: str, image: Any, text: Any) -> Item:  # noqa: ANN401  (Arrow's scalars)
    try:
        content = image.as_py()
        if isinstance(content, dict):
            content = content["bytes"]
        if not content:
            return Fault(name, "no picture: the image is null or empty")
        if not text.is_valid:
            return Fault(name, "no caption: the text is null")
        return Sample(name, content, clean_captions(text.as_py()))
    except UnicodeDecodeError:
        return Fault(name, "caption is not UTF-8")
    except ValueError as error:
        return Fault(name, str(error))


# --- which columns --------------------------------------------------------------------------------


def _columns(schema: Any) -> list[str]:  # noqa: ANN401  (Arrow's)
    """Names of the image and the text column. ValueError if there is none."""
    image = _find(schema, IMAGE_NAMES, _holds_image)
    text = _find(schema, TEXT_NAMES, _holds_text)
    if image is None or text is None:
        raise ValueError(
            f"no column of image bytes and one of text among {', '.join(schema.names)}"
        )
    return [image, text]


def _find(schema: Any, names: tuple[str, ...], fits: Callable[[Any], bool]) -> str | None:  # noqa: ANN401
    """The column of a fitting type that is called best, or the only one that fits."""
    fitting = {field.name.lower(): field.name for field in schema if fits(field.type)}
    called = next((fitting[name] for name in names if name in fitting), None)
    return called or (next(iter(fitting.values())) if len(fitting) == 1 else None)


def _holds_image(kind: Any) -> bool:  # noqa: ANN401
    from pyarrow import types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_image(kind.field("bytes").type)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _holds_text(kind: Any) -> bool:  # noqa: ANN401
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _holds_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)

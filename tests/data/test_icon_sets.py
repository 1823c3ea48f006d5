"""Sets that are no emoji, that move, or that come as pictures: small packages of each."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openimagen.data import icon_names
from openimagen.data.icon_names import Labels, is_pictorial
from openimagen.data.icons import STYLES, build
from tests.data.icon_files import LABELS, RED, pack, parts, rows, tarball_of

SQUARE = RED.format(8, 8)
FADING = '<animate attributeName="opacity" dur="1s" values="0; 1; 0"/>'
FLAT = {
    "diploma-2": {"body": SQUARE},
    "red-apple": {"body": SQUARE},
    "idea": {"body": SQUARE},
    "google": {"body": SQUARE},  # a maker's mark
    "left-down2": {"body": SQUARE},
    "alphabetical-sorting-az": {"body": SQUARE},
    "add-row": {"body": SQUARE},
}
WEATHER = {
    "rain": {"body": SQUARE},  # drawn in lines
    "rain-fill": {"body": f'<path fill="#f00" d="M0 0h8v4H0z" opacity="0">{FADING}</path>'},
    "wind-beaufort-3-fill": {"body": SQUARE},
    "fog-fill": {"body": '<path fill="#f00" d="M9 9h1v1H9z"/>'},  # beside the page
    "ghost-fill": {"body": '<path fill="#f00" d="M0 0h8v8H0z" opacity="0"/>'},
}
SHADED = """<g filter="url(#s)"><circle cx="4" cy="4" r="3" fill="#f00"/></g>
<filter id="s"><feBlend in="SourceGraphic" result="shape"/>
<feColorMatrix in="SourceAlpha" result="hardAlpha"
 values="0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 127 0"/>
<feOffset dx="1"/><feComposite in2="hardAlpha" k2="-1" k3="1" operator="arithmetic"/>
<feColorMatrix values="0 0 0 0 0.3 0 0 0 0 0 0 0 0 0 0.3 0 0 0 1 0"/><feBlend in2="shape"/>
</filter>""".replace("\n values", " values")


def webp(width: int, height: int) -> bytes:
    """A red picture, half covering."""
    file = io.BytesIO()
    Image.new("RGBA", (width, height), (255, 0, 0, 128)).save(file, "WEBP", lossless=True)
    return file.getvalue()


RENDERS = {
    "1f34e": webp(256, 256),
    "2714-fe0f": webp(256, 256),  # a check mark
    "1fa85-fe0f": webp(256, 264),  # a piñata
    "1f44b-1f3fb": webp(256, 256),  # a skin tone: no entry of its own
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tarballs"
    folder.mkdir()
    for style, of in (("flat-color-icons", FLAT), ("meteocons", WEATHER)):
        members = {f"package/{name}.json": part for name, part in parts(style, of).items()}
        pack(folder / tarball_of(style), members)
    pictures = {f"package/assets/{code}.webp": data for code, data in RENDERS.items()}
    pack(folder / tarball_of("fluent-emoji-3d"), {"package/package.json": {}, **pictures})
    pack(folder / "emojibase-data-17.0.0.tgz", {"package/en/data.json": LABELS})
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_set_of_its_own_names_is_without_marks_arrows_letters_and_signs(
    source: Path, out: Path
) -> None:
    build(out, styles=["flat-color-icons"], source=source, side=8, workers=1)
    named = {name.partition("/")[2]: row["name"] for name, row in rows(out).items()}
    assert named == {"diploma-2.png": "diploma", "idea.png": "idea", "red-apple.png": "red apple"}
    assert rows(out)["flat-color-icons/idea.png"]["text"] == [
        "idea",
        "idea, in flat colour icon style",
    ]


def test_the_group_is_told_where_it_is_known(source: Path, out: Path) -> None:
    build(out, styles=["flat-color-icons", "fluent-emoji-3d"], source=source, side=8, workers=1)
    groups = {name: row.get("group") for name, row in rows(out).items()}
    assert groups["flat-color-icons/idea.png"] is None
    assert groups["flat-color-icons/red-apple.png"] == "food-drink"
    assert groups["fluent-emoji-3d/pinata.png"] == "activities"


def test_what_moves_is_drawn_with_what_comes_and_goes(source: Path, out: Path) -> None:
    report = build(out, styles=["meteocons"], source=source, side=8, workers=1)
    assert list(rows(out)) == ["meteocons/rain.png"]
    assert report.skipped == dict.fromkeys(
        ("meteocons/fog.png", "meteocons/ghost.png"), "it shows nothing"
    )
    with Image.open(out / "meteocons/rain.png") as image:
        pixels = np.asarray(image)
    assert (pixels[:4] == [255, 0, 0, 255]).all() and not pixels[4:].any()
    assert "animations standing still" in (out / "meteocons/ATTRIBUTION.md").read_text()


def test_an_inner_shadow_leaves_edges_smooth(source: Path, out: Path) -> None:
    members = parts("fluent-emoji", {"red-apple": {"body": SHADED}})
    pack(
        source / tarball_of("fluent-emoji"),
        {f"package/{name}.json": part for name, part in members.items()},
    )
    alpha = dict[int, np.ndarray]()
    for side in (64, 512):
        build(out / str(side), styles=["fluent-emoji"], source=source, side=side, workers=1)
        with Image.open(out / str(side) / "fluent-emoji/red-apple.png") as image:
            alpha[side] = np.asarray(image.getchannel("A")).astype(float)
    covered = alpha[512].reshape(64, 8, 64, 8).mean((1, 3))
    assert np.abs(alpha[64] - covered).max() < 0.45 * 255  # hard ones are off by 0.87
    assert "inner shadows" in (out / "64/fluent-emoji/ATTRIBUTION.md").read_text()


def test_pictures_are_found_by_their_codepoints(source: Path, out: Path) -> None:
    build(out, styles=["fluent-emoji-3d"], source=source, workers=1)
    assert {name: row["name"] for name, row in rows(out).items()} == {
        "fluent-emoji-3d/red-apple.png": "red apple",
        "fluent-emoji-3d/pinata.png": "piñata",
    }
    assert rows(out)["fluent-emoji-3d/red-apple.png"]["tags"] == ["apple", "fruit", "food"]
    text = (out / "fluent-emoji-3d/ATTRIBUTION.md").read_text()
    for part in ("2 pictures", "Microsoft", "MIT", "@lobehub/fluent-emoji-3d@1.1.0", "WebP"):
        assert part in text


@pytest.mark.parametrize(("side", "drawn"), [(1024, 256), (256, 256), (64, 64)])
def test_pictures_are_never_enlarged(source: Path, out: Path, side: int, drawn: int) -> None:
    for expected in ((2, 0), (0, 2)):  # what is there at its own size is reused
        report = build(out, styles=["fluent-emoji-3d"], source=source, side=side, workers=1)
        assert (report.drawn, report.reused) == expected
    with Image.open(out / "fluent-emoji-3d/red-apple.png") as image:
        assert (image.mode, image.size) == ("RGBA", (drawn, drawn))
        assert image.getcolors() == [(drawn**2, (255, 0, 0, 128))]


def test_a_picture_that_is_no_square_keeps_its_shape(source: Path, out: Path) -> None:
    build(out, styles=["fluent-emoji-3d"], source=source, workers=1)
    with Image.open(out / "fluent-emoji-3d/pinata.png") as image:
        assert (image.size, image.getchannel("A").getbbox()) == ((256, 256), (4, 0, 252, 256))


def test_what_iconify_lacks_lies_beside_its_one_tarball(source: Path, out: Path) -> None:
    pack(source / "iconify-json-2.2.535.tgz", {})
    build(out, styles=["fluent-emoji-3d"], source=source / "iconify-json-2.2.535.tgz", workers=1)
    assert len(rows(out)) == 2


def test_a_package_that_lacks_is_named(source: Path, out: Path) -> None:
    tarball = source / tarball_of("fluent-emoji-3d")
    pack(tarball, {"package/package.json": {}})
    with pytest.raises(ValueError, match="has no pictures; is it the right npm package"):
        build(out, styles=["fluent-emoji-3d"], source=source)
    tarball.unlink()
    with pytest.raises(ValueError, match=r"no tarball of fluent-emoji-3d; .* @lobehub/fluent"):
        build(out, styles=["fluent-emoji-3d"], source=source)


def test_words_in_one_are_told_apart_unless_they_are_one_word() -> None:
    labels = Labels([{"label": "head set"}])
    assert labels.spell("sethead") == "set head"
    assert labels.spell("headset") == "headset"
    assert labels.spell("diploma-12") == "diploma"


def test_what_is_left_out_of_one_set_is_in_another() -> None:
    assert not is_pictorial("flat-color-icons", "start", None, ())
    assert is_pictorial("noto", "start", None, ())
    assert {*icon_names._LEFT_OUT} <= {*STYLES}

"""What a check says of a data set is what was put there, in whatever format."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_files import encoded, picture, write_parquet, write_tar
from typer.testing import CliRunner

from openimagen.cli import app
from openimagen.data.check import Spread, check
from openimagen.data.sheet import GAP, SIDE, TEXT, captioned_sheet

WIDE = encoded(Image.new("RGB", (40, 10), (0, 0, 200)))
PAIRS = {
    "a": (picture(1), "one"),
    "b": (picture(1, "WEBP"), "two"),  # lossy: not the same pixels
    "c": (encoded(Image.new("RGB", (24, 24))), "one"),
    "d": (picture(1) + b"trailing bytes", "three!"),  # the pixels of a
    "e": (WIDE, "two"),
    "f": (picture(1), "one"),  # a once more
    "g": (picture(2)[:300], "four"),
    "h": (picture(3), " "),
}


def as_folder(root: Path) -> Path:
    for name, (image, text) in PAIRS.items():
        (root / f"{name}.png").write_bytes(image)
        (root / f"{name}.txt").write_text(text)
    return root


def as_tar(root: Path) -> Path:
    for shard, names in enumerate(("abc", "defgh")):
        rows = [(name, *PAIRS[name]) for name in names]
        files = [
            file
            for name, image, text in rows
            for file in ((f"{name}.png", image), (f"{name}.txt", text.encode()))
        ]
        write_tar(root / f"{shard}.tar", files)
    return root


def as_parquet(root: Path) -> Path:
    write_parquet(root / "0.parquet", *zip(*PAIRS.values(), strict=True))
    return root


NAMES = {
    as_folder: {name: f"{name}.png" for name in PAIRS},
    as_tar: {name: f"{'0' if name in 'abc' else '1'}.tar:{name}" for name in PAIRS},
    as_parquet: {name: f"0.parquet:{number}" for number, name in enumerate(PAIRS)},
}


@pytest.mark.parametrize("make", NAMES)
def test_the_report_is_what_was_put_there(tmp_path: Path, make: object) -> None:
    assert callable(make)
    told: list[tuple[int, int]] = []
    found, names = check(make(tmp_path), on_progress=lambda *step: told.append(step)), NAMES[make]
    assert found.format == make.__name__.removeprefix("as_")
    assert found.shards == {"folder": 0, "tar": 2, "parquet": 1}[found.format]
    assert (found.pictures, found.captions, found.skipped) == (6, 6, 2)
    assert (found.width, found.height) == (Spread(24, 24, 40), Spread(10, 24, 24))
    assert (found.smallest_side, found.length) == (10, Spread(3, 3, 6))
    assert found.same_pixels == 2
    assert found.repeats == {names["d"]: names["a"], names["f"]: names["a"]}
    assert found.shared_captions == 2  # "one" of a and c, "two" of b and e; not of a and f alone
    assert found.reasons == {"image file is truncated": 1, "empty caption": 1}
    assert found.broken.keys() == {names["g"], names["h"]}
    assert [done for done, _ in told[:-1]] == list(range(1, 9)) and told[-1] == (8, 8)
    assert all(done <= total for done, total in told)


def test_the_same_caption_on_the_same_picture_is_not_shared(tmp_path: Path) -> None:
    files = [("a.png", WIDE), ("a.txt", b"x"), ("b.png", WIDE), ("b.txt", b"x")]
    found = check(write_tar(tmp_path / "a.tar", files))
    assert (found.same_pixels, found.shared_captions) == (1, 0)


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    for name in (b"a\xff.png", b"b.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(picture(1))
    (tmp_path / "b.txt").write_text("b")
    found = check(tmp_path)
    assert list(found.broken) == ["a\\udcff.png"]
    str(found).encode()


def test_medians_are_of_the_pictures_not_of_the_sizes(tmp_path: Path) -> None:
    sides = [10, 20, 30, 30, 30, 40]
    images = [np.zeros((10, side, 3), dtype=np.uint8) for side in sides]
    texts = ["x" * side for side in sides]
    contents = [encoded(Image.fromarray(image)) for image in images]
    found = check(write_parquet(tmp_path / "a.parquet", contents, texts))
    assert found.width == found.length == Spread(10, 30, 40)


def test_pictures_too_small_for_a_stage_are_counted(tmp_path: Path) -> None:
    """By the shorter side; a picture of just the side is no smaller."""
    sizes = [(63, 900), (64, 64), (255, 300), (1024, 1024), (1024, 1023)]
    contents = [encoded(Image.new("RGB", size)) for size in sizes]
    found = check(write_parquet(tmp_path / "a.parquet", contents, ["x"] * len(sizes)))
    assert found.under == {64: 1, 256: 3, 1024: 4}
    assert "1 under 64, 3 under 256, 4 under 1024: a stage of that side sees them enlarged" in str(
        found
    )
    large = check(write_parquet(tmp_path / "b.parquet", contents[3:4], ["x"]))
    assert "under" not in str(large)


# --- the sheet ------------------------------------------------------------------------------------


def test_every_picture_is_shown_whole_in_its_cell() -> None:
    wide, high = Image.new("RGB", (400, 100), "red"), Image.new("RGB", (10, 20), "blue")
    page = captioned_sheet([(wide, "wide"), (high, "high"), (wide, "again")], columns=2)
    assert page.size == (GAP + 2 * (SIDE + GAP), GAP + 2 * (SIDE + TEXT + GAP))
    x, y = GAP + SIDE // 2, GAP + SIDE // 2  # middle of the first cell
    assert [page.getpixel((x, y + d)) for d in (-20, 0, 20)] == [
        *((255, 255, 255), (255, 0, 0), (255, 255, 255))
    ]
    assert page.getpixel((GAP + 1, y)) == page.getpixel((GAP + SIDE - 2, y)) == (255, 0, 0)
    assert page.getpixel((x + SIDE + GAP, y + 8)) == (0, 0, 255)
    assert page.getpixel((x + SIDE + GAP, y + 12)) == (255, 255, 255)
    assert page.getpixel((x, y + SIDE + TEXT + GAP)) == (255, 0, 0)
    words = page.crop((GAP, GAP + SIDE + 2, GAP + SIDE, GAP + SIDE + TEXT))
    assert words.getextrema() != ((255, 255),) * 3


def test_a_long_caption_keeps_to_its_cell() -> None:
    for caption in ("word " * 500, "w" * 5000, "漢字" * 300):
        page = captioned_sheet([(Image.new("RGB", (9, 9)), caption)] * 2)
        gap = page.crop((GAP + SIDE + 2, GAP + SIDE + 2, 2 * GAP + SIDE - 2, page.height))
        assert gap.getextrema() == ((255, 255),) * 3


def test_the_sheet_is_a_fair_choice(tmp_path: Path) -> None:
    """Of 120 pictures, of which each half has its colour, some of both are shown."""
    halves = [encoded(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue")]
    path = write_parquet(
        tmp_path / "a.parquet", [h for h in halves for _ in range(60)], ["x"] * 120
    )
    check(path, tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as page:
        cells = [
            page.getpixel(
                (GAP + SIDE // 2 + x * (SIDE + GAP), GAP + SIDE // 2 + y * (SIDE + TEXT + GAP))
            )
            for x in range(6)
            for y in range(5)
        ]
    assert set(cells) == {(255, 0, 0), (0, 0, 255)}
    assert 5 < cells.count((255, 0, 0)) < 25


# --- the command ----------------------------------------------------------------------------------


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["data", "check", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_reports_in_words_or_json(tmp_path: Path) -> None:
    data = as_tar(tmp_path)
    status, words, errors = run(data, "--sheet", tmp_path / "sheet.png")
    assert (status, errors) == (0, "")
    for line in ("6 usable, 2 skipped", "2 pictures repeat another", "1.tar:h: empty caption"):
        assert line in words
    assert words.endswith(f"{tmp_path}/sheet.png  contact sheet\n")
    assert (tmp_path / "sheet.png").exists()
    status, report, _ = run(data, "--json")
    assert json.loads(report)["width"] == {"min": 24, "median": 24, "max": 40}
    (tmp_path / "0.tar").write_bytes(b"")
    (tmp_path / "1.tar").write_bytes(b"")
    status, words, errors = run(data)
    assert (status, words, errors.count("\n")) == (2, "", 1) and "tar shards of" in errors

"""Collections of pictures against each other: what is read, what is refused, what is worse."""

import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFilter
from things import THINGS, Thumbnails, grainy, thing
from typer.testing import CliRunner, Result

from openimagen.cli import app
from openimagen.data.images import load
from openimagen.evaluate.distances import distances
from openimagen.evaluate.features import EffLite2
from openimagen.evaluate.quality import Quality, at_side, quality


def write(folder: Path, pictures: Iterable[Image.Image]) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return write(tmp_path / "real", map(thing, THINGS))


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return write(tmp_path / "fake", (grainy(thing(name), 0.3) for name in THINGS))


def measured(real: Path, fake: Path, *rest: object) -> tuple[Quality, list[str]]:
    """What is found, and the warnings of all but the distances."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = quality(real, fake, Thumbnails(), *rest)  # type: ignore[arg-type]
    lines = [str(each.message) for each in caught]
    return found, [line for line in lines if not re.match(r"\d+ pictures are few", line)]


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:10 pictures are few")
def test_it_is_the_distances_of_the_pictures_features(real: Path, fake: Path) -> None:
    found, said = measured(real, fake)
    rows = [Thumbnails()(load(file) for file in sorted(each.iterdir())) for each in (real, fake)]
    assert list(found.distances) == list(distances(rows[0], rows[1], "Thumbnails"))
    assert [each.n_real for each in found.distances] == [10] * 7
    assert (found.real.pictures, found.fake.width, found.side, said) == (10, 96, None, [])


def test_captions_are_not_needed_and_change_nothing(real: Path, fake: Path) -> None:
    plain = measured(real, fake)[0]
    (real / "metadata.jsonl").write_text(json.dumps({"file_name": "00.png", "text": "a disc"}))
    (fake / "03.txt").write_text("")
    assert measured(real, fake)[0] == plain


def test_shards_are_read_too(real: Path, fake: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        for file in sorted(real.glob("*.png")):
            file.with_suffix(".txt").write_text("a thing")
            for member in (file, file.with_suffix(".txt")):
                tar.add(member, member.name)
    assert measured(tmp_path / "00.tar", fake)[0].distances == measured(real, fake)[0].distances


def test_broken_pictures_are_skipped_counted_and_named(real: Path, fake: Path) -> None:
    plain = measured(real, fake)[0]
    (fake / "04b.png").write_bytes(b"no picture")
    (fake / "empty.png").touch()
    found = measured(real, fake)[0]
    assert found.distances == plain.distances
    assert (found.real.skipped, found.fake.skipped) == (0, 2)
    assert found.fake.broken["empty.png"] == "the file is empty" and "04b.png" in str(found)
    assert "skipped fake  1 x the file is empty" in str(found)


def test_progress_counts_every_file_and_every_distance(real: Path, fake: Path) -> None:
    calls: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def watch(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: calls.setdefault(title, []).append((done, total))

    (fake / "broken.png").touch()
    measured(real, fake, None, watch)
    assert {title: made[-1] for title, made in calls.items()} == {
        "looking at real": (10, 10),
        "looking at fake": (11, 11),
        "measuring": (7, 7),
    }
    assert [done for done, _ in calls["looking at real"]][:10] == list(range(1, 11))


# --- sizes ----------------------------------------------------------------------------------------


def test_mixed_sizes_need_a_side(real: Path, fake: Path) -> None:
    thing(THINGS[0]).resize((80, 60)).save(fake / "05.png")
    with pytest.raises(ValueError, match=r"00.png is 96x96, 05.png 80x60\): give --side 60"):
        measured(real, fake)
    look = Thumbnails()
    with pytest.warns(UserWarning, match="10 pictures are few"):
        found = quality(real, fake, look, 60)
    assert look.sizes == [(60, 60)] * 20
    assert (found.side, found.real.width, found.fake.height) == (60, 60, 60)


def test_other_sizes_on_the_other_side_are_told(real: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "small", (thing(name).resize((48, 48)) for name in THINGS))
    assert measured(real, small)[1] == [
        "real pictures are 96x96, fake ones 48x48, which counts as a difference: "
        "give --side 48 to compare them at one size"
    ]
    assert measured(real, small, 48)[1] == []
    assert measured(real, small, 96)[1] == [
        "--side 96 enlarges pictures: the smallest has 48 pixels"
    ]


def test_a_side_is_the_centre_by_antialiased_bicubic() -> None:
    """As Pillow does it; a checkerboard, whose pixels alias, becomes grey."""
    wide = grainy(thing(THINGS[0]), 0.5).resize((160, 96))
    expected = wide.crop((32, 0, 128, 96)).resize((40, 40), Image.Resampling.BICUBIC)
    assert at_side(wide, 40) == expected
    assert at_side(expected, 40) is expected
    board = Image.fromarray((torch.arange(64)[:, None] + torch.arange(64)).fmod(2).mul(255).byte()
                            .numpy()).convert("RGB")  # fmt: skip
    low, high = at_side(board, 16).convert("L").crop((2, 2, 14, 14)).getextrema()
    assert 120 <= low <= high <= 135


# --- what is worse --------------------------------------------------------------------------------


def test_distances_order_a_ladder_of_worse_pictures(tmp_path: Path) -> None:
    """Blur, noise and mode collapse, from other pictures of the same things."""
    names = THINGS
    plain = [thing(name).rotate(5, fillcolor="white") for name in names]
    ladder = {
        "plain": plain,
        "blur 2": [each.filter(ImageFilter.GaussianBlur(2)) for each in plain],
        "blur 8": [each.filter(ImageFilter.GaussianBlur(8)) for each in plain],
        "noise 0.2": [grainy(each, 0.2) for each in plain],
        "noise 0.7": [grainy(each, 0.7) for each in plain],
        "collapse 3": [plain[n % 3] for n in range(len(names))],
        "collapse 1": [plain[0] for _ in names],
    }
    look = EffLite2()
    real = look(map(thing, names))
    found: dict[str, dict[str, float]] = {}
    for rung, pictures in ladder.items():
        with pytest.warns(UserWarning, match="10 pictures are few"):
            found[rung] = {
                each.name.partition("-")[0]: each.value
                for each in distances(real, look(pictures), "EffLite2")
            }
    for kind in ("FD", "KID", "CMMD"):
        value = {rung: each[kind] for rung, each in found.items()}
        assert value["plain"] < value["blur 2"] < value["blur 8"], kind
        assert value["plain"] < value["noise 0.2"] < value["noise 0.7"], kind
        assert value["plain"] < value["collapse 3"] < value["collapse 1"], kind
    for kind in ("Density", "Coverage"):
        value = {rung: each[kind] for rung, each in found.items()}
        assert value["plain"] > value["blur 8"] and value["plain"] > value["noise 0.7"], kind
    recall = {rung: each["Recall"] for rung, each in found.items()}
    assert recall["plain"] > recall["collapse 3"] > recall["collapse 1"] == 0
    assert found["plain"]["Coverage"] > found["collapse 1"]["Coverage"]


# --- the command ----------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "quality", *map(str, words)])


def test_the_command_reports_in_words_or_json(real: Path, fake: Path) -> None:
    told = run(real, fake, "--device", "cpu")
    assert told.exit_code == 0, told.stderr
    assert re.search(r"FD-EffLite2 +[\d.]+  \[[\d.]+, [\d.]+\]\n", told.stdout)
    assert "10 of 96x96" in told.stdout
    (line,) = told.stderr.splitlines()
    assert line.startswith("openimagen: 10 pictures are few. FD-EffLite2: far too high")
    figures = json.loads(run(real, fake, "--side", 48, "--json").stdout)
    assert figures["side"] == figures["real"]["width"] == 48 and figures["features"] == "EffLite2"
    assert [each["name"] for each in figures["distances"]][:2] == ["FD-EffLite2", "KID-EffLite2"]
    assert {"value", "low", "high", "n_real", "n_fake"} < set(figures["distances"][0])


def test_a_wrong_request_is_one_line(real: Path, fake: Path, tmp_path: Path) -> None:
    few = write(tmp_path / "few", map(thing, THINGS[:6]))
    (few / "broken.png").touch()
    empty = write(tmp_path / "empty", [])
    for words, complaint in (
        ((real, tmp_path / "none"), "none does not exist: give a folder"),
        ((real, empty), "empty has no picture: give a folder of pictures"),
        ((real, few), "few has 6 pictures that can be read (broken.png: the file is empty): the "
         "distances need at least 7"),
        ((real, fake, "--features", "vgg"), "no features 'vgg': choose from efflite2"),
        ((real, fake, "--weights", "x"), "leave --weights out"),
        ((real, fake, "--side", 0), "greater than or equal to 1"),
    ):  # fmt: skip
        result = run(*words)
        assert result.exit_code == 2 and not result.stdout
        assert complaint in result.stderr and result.stderr.count("\n") == 1

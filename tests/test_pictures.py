"""Pictures become files with telling names; no file is ever overwritten, no folder escaped."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openimagen import model_folder
from openimagen.editing import Source
from openimagen.pictures import Request, batches, describe_models, draw, file_for, free_name
from openimagen.safety import watermark
from openimagen.safety.nudity import NudityFilter
from openimagen.trace import TILE
from openimagen.verify import verify

OUT = Path("out")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a cherry tree in blossom", "a-cherry-tree-in-blossom-7.png"),
        ("A RED, apple!", "a-red-apple-7.png"),
        ("日本の桜", "日本の桜-7.png"),
        ("naïve café", "naïve-café-7.png"),
        ("../../etc/passwd", "etc-passwd-7.png"),
        ("/root/.ssh", "root-ssh-7.png"),
        ("C:\\nul\0\n", "c-nul-7.png"),
        ("..", "picture-7.png"),
        ("😀👩\u200d🚀", "picture-7.png"),
        ("--help", "help-7.png"),
        ("half a pair \ud83d", "half-a-pair-7.png"),
    ],
)
def test_a_file_is_named_by_the_prompts_words(prompt: str, name: str) -> None:
    assert file_for(OUT, prompt, 7) == OUT / name


@pytest.mark.parametrize("prompt", ["tree " * 500, "桜" * 500, "\U00020bb7" * 500, "é-" * 60])
def test_long_prompts_fit_a_file_name(prompt: str, tmp_path: Path) -> None:
    file = file_for(tmp_path, prompt, 2**63 - 1)
    assert len(file.name.encode()) < 200 and "--" not in file.name
    free_name(file).write_text("")
    assert file.exists() and file.name[:3] == prompt.lower().replace(" ", "-")[:3]


def test_a_picture_suffix_names_the_file_itself(tmp_path: Path) -> None:
    for name in ("fox.png", "fox.JPG", "fox.webp", "fox.jpeg"):
        assert file_for(tmp_path / name, "fox", 0) == tmp_path / name
    (tmp_path / "odd.png").mkdir()
    assert file_for(tmp_path / "odd.png", "fox", 0) == tmp_path / "odd.png" / "fox-0.png"


def test_a_taken_name_is_numbered(tmp_path: Path) -> None:
    for expected in ("fox-0.png", "fox-0-2.png", "fox-0-3.png"):
        free = free_name(tmp_path / "fox-0.png")
        assert free.name == expected
        free.write_text("mine")


def test_a_request_becomes_files(tiny_folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    request = Request(["a fox", "sailboat"], count=2, seed=4, size=32, steps=[2, 1], guidance=[1.0])
    drawn = draw(
        str(tiny_folder), request, tmp_path / "new" / "out", "cpu", lambda *call: calls.append(call)
    )
    names = ["a-fox-4.png", "a-fox-5.png", "sailboat-4.png", "sailboat-5.png"]
    assert [Path(picture.file).name for picture in drawn] == names
    assert [(picture.prompt, picture.seed) for picture in drawn] == [
        ("a fox", 4), ("a fox", 5), ("sailboat", 4), ("sailboat", 5),
    ]  # fmt: skip
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for picture in drawn:
        with Image.open(picture.file) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))
        assert (picture.width, picture.height) == (32, 32) and picture.model == str(tiny_folder)
        assert picture.seconds >= 0
    assert json.loads(json.dumps([vars(picture) for picture in drawn]))[0]["seed"] == 4


@pytest.mark.parametrize(("prompts", "count"), [(1, 1), (3, 1), (20, 1), (3, 3), (2, 20), (5, 8)])
def test_every_prompt_is_drawn_with_every_seed_in_batches(prompts: int, count: int) -> None:
    names, seeds = [f"thing {n}" for n in range(prompts)], [*range(7, 7 + count)]
    parts = list(batches(names, seeds))
    assert max(len(some) * len(numbers) for some, numbers in parts) <= 8
    jobs = [(name, seed) for some, numbers in parts for name in some for seed in numbers]
    assert sorted(jobs) == sorted((name, seed) for name in names for seed in seeds)


def test_what_was_drawn_before_an_interruption_is_kept(tiny_folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    request = Request(["fox"], count=16, size=16)
    with pytest.raises(KeyboardInterrupt):
        draw(str(tiny_folder), request, tmp_path / "out", "cpu", stop)
    assert len([*(tmp_path / "out").iterdir()]) == 8


def test_a_folder_may_have_a_dot_in_its_name(tiny_folder: Path, tmp_path: Path) -> None:
    drawn = draw(str(tiny_folder), Request(["fox"], size=16), tmp_path / "pictures.v2", "cpu")
    assert drawn[0].file == str(tmp_path / "pictures.v2" / "fox-0.png")


def test_the_same_request_again_draws_the_same_into_other_files(
    tiny_folder: Path, tmp_path: Path
) -> None:
    request = Request(["../fox"], size=16)
    first, second = (draw(str(tiny_folder), request, tmp_path, "cpu")[0] for _ in range(2))
    assert [Path(picture.file).name for picture in (first, second)] == ["fox-0.png", "fox-0-2.png"]
    with Image.open(first.file) as ours, Image.open(second.file) as theirs:
        assert ours.tobytes() == theirs.tobytes()  # the files differ: each was signed in its time


def test_one_file_for_several_pictures_is_numbered(tiny_folder: Path, tmp_path: Path) -> None:
    request = Request(["fox"], count=3, size=16)
    drawn = draw(str(tiny_folder), request, tmp_path / "a.jpg", "cpu")
    assert [Path(picture.file).name for picture in drawn] == ["a.jpg", "a-2.jpg", "a-3.jpg"]
    pixels = [np.asarray(Image.open(picture.file)).astype(int) for picture in drawn]
    assert abs(pixels[0] - pixels[1]).mean() > 5  # another seed


def test_a_trace_is_written_beside_and_overwrites_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    strip = tmp_path / "traces" / "strip.png"
    request = Request(["fox"], size=32, trace=strip)
    for _ in range(2):
        draw(str(tiny_folder), request, tmp_path, "cpu")
    sizes = {path.name: Image.open(path).size for path in strip.parent.iterdir()}
    assert sizes == {"strip.png": (1208, 438), "strip-2.png": (1208, 438)}  # 3 steps, 2 stages


def filter_of(monkeypatch: pytest.MonkeyPatch, score: Callable[[Image.Image], float]) -> None:
    """A picture filter that scores as told."""
    monkeypatch.setattr(NudityFilter, "score", lambda self, image: score(image))


@pytest.mark.parametrize("source", [None, Source(Image.new("RGB", (16, 16), "grey"))])
def test_nothing_of_a_withheld_picture_is_written(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source | None
) -> None:
    """Not even small: the strip and its tiles pass, the picture that they show does not."""
    filter_of(monkeypatch, lambda image: float(image.size == (32, 32)))
    out = tmp_path / "out"
    request = Request(["fox"], count=9, size=32, trace=out / "strip.png", source=source)
    drawn = draw(str(tiny_folder), request, out, "cpu")
    assert all(picture.file is picture.trace is None and picture.flagged for picture in drawn)
    assert not out.exists()


def test_a_strip_is_judged_tile_by_tile(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []
    filter_of(monkeypatch, lambda image: judged.append(image.size) or float(len(judged) == 4))
    request = Request(["fox"], size=32, trace=tmp_path / "strip.png")
    (drawn,) = draw(str(tiny_folder), request, tmp_path / "out", "cpu")
    assert judged == [(32, 32), (TILE, TILE), (TILE, TILE), (TILE, TILE)]
    assert drawn.file and not drawn.flagged and not drawn.trace
    assert not request.trace.exists()


def test_a_strip_says_as_much_as_its_picture(tiny_folder: Path, tmp_path: Path) -> None:
    strip = tmp_path / "strip.png"
    request = Request(
        ["fox"], seed=5, size=32, trace=strip, source=Source(Image.new("RGB", (16, 16), "grey"))
    )
    draw(str(tiny_folder), request, tmp_path, "cpu")
    found = verify(strip)
    assert found.credentials.edited and found.mark
    assert found.mark.seed == watermark.seed_number(5)


@pytest.mark.parametrize(
    ("request_", "out", "message"),
    [
        (Request([" "]), "out", "the prompt is empty"),
        (Request(["fox"]), "fox.gif", "pictures are written as .png"),
        (Request(["fox"]), "fox.pgn", "pictures are written as .png"),  # no folder of that name
        (Request(["fox"]), "tiny/model.json/deep", "nothing can be written in .*model.json"),
        (Request(["fox"]), "tiny/model.json", "nothing can be written in .*model.json"),
        (Request(["fox"], trace=Path("tiny/model.json/a.png")), "out", "nothing can be written"),
        (Request(["fox"], trace=Path("strip")), "out", "the trace is written as .png"),
        (Request(["fox"], trace=Path("strip.mp4")), "out", "the trace is written as .png"),
        (Request(["fox"], sampler="euler"), "out", "sampler euler"),
        (Request(["fox"], seed=-1), "out", "a seed must be"),
        (
            Request(["fox"], negative="a nude woman", guidance=[0.5]),
            "out",
            "A guidance below 1 draws the negative prompt, too: give 1 or more",
        ),
    ],
)
def test_a_wrong_request_leaves_nothing_behind(
    tiny_folder: Path,
    tmp_path: Path,
    request_: Request,
    out: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        draw(str(tiny_folder), request_, tmp_path / out, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_embedded_models_are_described(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "EMBEDDED", tiny_folder.parent)
    card = str(tiny_folder / "MODEL_CARD.md")
    (row,) = describe_models()
    assert row == {"name": "tiny", "sizes": [16, 32, 64], "licence": "", "card": card}


def test_a_transparent_picture_is_rgba_and_no_jpeg(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Image.new("RGB", (16, 16), "white")
    ground.paste((200, 30, 30), (4, 4, 12, 12))
    monkeypatch.setattr("openimagen.drawing.to_pil", lambda _: ground)
    request = Request(["a fox"], size=16, transparent=True)
    (drawn,) = draw(str(tiny_folder), request, tmp_path / "fox.png")
    alpha = np.asarray(Image.open(drawn.file))[..., 3]
    assert alpha[0, 0] == 0 and alpha[8, 8] == 255
    with pytest.raises(ValueError, match=r"fox.jpg: JPEG knows no transparency: name it .png or"):
        draw(str(tiny_folder), request, tmp_path / "fox.jpg")


def test_what_has_no_plain_ground_stays_whole_and_says_so(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp = Image.linear_gradient("L").convert("RGB").resize((16, 16))
    monkeypatch.setattr("openimagen.drawing.to_pil", lambda _: ramp)
    with pytest.warns(UserWarning, match=r'"a fox" stays whole: the picture has no plain ground'):
        (drawn,) = draw(str(tiny_folder), Request(["a fox"], size=16, transparent=True), tmp_path)
    assert (np.asarray(Image.open(drawn.file))[..., 3] == 255).all()

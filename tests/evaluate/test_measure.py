"""Pictures that get worse step by step; models and corpora small enough to know the answer."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops, ImageFilter
from things import THINGS, grainy, noise, thing
from torch import Tensor
from typer import Typer
from typer.testing import CliRunner

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.data.images import load, to_tensor
from openimagen.evaluate import retrieval as room
from openimagen.evaluate.features import EffLite2, resized
from openimagen.evaluate.retrieval import (
    Report,
    choose_names,
    drawer,
    measure,
    prototypes_of,
    retrieval,
)
from openimagen.recipes.tiny import recipe
from openimagen.unet import UNet


def test_worse_pictures_score_lower() -> None:
    """Blur, noise, shuffled captions and mode collapse, each from the pictures as they are."""
    look = EffLite2()
    gallery = look(map(thing, THINGS))
    plain = [thing(name, "outlined") for name in THINGS]
    as_they_are = look(plain)

    def score(rows: Tensor, names: list[str] = THINGS) -> float:
        return retrieval(rows, names, gallery, THINGS)["R@1"].value

    best = score(as_they_are)
    blurred = [score(look(p.filter(ImageFilter.GaussianBlur(r)) for p in plain)) for r in (5, 20)]
    noisy = score(look(grainy(p, 0.9) for p in plain))
    assert best >= 0.7
    assert best > blurred[0] > blurred[1]
    assert best > noisy
    assert max(blurred[1], noisy) <= 0.3
    assert score(as_they_are, THINGS[3:] + THINGS[:3]) <= 0.2
    assert score(as_they_are[:1].expand_as(gallery)) == pytest.approx(1 / len(THINGS))


# --- a model over a corpus ------------------------------------------------------------------------


class Thumbnails:
    """Features that need no weights: a picture is its grey 4x4 thumbnail. Colours are not told."""

    name, width = "Thumbnails", 16

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        return torch.stack(
            [resized(to_tensor(each), 4).mean(0).flatten() - 250 for each in pictures]
        )


def write_corpus(root: Path, together: bool) -> Path:
    """Styles flat and outlined, each without a thing that the other has."""
    rows: dict[Path, list[str]] = {}
    for style, lacking in (("flat", "red bar"), ("outlined", "blue ring")):
        (root / style).mkdir(parents=True)
        for name in (name for name in THINGS if name != lacking):
            file = f"{name.replace(' ', '-')}.png"
            thing(name, style).save(root / style / file)
            row = {
                "file_name": f"{style}/{file}" if together else file,
                "text": [name, f"a {name}"],
            }
            where = root if together else root / style
            rows.setdefault(where / "metadata.jsonl", []).append(json.dumps(row))
    for file_, lines in rows.items():
        file_.write_text("\n".join(lines))
    return root


@pytest.fixture(params=[True, False], ids=["one metadata file", "one for each style"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", request.param)


def look_up(corpus: Path, draw: room.Draw, **options: object) -> Report:
    defaults: dict[str, object] = {"names": 6, "features": Thumbnails()}
    return measure(draw, corpus, "flat", "outlined", **{**defaults, **options})  # type: ignore[arg-type]


def test_a_model_that_draws_the_real_thing_scores_one(corpus: Path) -> None:
    asked: list[str] = []

    def draw(names: list[str]) -> list[Image.Image]:
        asked.extend(names)
        return [thing(name) for name in names]

    report = look_up(corpus, draw)
    assert len(set(asked)) == 6 and set(asked) <= set(THINGS) - {"red bar", "blue ring"}
    assert report.drawn["R@1"].value == 1 and report.drawn["R@1"].chance == 1 / 6
    assert (report.features, report.gallery, report.gallery_names) == ("Thumbnails", "flat", 6)
    assert [c.name for c in report.cells] == [c.nearest for c in report.cells] == asked
    assert [load(cell.real) for cell in report.cells] == [thing(name) for name in asked]


def test_a_model_that_draws_nothing_scores_chance(corpus: Path) -> None:
    blank = Image.new("RGB", (64, 64), "white")
    report = look_up(corpus, lambda names: [blank] * len(names))
    assert report.drawn["R@1"].value == pytest.approx(1 / 6)
    assert "6 names among 6 of flat\nR@1  drawn 0.167 [0." in str(report)
    assert report.figures()["drawn"]["R@1"]["chance"] == 1 / 6


def test_the_ceiling_is_the_other_styles_score(corpus: Path) -> None:
    """What a model gets that draws the other style's very pictures."""
    report = look_up(corpus, lambda names: [thing(name, "outlined") for name in names])
    assert report.drawn == report.ceiling != look_up(corpus, lambda n: list(map(thing, n))).drawn


def test_the_whole_gallery_has_the_names_that_were_not_asked_for(corpus: Path) -> None:
    report = look_up(corpus, lambda names: list(map(thing, names)), whole_gallery=True)
    assert report.gallery_names == len(THINGS) - 1 and report.names == 6
    assert report.drawn["R@5"].chance == 5 / 9
    assert report.ceiling["R@1"].value < 1


def test_every_picture_is_brought_to_the_side(corpus: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Sizes(Thumbnails):
        def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
            kept = list(pictures)
            seen.extend(each.size for each in kept)
            return super().__call__(kept)

    large = look_up(corpus, lambda names: [thing(n).resize((192, 192)) for n in names], side=48,
                    features=Sizes())  # fmt: skip
    assert seen == [(48, 48)] * 18 and large.side == 48


def test_progress_counts_every_picture(corpus: Path) -> None:
    calls: list[tuple[int, int]] = []
    look_up(
        corpus,
        lambda names: list(map(thing, names)),
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (18, 18) and [done for done, _ in calls] == list(range(1, 19))


def test_a_model_that_gives_too_few_pictures_is_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match="5 pictures and 6 names"):
        look_up(corpus, lambda names: list(map(thing, names[1:])))


def test_the_seed_alone_chooses_the_names() -> None:
    names = [f"name {n}" for n in range(20)]
    one = {name: Path(name) for name in names}
    other = {name: one[name] for name in reversed(names[3:])}
    chosen = choose_names(one, other, 8, seed=0)
    assert chosen == choose_names(dict(reversed(one.items())), other, 8, seed=0)
    assert chosen != choose_names(one, other, 8, seed=1)
    assert len(set(chosen)) == 8 and set(chosen) <= set(other)
    with pytest.raises(ValueError, match="18 names wanted, the styles have 17 in common"):
        choose_names(one, other, 18, seed=0)


def test_an_unknown_style_is_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match="no style comic: choose from flat, outlined"):
        prototypes_of(corpus, "comic")


# --- a cascade over a corpus ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base of the recipe tiny with random weights, so that its noise shows."""
    config = recipe().model
    config = config.model_copy(update={"stages": config.stages[:1]})
    folder = tmp_path_factory.mktemp("model")
    stages = [Stage(stage, UNet(stage.unet)) for stage in config.stages]
    for number, weight in enumerate(stages[0].trained().parameters()):
        weight.data = 0.1 * noise(*weight.shape, seed=number)
    model_folder.save(Cascade(config, stages), folder)
    return folder


def test_pictures_are_drawn_by_number_not_by_batch(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade, calls = model_folder.load(model), []
    draw = drawer(
        cascade, seed=3, settings=[{"steps": 2}], on_progress=lambda *call: calls.append(call)
    )
    together = draw(THINGS[:5])
    monkeypatch.setattr(room, "BATCH", 2)
    apart = draw(THINGS[:5])
    assert calls == [(5, 5), (2, 5), (4, 5), (5, 5)]
    assert all(difference(*pair) <= 2 for pair in zip(together, apart, strict=True))
    again = drawer(cascade, seed=6, settings=[{"steps": 2}])([THINGS[3]])[0]
    other = drawer(cascade, seed=7, settings=[{"steps": 2}])([THINGS[3]])[0]
    assert difference(again, together[3]) <= 2 < 50 < difference(other, together[3])


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest of any pixel, in 0..255."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def command(*words: object) -> tuple[int, str, str]:
    app = Typer()
    app.command()(room.main)
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def test_the_command(model: Path, tmp_path: Path) -> None:
    corpus, sheet = write_corpus(tmp_path / "corpus", together=False), tmp_path / "out/sheet.png"
    styles = ["--gallery", "flat", "--ceiling", "outlined", "--names", "2", "--steps", "1"]
    words = [model, corpus, *styles, "--device", "cpu"]
    status, out, _ = command(*words, "--json", "--sheet", sheet)
    figures = json.loads(out)
    assert status == 0
    assert figures["features"] == "EffLite2" and figures["names"] == len(figures["nearest"]) == 2
    assert set(figures["drawn"]) == set(figures["ceiling"]) == {"R@1", "R@5"}
    assert figures["drawn"]["R@5"] == {"value": 1, "low": 1, "high": 1, "chance": 1}
    assert load(sheet).height > 128


def test_a_wrong_request_is_one_line(model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", together=True)
    flat = ["--gallery", "flat", "--ceiling", "outlined"]
    for words, complaint in (
        ((tmp_path / "none", corpus), "else give a model folder"),
        ((model, corpus), "has no style fluent-emoji: choose from flat, outlined"),
        ((model, corpus, *flat, "--size", 100), "size 100 is no stage"),
        ((model, corpus, *flat), "200 names wanted, the styles have 8 in common"),
    ):
        status, out, err = command(*words, "--device", "cpu")
        assert status == 2 and not out
        assert err.startswith("retrieval: ") and complaint in err and err.count("\n") == 1

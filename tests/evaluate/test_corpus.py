"""Exams of the illustration corpus ask for what was held back, and know it when they see it."""

import colorsys
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from things import Thumbnails

from openimagen.data.colours import own_colour
from openimagen.data.folder import Pictures
from openimagen.data.illustrations import is_unseen
from openimagen.data.images import load
from openimagen.data.scene_prompts import OBJECTS
from openimagen.data.scenes import read_icon
from openimagen.data.unseen import is_unseen_name, is_unseen_pair
from openimagen.evaluate.composition import scene_of
from openimagen.evaluate.corpus import Corpus, corpus_exams, read_corpus, styled_prompt
from openimagen.evaluate.drawing import load_model
from openimagen.evaluate.exams import Exam
from openimagen.evaluate.report.compared import Pairs, exams_of
from openimagen.evaluate.report.request import Request
from openimagen.evaluate.report.run import report
from openimagen.progress import unwatched

NAMES = sorted({*OBJECTS.values()})
STYLES = ("fluent-emoji", "noto", "twemoji")
SEEN, UNSEEN, NEW, COMPOSED = range(4)


def picture(number: int, style: str) -> Image.Image:
    """A shape of its own for each number; styles differ in size."""
    icon = Image.new("RGBA", (48, 48))
    pen, edge = ImageDraw.Draw(icon), 4 + 2 * STYLES.index(style)
    hue, kind = number / len(NAMES), number % 3
    ink = tuple(round(255 * level) for level in colorsys.hsv_to_rgb(hue, 0.8, 0.8))
    box = (edge, edge, 48 - edge, 48 - edge)
    (pen.ellipse if kind == 0 else pen.rectangle)(box, ink)
    if kind == 2:
        pen.rectangle((24, 24, 48 - edge, 48 - edge), (255, 255, 255))
    return icon


@pytest.fixture(scope="module", autouse=True)
def few_scenes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openimagen.evaluate.corpus.EACH", 4)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("icons")
    for style in STYLES:
        (root / style).mkdir()
        rows = []
        for number, name in enumerate(NAMES):
            file = f"{name.replace(' ', '-')}.png"
            picture(number, style).save(root / style / file)
            row = {"file_name": file, "text": [name], "name": name, "style": style}
            rows.append(json.dumps(row | {"group": "objects"}))
        (root / style / "metadata.jsonl").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return read_corpus(folder)


@pytest.fixture(scope="module")
def exams(corpus: Corpus) -> list[Exam]:
    return corpus_exams(corpus, Thumbnails(), names=12, side=48)


def test_shown_and_held_are_apart_and_held_names_are_shown_in_another_style(
    corpus: Corpus,
) -> None:
    assert corpus.held
    assert not {*corpus.shown} & {*corpus.held}
    assert all(is_unseen_pair(icon.name, icon.style) for icon in corpus.held)
    assert not any(is_unseen_name(icon.name) for icon in corpus.held)


def test_a_file_that_was_shown_under_another_name_is_not_held(
    corpus: Corpus, tmp_path: Path
) -> None:
    shutil.copytree(corpus.folder, tmp_path / "icons")
    held, shown = corpus.held[0], corpus.shown[0]
    shutil.copy(shown.path, tmp_path / "icons" / held.path.relative_to(corpus.folder))
    again = {(icon.name, icon.style) for icon in read_corpus(tmp_path / "icons").held}
    assert again == {(icon.name, icon.style) for icon in corpus.held} - {(held.name, held.style)}


def test_each_exam_asks_for_what_it_says(corpus: Corpus, exams: list[Exam]) -> None:
    for prompt in exams[SEEN].prompts:
        assert not is_unseen_pair(prompt.text, "fluent-emoji")
    assert [prompt.text for prompt in exams[NEW].prompts] == ["house", "top hat"]
    assert all(is_unseen_name(prompt.text) for prompt in exams[NEW].prompts)
    words = {"fluent 3D style": "fluent-emoji", "noto style": "noto", "twemoji style": "twemoji"}
    for prompt in exams[UNSEEN].prompts:
        name, style = prompt.text.split(", in ")
        assert is_unseen_pair(name, words[style])
    tags = set()
    for prompt in exams[COMPOSED].prompts:
        scene = scene_of(prompt)
        tags.add(scene.tag)
        assert is_unseen(scene) == (scene.tag in ("colors", "position", "color_attr"))
        assert prompt.text.endswith(", in fluent 3D style")
        for thing in scene.include:
            own = own_colour(read_icon(corpus.of("fluent-emoji")[OBJECTS[thing.name]].path, 48))
            assert thing.colour not in ("white", own)
    assert len(tags) == 6


def test_the_real_pictures_are_right_and_those_of_other_names_are_not(
    corpus: Corpus, exams: list[Exam]
) -> None:
    by_name = {f"{icon.name} {icon.style}": load(icon.path) for icon in corpus.icons}
    words = {"fluent 3D style": "fluent-emoji", "noto style": "noto", "twemoji style": "twemoji"}
    for exam, asked in (
        (exams[SEEN], [f"{prompt.text} fluent-emoji" for prompt in exams[SEEN].prompts]),
        (exams[NEW], [f"{prompt.text} fluent-emoji" for prompt in exams[NEW].prompts]),
        (
            exams[UNSEEN],
            [
                f"{name} {words[style]}"
                for name, style in (p.text.split(", in ") for p in exams[UNSEEN].prompts)
            ],
        ),
    ):
        real = [by_name[each] for each in asked]
        scores = exam.alignment(real, exam.prompts)
        assert {score.value for score in scores} == {1}
        assert scores[0].chance == pytest.approx(1 / 12)
        assert scores[0].ceiling is not None and scores[0].ceiling > 0.5
        turned = exam.alignment(real[1:] + real[:1], exam.prompts)
        assert turned[0].value < 0.2


def test_the_right_names_in_the_wrong_styles_are_told(corpus: Corpus) -> None:
    """Names are known in any style; whether it is the one asked for is a score of its own."""
    kept = [icon for icon in corpus.icons if icon.is_unseen or icon.style != STYLES[2]]
    some = [*corpus.of(STYLES[2]).values()][::2]
    fewer = replace(corpus, icons=tuple(dict.fromkeys((*kept, *some))))
    exam = corpus_exams(fewer, Thumbnails(), names=8, side=48)[UNSEEN]
    icons = {styled_prompt(icon): icon for icon in fewer.icons}
    asked = [icons[prompt.text] for prompt in exam.prompts]
    others = [next(i for i in fewer.named(icon.name) if i != icon) for icon in asked]
    right, wrong = (
        exam.alignment([load(icon.path) for icon in drawn], exam.prompts)
        for drawn in (asked, others)
    )
    assert [score.name.split(" of ")[0] for score in right] == ["R@1", "R@5", "style"]
    assert right[2].value == 1 and wrong[2].value == 0 and wrong[0].value > 0.5
    styles = [len({each.style for each in fewer.named(icon.name)}) for icon in asked]
    assert {*styles} == {2, 3}
    assert right[2].chance == pytest.approx(np.mean([1 / count for count in styles]))
    assert right[2].prompts == len(asked)


def test_pictures_come_in_any_order_of_styles(exams: list[Exam], corpus: Corpus) -> None:
    """Each is held to its own gallery: hits follow the prompts when both are shuffled."""
    exam, rng = exams[UNSEEN], np.random.default_rng(0)
    pictures = [load(corpus.icons[int(n)].path) for n in rng.integers(len(corpus.icons), size=6)]
    prompted = {styled_prompt(icon): icon for icon in corpus.icons}
    pictures += [load(prompted[prompt.text].path) for prompt in exam.prompts[6:]]
    order = rng.permutation(12)
    there = exam.alignment(pictures, exam.prompts)
    again = exam.alignment([pictures[n] for n in order], [exam.prompts[n] for n in order])
    assert 0.5 <= there[0].value == again[0].value < 1
    assert [score.value for score in there[1:]] == [score.value for score in again[1:]]


def test_too_few_names_and_a_single_style_are_refused(folder: Path, corpus: Corpus) -> None:
    with pytest.raises(ValueError, match=r"500 names wanted, .* 50: say --names 50"):
        corpus_exams(corpus, Thumbnails(), names=500)
    with pytest.raises(ValueError, match="has icons of noto: fluent-emoji and another style are"):
        read_corpus(folder / "noto")


def test_distances_are_to_held_icons_beside_shown_ones(
    folder: Path, corpus: Corpus, tiny_folder: Path, tmp_path: Path
) -> None:
    asked = Request(model=load_model(str(tiny_folder)), out=tmp_path, icons=folder, names=8)
    _, compared = exams_of(asked, Thumbnails(), unwatched)
    assert compared and compared.beside and compared.own
    held, shown = ({icon.path for icon in icons} for icons in (corpus.held, corpus.shown))
    assert paths(compared.real) == paths(compared.own) == held
    assert paths(compared.trained) == shown
    assert paths(compared.beside) < shown and compared.beside.count() == 8


def paths(pairs: Pairs) -> set[Path]:
    assert isinstance(pairs.source, Pictures)
    return {pair.path for pair in pairs.source.pairs}


@pytest.mark.filterwarnings("ignore:.*pictures are few")
def test_a_report_of_the_corpus(
    folder: Path,
    corpus: Corpus,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every target has a row; near-copies are of shown icons."""
    monkeypatch.setattr("openimagen.evaluate.report.run.EffLite2", lambda device: Thumbnails())
    asked = Request(
        model=load_model(str(tiny_folder)), out=tmp_path / "out", icons=folder, names=8,
        guidance=(),
    )  # fmt: skip
    found, page = report(asked)
    rows = {figure.name.split(" (")[0]: figure for figure in found.figures}
    named = [f"R@{k} of {which}" for k in (1, 5) for which in ("seen names", "unseen", "new names")]
    scenes = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]
    assert {*named, *scenes, "style of unseen", "KID-Thumbnails"} <= {*rows}
    assert rows["FD-Thumbnails"].real is not None
    assert found.copying is not None and found.copying.training == len(corpus.shown)
    assert found.left_out == (
        ("CLIP score", "Give a CLIP: --clip FOLDER"),
        ("speed", "Leave --no-speed out"),
    )
    assert page.exists()

    seen = tmp_path / "out/pictures/seen"
    for drawn in map(json.loads, (seen / "metadata.jsonl").open()):
        copied = load(corpus.of("fluent-emoji")[drawn["text"]].path)
        copied.resize((asked.drawn,) * 2).save(seen / drawn["file_name"])
    again, _ = report(asked)
    copies = "near-copies of training pictures among seen names"
    assert [each.value for each in again.figures if each.name.startswith(copies)] == [1]
    assert rows[copies].value < 1 and again.copying == found.copying

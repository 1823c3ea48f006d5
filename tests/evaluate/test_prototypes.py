"""Prototype retrieval as an alignment: galleries of known answers; worse pictures."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFilter
from things import THINGS, Thumbnails, grainy, thing, write_style

from openimagen.data.images import load
from openimagen.evaluate.features import EffLite2
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.retrieval import Prototypes, choose_names, look_up, named_pictures


def prompts(names: Iterable[str] = THINGS) -> list[Prompt]:
    return [Prompt(name) for name in names]


@pytest.fixture
def gallery(tmp_path: Path) -> dict[str, list[Path]]:
    return named_pictures(write_style(tmp_path / "flat", "flat"))


@pytest.fixture
def real(tmp_path: Path) -> dict[str, list[Path]]:
    return named_pictures(write_style(tmp_path / "outlined", "outlined", lacking="red bar"))


Gallery = dict[str, list[Path]]


def test_the_real_thing_scores_one_and_nothing_scores_chance(gallery: Gallery) -> None:
    measure = Prototypes(gallery, Thumbnails())
    best = measure(map(thing, THINGS), prompts())
    assert [score.name for score in best] == ["R@1 (Thumbnails)", "R@5 (Thumbnails)"]
    assert [(score.value, score.prompts, score.chance) for score in best] == [
        (1, 10, 1 / 10), (1, 10, 5 / 10)
    ]  # fmt: skip
    assert best[0].ceiling is None and best[0].low == pytest.approx(0.025 ** (1 / 10))
    blank = [Image.new("RGB", (64, 64), "white")] * 10
    assert measure(blank, prompts())[0].value == pytest.approx(1 / 10)


def test_the_ceiling_is_the_other_styles_score(gallery: Gallery, real: Gallery) -> None:
    """Over those of the names that it has: what one gets who draws its very pictures."""
    measure = Prototypes(gallery, Thumbnails(), real)
    asked = prompts(real)
    others = measure((thing(name, "outlined") for name in real), asked)
    ceilings = [score.ceiling for score in measure(map(thing, THINGS), prompts())]
    assert [score.value for score in others] == ceilings != [1, 1]


def test_several_pictures_of_a_prompt_are_one_prompt(gallery: Gallery) -> None:
    measure = Prototypes(gallery, Thumbnails())
    twice = [name for name in THINGS for _ in range(2)]
    pictures = [thing(name) if n % 4 else thing("red bar") for n, name in enumerate(twice)]
    score = measure(pictures, prompts(twice))[0]
    assert score.prompts == 10 and score.value == 15 / 20


def test_every_picture_is_brought_to_the_side(gallery: Gallery, real: Gallery) -> None:
    look = Thumbnails()
    Prototypes(gallery, look, real, side=48)(map(thing, THINGS), prompts())
    assert look.sizes == [(48, 48)] * (10 + 10 + 9)


def test_the_gallery_is_looked_at_once(gallery: Gallery, real: Gallery) -> None:
    look = Thumbnails()
    measure = Prototypes(gallery, look, real)
    first = measure(map(thing, THINGS), prompts())
    assert measure(map(thing, THINGS), prompts()) == first
    assert len(look.sizes) == 10 + 10 + 9 + 10


def test_cells_have_the_real_picture_and_the_wrong_name(gallery: Gallery) -> None:
    drawn = [thing(THINGS[1]), thing(THINGS[1])]
    _, cells = Prototypes(gallery, Thumbnails()).judge(drawn, prompts(THINGS[:2]))
    assert [cell.fault for cell in cells] == [f"near {THINGS[1]}", ""]
    assert [load(cell.real) for cell in cells if cell.real] == [thing(name) for name in THINGS[:2]]


def test_prompts_that_the_gallery_lacks_are_named(gallery: Gallery) -> None:
    measure = Prototypes(gallery, Thumbnails())
    for asked, complaint in (
        (prompts([THINGS[0], "a cat", "a dog"]),
         r"no picture of 'a cat' \(2 of 3 prompts lack\): give names that it has"),
        ([], "no prompt to look up"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=complaint):
            measure.check(asked)
    with pytest.raises(ValueError, match="9 pictures and 10 names"):
        measure(map(thing, THINGS[1:]), prompts())


def test_the_seed_alone_chooses_the_names() -> None:
    names = [f"name {n}" for n in range(20)]
    one = {name: Path(name) for name in names}
    other = {name: one[name] for name in reversed(names[3:])}
    chosen = choose_names(one, other, 8, seed=0)
    assert chosen == choose_names(dict(reversed(one.items())), other, 8, seed=0)
    assert chosen != choose_names(one, other, 8, seed=1)
    assert len(set(chosen)) == 8 and set(chosen) <= set(other)
    with pytest.raises(ValueError, match="18 names wanted, the galleries have 17 in common"):
        choose_names(one, other, 18, seed=0)


# --- what is worse --------------------------------------------------------------------------------


def test_a_ladder_of_worse_pictures_is_ordered() -> None:
    """Blur, noise, mode collapse and shuffled captions, each from the pictures as they are."""
    Blur = ImageFilter.GaussianBlur
    look = EffLite2()
    gallery = look(map(thing, THINGS))
    plain = [thing(name, "outlined") for name in THINGS]
    rows = look(plain)

    def score(rows: torch.Tensor, names: list[str] = THINGS) -> float:
        hits = look_up(rows, names, gallery, THINGS).hits[1]
        return sum(hits) / len(hits)

    best = score(rows)
    ladders = {
        "blur": [score(look(p.filter(Blur(r)) for p in plain)) for r in (5, 20)],
        "noise": [score(look(grainy(p, amount) for p in plain)) for amount in (0.5, 0.9)],
        "collapse": [score(rows[[n % k for n in range(len(rows))]]) for k in (3, 1)],
        "shuffle": [score(rows, shuffle(THINGS, share)) for share in (0.25, 0.5, 1)],
    }  # fmt: skip
    assert best >= 0.7
    for kind, rungs in ladders.items():
        assert [best, *rungs] == sorted([best, *rungs], reverse=True), kind
        assert best > rungs[-1] <= 0.3, kind
    assert best > ladders["shuffle"][0] > ladders["shuffle"][1] > ladders["shuffle"][2]
    assert ladders["collapse"][-1] == pytest.approx(1 / len(THINGS))


def shuffle(names: list[str], share: float) -> list[str]:
    """A share of the pictures get each other's names; none of them keeps its own."""
    moved = random.Random(0).sample(range(len(names)), round(share * len(names)))
    given = list(names)
    for place, source in zip(moved, moved[1:] + moved[:1], strict=True):
        given[place] = names[source]
    return given


def test_a_picture_that_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    """As everywhere else where pictures are read: one bad file in a folder ends nothing."""
    folder = write_style(tmp_path / "flat", "flat", names=THINGS[:3])
    first, second, third = (folder / f"{name.replace(' ', '-')}.png" for name in THINGS[:3])
    first.write_bytes(first.read_bytes()[:200])
    second.write_text("no picture")
    with pytest.warns(UserWarning, match=r"cannot be read: .*\.png: .*, and 1 more$"):
        assert named_pictures(folder) == {THINGS[2]: [third]}
    third.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no picture in .*flat can be read"):
        named_pictures(folder)

"""Drawing many prompts: once, whoever is killed, whoever shares the work; never two in one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade
from openimagen.data.images import to_pil
from openimagen.data.sample import Sample
from openimagen.data.source import open_source
from openimagen.evaluate.drawing import BATCH, Drawing, Model, Shard, load_model
from openimagen.evaluate.prompts import Prompt, read_prompts
from openimagen.text import TextEncoder

TESTS = Path(__file__).parent.parent
PROMPTS = [
    Prompt("a red boat", "Colors"),
    Prompt("two boats", "Counting", {"include": [{"class": "boat", "count": 2}]}),
    Prompt("a boat", "Colors", {"include": [], "exclude": [{"class": "bird", "count": 1}]}),
    Prompt("caf\u00e9 \u201cahoy\u201d"),
    Prompt("a red boat", "Colors"),
]
FAST = [{"steps": 1}] * 3


def quietly(done: int, total: int) -> None:
    pass


def bits(folder: Path) -> dict[str, bytes]:
    """Names and contents of all that is there, but for what killed processes leave."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.fixture
def model(tiny: Cascade) -> Model:
    return Model("tiny", "f00d", tiny)


@pytest.fixture
def whole(model: Model, tmp_path: Path) -> Drawing:
    """A drawing that ran through: four of each of the prompts, three batches."""
    drawing = Drawing(model, PROMPTS, tmp_path / "whole", 4, 7, 16, FAST)
    drawing.draw(quietly)
    return drawing


# --- what is drawn --------------------------------------------------------------------------------


def test_a_picture_is_that_of_its_prompt_and_seed(whole: Drawing, tiny: Cascade) -> None:
    numbers = range(8, 16)
    texts = [PROMPTS[number // 4].text for number in numbers]
    seeds = [7 + number for number in numbers]
    images = tiny.sample(texts, seeds, settings=FAST, size=16)[-1]
    pictures = list(whole.pictures())
    assert len(whole) == len(pictures) == 20 and whole.missing() == []
    for number, image in zip(numbers, images, strict=True):
        assert pictures[number].tobytes() == to_pil(image).tobytes()
    assert [path.name for path in whole.files(2)] == [f"{n:06}.png" for n in (8, 9, 10, 11)]
    assert len({picture.tobytes() for picture in pictures}) == 20


def test_progress_counts_pictures(model: Model, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    drawing = Drawing(model, PROMPTS, tmp_path / "out", 4, 0, 16, FAST)
    drawing.draw(lambda *counts: told.append(counts))
    assert told == [(8, 20), (16, 20), (20, 20)]
    drawing.draw(lambda *counts: told.append(counts), Shard(1, 2))
    assert told[3:] == [(8, 8)]


# --- once -----------------------------------------------------------------------------------------


def test_what_was_deleted_is_drawn_again_and_nothing_else(
    whole: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bits(whole.folder)
    for number in (3, 17, 18):
        whole.file(number).unlink()
    drawn: list[int] = []
    sample = Cascade.sample

    def counted(self: Cascade, texts: list[str], seeds: list[int], **rest: object) -> list[Tensor]:
        drawn.extend(seeds)
        return sample(self, texts, seeds, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Cascade, "sample", counted)
    assert whole.missing() == [3, 17, 18]
    whole.draw(quietly)
    assert drawn == [*range(7, 15), *range(23, 27)]  # whole batches, to the same bits
    assert bits(whole.folder) == before
    whole.draw(quietly)
    assert len(drawn) == 12


KILLED = """
import os, signal, sys
from pathlib import Path
from conftest import WordEncoder
from evaluate.test_drawing import FAST, PROMPTS, quietly
from openimagen import model_folder
from openimagen.evaluate.drawing import Drawing, Model

cascade = model_folder.load(Path(sys.argv[1]))
cascade.encoder = WordEncoder()
rename, pictures = os.replace, []

def dying(old, new):
    pictures.append(new) if new.suffix == ".png" else None
    if len(pictures) == 12:  # in the middle of a batch, of a file
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)

os.replace = dying
Drawing(Model("tiny", "f00d", cascade), PROMPTS, Path(sys.argv[2]), 4, 7, 16, FAST).draw(quietly)
"""


def test_killed_in_the_middle_it_goes_on_to_the_same_bits(
    whole: Drawing, tiny: Cascade, tmp_path: Path
) -> None:
    model_folder.save(tiny, tmp_path / "tiny")
    drawing = replace(whole, folder=tmp_path / "killed")
    words = [sys.executable, "-c", KILLED, str(tmp_path / "tiny"), str(drawing.folder)]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    died = subprocess.run(words, env=os.environ | {"PYTHONPATH": paths}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert drawing.missing() == list(range(11, 20))
    drawing.draw(quietly)
    assert bits(drawing.folder) == bits(whole.folder)


# --- shared ---------------------------------------------------------------------------------------


def test_two_ranks_draw_what_one_does(whole: Drawing, tmp_path: Path) -> None:
    shared = replace(whole, folder=tmp_path / "shared")
    shared.draw(quietly, Shard(1, 2))
    assert shared.missing() == [*range(8), *range(16, 20)]
    shared.draw(quietly, Shard(0, 2))
    assert bits(shared.folder) == bits(whole.folder)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_all_of_it_once(count: int) -> None:
    shares = [Shard(number, count).share(37, BATCH) for number in range(count)]
    numbers = [number for share in shares for block in share for number in block]
    assert sorted(numbers) == list(range(37))
    assert all(block.start % BATCH == 0 for share in shares for block in share)


def test_ranks_are_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Shard.of_environment() == Shard(0, 1)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    assert Shard.of_environment() == Shard(2, 3)
    for rank in ("3", "-1", "first"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(ValueError, match=f"RANK {rank} of WORLD_SIZE 3: count ranks from 0"):
            Shard.of_environment()


# --- never two in one -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 8}, "seed"),
        ({"samples": 2}, "samples"),
        ({"size": 32}, "size"),
        ({"settings": ()}, "settings"),
        ({"prompts": PROMPTS[:4]}, "prompts"),
        ({"prompts": PROMPTS[:4], "seed": 8}, "prompts, seed"),
    ],
)
def test_a_folder_of_another_drawing_is_refused(
    whole: Drawing, change: dict[str, object], what: str
) -> None:
    before = bits(whole.folder)
    other = replace(whole, **change)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=rf"whole holds another drawing \(not the same: {what}\): choose"
    ):
        other.draw(quietly)
    assert bits(whole.folder) == before


def test_another_model_is_another_drawing(whole: Drawing) -> None:
    other = replace(whole, model=replace(whole.model, sha256="beef"))
    with pytest.raises(ValueError, match=r"\(not the same: model\): choose another"):
        other.draw(quietly)
    renamed = replace(whole, model=replace(whole.model, name="elsewhere/tiny"))
    renamed.draw(quietly)  # the same weights in another place


def test_new_categories_are_no_other_drawing(whole: Drawing) -> None:
    replace(whole, prompts=[replace(each, category="All") for each in PROMPTS]).draw(quietly)
    rows = read_prompts(whole.folder / "metadata.jsonl")
    assert {row.category for row in rows} == {"All"}


def test_what_is_no_drawing_is_left_alone(whole: Drawing, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "metadata.jsonl").write_text("mine")
    with pytest.raises(ValueError, match=r"own holds metadata.jsonl: choose an empty folder"):
        replace(whole, folder=own).draw(quietly)
    assert bits(own) == {"metadata.jsonl": b"mine"}
    for damage in ("{", "[]"):
        (whole.folder / "drawing.json").write_text(damage)
        with pytest.raises(ValueError, match=r"drawing.json is damaged: choose another folder"):
            whole.draw(quietly)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"size": 48}, "size 48 is no stage of tiny: choose one of 16, 32, 64"),
        ({"settings": [{"steps": 0}]}, "steps 0: input should be greater than 0"),
    ],
)
def test_what_the_model_cannot_draw_claims_no_folder(
    model: Model, tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    drawing = replace(Drawing(model, PROMPTS, tmp_path / "out", size=16), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=complaint):
        drawing.draw(quietly)
    assert not drawing.folder.exists()


# --- prompts and models ---------------------------------------------------------------------------


class Short(TextEncoder):
    """An encoder of three words."""

    def __init__(self, words: Callable[..., object]) -> None:
        self.words, self.max_tokens = words, 3

    def __call__(self, captions: list[str]) -> object:  # type: ignore[override]
        return self.words([" ".join(caption.split()[:3]) for caption in captions])

    def cut(self, captions: list[str]) -> list[str]:  # type: ignore[override]
        return [caption for caption in captions if len(caption.split()) > 3]


def test_a_prompt_that_is_too_long_is_refused_or_cut(tiny: Cascade, tmp_path: Path) -> None:
    assert tiny.encoder is not None
    tiny.encoder = Short(tiny.encoder)
    prompts = [Prompt("a red boat"), Prompt("a red boat at sea"), Prompt("a red boat at sea")]
    drawing = Drawing(Model("tiny", "", tiny), prompts, tmp_path / "out", size=16, settings=FAST)
    told = r'1 of 2 prompts are over the 3 tokens that tiny reads, as "a red boat at sea...": leave'
    with pytest.raises(ValueError, match=told):
        drawing.draw(quietly)
    assert not drawing.folder.exists()
    drawing.draw(quietly, cut=True)
    assert drawing.missing() == []


def test_a_model_is_known_by_its_hash(tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder))
    assert model.name == str(tiny_folder) and len(model.sha256) == 64
    assert model.cascade.config.name == "tiny"
    with pytest.raises(ValueError, match="no model nosuch: embedded models are emoji"):
        load_model("nosuch")


# --- captioned data -------------------------------------------------------------------------------


def test_a_drawing_is_captioned_data(whole: Drawing) -> None:
    items = list(open_source(whole.folder).samples())
    assert all(isinstance(item, Sample) for item in items)
    captions = [item.captions for item in items if isinstance(item, Sample)]
    assert captions == [(PROMPTS[number // 4].text,) for number in range(20)]


def test_its_prompts_come_back_whole(whole: Drawing) -> None:
    metadata = whole.folder / "metadata.jsonl"
    assert read_prompts(metadata) == [PROMPTS[number // 4] for number in range(20)]
    rows = [json.loads(line) for line in metadata.read_text("utf-8").splitlines()]
    assert [row["seed"] for row in rows] == list(range(7, 27))
    assert [row["file_name"] for row in rows] == [whole.file(n).name for n in range(20)]


def test_a_damaged_picture_is_named(whole: Drawing) -> None:
    whole.file(5).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"000005.png: no picture of a kind that is read"):
        list(whole.pictures())

"""The protocol on COCO: the figures of `quality`, whoever stops in between and whoever shares."""

import json
import re
import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from things import Thumbnails
from torch import Tensor
from typer.testing import CliRunner, Result

from openimagen.cascade import Cascade
from openimagen.cli import app
from openimagen.evaluate import feature_blocks
from openimagen.evaluate.captioned import read_captioned
from openimagen.evaluate.coco import Fid30k, Protocol, fid30k
from openimagen.evaluate.drawing import BATCH, Model, SamplingOverrides, Shard
from openimagen.evaluate.feature_blocks import FeatureBlocks
from openimagen.evaluate.prompts import read_prompts
from openimagen.evaluate.quality import quality

SIDE, BOTH = 16, 20  # pixels; captions
Measure = Callable[..., Fid30k]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks of real pictures, three of drawn ones."""
    monkeypatch.setattr(feature_blocks, "BLOCK", BATCH)


@pytest.fixture
def measure(tiny: Cascade, coco: Path, tmp_path: Path) -> Measure:
    def run(
        out: str = "run", shard: Shard | None = None, look: Thumbnails | None = None, **rest: object
    ) -> Fid30k:
        fast = SamplingOverrides(steps=[1])
        asked = replace(Protocol(BOTH, 3, SIDE, fast), **rest)  # type: ignore[arg-type]
        model = Model("tiny", "f00d", tiny)
        data = read_captioned(coco)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[0-9]+ pictures are few")
            return fid30k(model, data, look or Thumbnails(), tmp_path / out, asked, shard=shard)

    return run


def figures(run: Path) -> dict[str, object]:
    """What a run says, but for where it was."""
    found = json.loads((run / "fid30k.json").read_text())
    return {key: found[key] for key in ("protocol", "distances", "missing", "side")}


# --- what is measured -----------------------------------------------------------------------------


def test_it_is_the_quality_of_what_was_drawn(measure: Measure, coco: Path, tmp_path: Path) -> None:
    found = measure()
    assert found.quality is not None and found.missing == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = quality(coco / "val2014", tmp_path / "run/drawing", Thumbnails(), SIDE)
    assert found.quality.distances == same.distances
    assert (found.quality.real.pictures, found.quality.fake.pictures) == (10, BOTH)
    written = json.loads((tmp_path / "run/fid30k.json").read_text())
    assert written == json.loads(json.dumps(found.figures()))
    assert found.figures()["distances"][0]["name"] == "FD-Thumbnails"


def test_the_captions_are_drawn_by_lot_from_all(measure: Measure, tmp_path: Path) -> None:
    measure(prompts=12)
    texts = [prompt.text for prompt in read_prompts(tmp_path / "run/drawing/metadata.jsonl")]
    assert len(set(texts)) == 12
    assert {text.partition("/")[2] for text in texts} == {"0", "1"}
    measure("other", prompts=12, seed=4)
    others = [prompt.text for prompt in read_prompts(tmp_path / "other/drawing/metadata.jsonl")]
    assert set(others) != set(texts)
    measure("more", prompts=14)
    more = [prompt.text for prompt in read_prompts(tmp_path / "more/drawing/metadata.jsonl")]
    assert more[:12] == texts


def test_pictures_are_of_the_size_that_is_compared(measure: Measure, tmp_path: Path) -> None:
    """The smallest of the model's that is no less; both sides reach the network at one size."""
    look = Thumbnails()
    found = measure(side=20, look=look)
    assert found.protocol["size"] == 32 and set(look.sizes) == {(20, 20)}
    assert list(found.protocol["sampling"]) == ["base", "sr32"]
    assert found.protocol["sampling"]["base"]["steps"] == 1
    with pytest.warns(UserWarning, match="tiny draws 64 pixels: --side 70 enlarges them"):
        assert measure("large", side=70).protocol["size"] == 64


def test_broken_real_pictures_are_skipped_and_named(
    measure: Measure, coco: Path, tmp_path: Path
) -> None:
    (coco / "val2014/COCO_val2014_000000000003.jpg").write_bytes(b"no picture")
    found = measure()
    assert found.quality is not None
    real = found.quality.real
    assert (real.pictures, real.skipped, len(real.broken)) == (9, 1, 1)
    assert "000000000003.jpg" in next(iter(real.broken)) and "skipped real  1 x" in str(found)


@pytest.mark.filterwarnings("ignore:8 pictures are few")
def test_shards_are_data_too(measure: Measure, coco: Path, tiny: Cascade, tmp_path: Path) -> None:
    data = read_captioned(coco)
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        for file, texts in zip(data.files, data.captions, strict=True):
            file.with_suffix(".txt").write_text(texts[0])
            for member in (file, file.with_suffix(".txt")):
                tar.add(member, member.name)
    shards, asked = (
        read_captioned(tmp_path / "00.tar"),
        Protocol(8, 3, SIDE, SamplingOverrides(steps=[1])),
    )
    model, folders = Model("tiny", "f00d", tiny), [tmp_path / name for name in ("one", "two")]
    found = [
        fid30k(model, shards, Thumbnails(), folder, asked, shard=shard)
        for folder, shard in (
            (folders[0], Shard()),
            (folders[1], Shard(1, 2)),
            (folders[1], Shard(0, 2)),
        )
    ]
    assert [each.missing for each in found] == [0, 2, 0]
    measure("folder")
    features = [run / "features/Thumbnails" for run in (*folders, tmp_path / "folder")]
    one, two, folder = (FeatureBlocks(each, "real", 10).read()[0] for each in features)
    assert torch.equal(one, two) and torch.equal(one, folder)


# --- once -----------------------------------------------------------------------------------------


class Failing(Thumbnails):
    """Stops at the n-th picture."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        rows = super().__call__(pictures)
        if len(self.sizes) > self.last:
            raise KeyboardInterrupt
        return rows


@pytest.mark.parametrize("drop", [False, True])
def test_interrupted_it_goes_on_and_does_nothing_twice(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drop: bool
) -> None:
    measure("whole")
    drawn, sample = list[int](), Cascade.sample

    def counted(self: Cascade, texts: list[str], seeds: list[int], **rest: object) -> list[Tensor]:
        drawn.extend(seeds)
        return sample(self, texts, seeds, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Cascade, "sample", counted)
    for last in (8, 10):  # at the second block of real pictures; of drawn ones
        with pytest.raises(KeyboardInterrupt):
            measure(look=Failing(last), drop=drop)
    assert not (tmp_path / "run/fid30k.json").exists()
    look = Thumbnails()
    measure(look=look, drop=drop)
    assert len(look.sizes) == 12 and sorted(drawn) == list(range(3, 3 + BOTH))
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    assert len(list((tmp_path / "run/drawing").glob("*.png"))) == (0 if drop else BOTH)
    measure(look=look, drop=drop)
    assert len(look.sizes) == 12 and len(drawn) == BOTH


def test_other_features_are_taken_of_the_same_pictures(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure()
    monkeypatch.setattr(Cascade, "sample", lambda *_, **__: pytest.fail("it drew"))
    look = Thumbnails()
    look.name = "Other/14"
    assert measure(look=look).figures()["features"] == "Other/14"
    assert len(look.sizes) == 10 + BOTH
    names = {path.name for path in (tmp_path / "run/features").iterdir()}
    assert names == {"Thumbnails", "Other-14"}


# --- shared ---------------------------------------------------------------------------------------


def test_ranks_share_and_the_last_one_measures(measure: Measure, tmp_path: Path) -> None:
    measure("whole")
    looks = [Thumbnails(), Thumbnails()]
    first = measure(shard=Shard(1, 2), look=looks[1])
    assert first.quality is None and first.missing == 3
    assert "3 blocks of pictures are still with others" in str(first)
    assert not (tmp_path / "run/fid30k.json").exists()
    assert measure(shard=Shard(0, 2), look=looks[0]).missing == 0
    assert [len(look.sizes) for look in looks] == [8 + 8 + 4, 2 + 8]
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


# --- wrong requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 4}, "drawing holds another drawing (not the same: prompts, seed)"),
        ({"prompts": 19}, "drawing holds another drawing (not the same: prompts)"),
        (
            {"overrides": SamplingOverrides(steps=[2])},
            "drawing holds another drawing (not the same: settings)",
        ),
        ({"side": 15}, "Thumbnails holds other features (not the same: side)"),
    ],
)
def test_a_run_of_something_else_is_refused(
    measure: Measure, change: dict[str, object], what: str
) -> None:
    measure()
    with pytest.raises(ValueError, match=f"{re.escape(what)}: choose another folder, or delete it"):
        measure(**change)


def test_another_reference_is_refused(measure: Measure, coco: Path) -> None:
    measure()
    listed = coco / "annotations/captions_val2014.json"
    contents = json.loads(listed.read_text())
    contents["images"].append({"id": 99, "file_name": "a.jpg"})
    shutil.copy(coco / "val2014/COCO_val2014_000000000003.jpg", coco / "val2014/a.jpg")
    listed.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match=r"holds other features \(not the same: reference\)"):
        measure()


def test_too_little_is_told_before_anything_is_drawn(measure: Measure, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 20 captions, 21 are asked for: say --prompts 20"):
        measure(prompts=21)
    with pytest.raises(ValueError, match="6 pictures on one side: the distances need at least 7"):
        measure(prompts=6)
    assert not (tmp_path / "run").exists()


def test_captions_that_are_too_long_are_refused_or_cut(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object) -> None:
        raise ValueError("leave them out, or say --cut")

    monkeypatch.setattr("openimagen.evaluate.drawing.check_fit", too_long)
    with pytest.raises(ValueError, match="say --cut"):
        measure(prompts=8)
    assert not (tmp_path / "run").exists()
    assert measure(prompts=8, cut=True).missing == 0


def test_a_damaged_block_is_named(measure: Measure, tmp_path: Path) -> None:
    measure()
    block = tmp_path / "run/features/Thumbnails/drawn-0000008.safetensors"
    block.write_bytes(block.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"drawn-0000008.safetensors is damaged: delete it, and"):
        measure()
    block.unlink()
    assert measure().missing == 0


# --- the command ----------------------------------------------------------------------------------


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "fid30k", *map(str, words), "--device", "cpu"])


def test_the_command_reports_in_words_or_json(
    coco: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    words = ["--prompts", 8, "--side", 16, "--steps", 1, "--out", tmp_path / "run"]
    told = run(tiny_folder, "--coco", coco, *words)
    assert told.exit_code == 0, told.stderr
    assert "at 16, 8 captions of" in told.stdout and "FD-EffLite2" in told.stdout
    (line,) = told.stderr.splitlines()
    assert line.startswith("openimagen: 8 pictures are few. FD-EffLite2: far too high")
    found = json.loads(run(tiny_folder, "--data", coco, *words, "--json").stdout)
    assert found["protocol"]["prompts"] == 8 and len(found["distances"]) == 7


def test_a_wrong_request_is_one_line(coco: Path, tiny_folder: Path, tmp_path: Path) -> None:
    for words, complaint in (
        ((), "say what to compare with: --coco FOLDER, or --data of your own"),
        (("--coco", coco, "--data", coco), "say what to compare with: --coco FOLDER, or --data"),
        (("--coco", tmp_path), "lacks annotations/captions_val2014.json: unpack COCO's val2014"),
        (("--data", tmp_path / "none"), "none does not exist: give a folder"),
        (("--coco", coco), "has 20 captions, 30000 are asked for"),
        (("--coco", coco, "--features", "inception"), "inception needs its weights: give the"),
        (("--coco", coco, "--prompts", 8, "--size", 48), "size 48 is no stage of tiny"),
    ):
        done = run(tiny_folder, "--out", tmp_path / "run", *words)
        (line,) = done.stderr.splitlines()
        assert complaint in line and done.exit_code == 2, words
        assert not (tmp_path / "run").exists()

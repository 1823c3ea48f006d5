"""Captions embedded ahead of time: what comes out is what that encoder said, and no other one."""

import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn

from openimagen import embed as module
from openimagen.config import TextConfig
from openimagen.data.check import check
from openimagen.data.folder import list_folder
from openimagen.data.source import open_source
from openimagen.embed import PROBE, Embedded, embed
from openimagen.embeddings import Embeddings, find, home_of, keys_of
from openimagen.text import CachedEncoder, Encoder, Network, TextEmbedding, TextEncoder

CPU = torch.device("cpu")
WORDS = TextConfig(encoder="words", max_tokens=8)
CAPTIONS = ["a red cat", "a boat", "two old boats on the sea", "a red cat", "moon"]
Make = Callable[[Path], Path]


class Words(TextEncoder):
    """An encoder with a random state for each word, that notes what it is asked."""

    def __init__(self, text: TextConfig, positions: int | None = None, scale: float = 1.0) -> None:
        words = sorted(set(" ".join([*CAPTIONS, PROBE]).split()))
        tokenizer = Tokenizer(WordLevel({w: n for n, w in enumerate(["?", *words])}, "?"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        states = torch.randn(len(words) + 1, 12, generator=torch.Generator().manual_seed(0))
        table = nn.Embedding.from_pretrained(scale * states)
        network = Network(table, lambda ids, mask: [table(ids)], 12, positions)
        super().__init__(text.encoder, network, tokenizer, text.max_tokens)
        self.asked: list[str] = []

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        self.asked += captions
        return super().__call__(captions)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Words]:
    """The encoders that were loaded, the last of which is used."""
    every: list[Words] = []

    def load(text: TextConfig, **_: object) -> Words:
        every.append(Words(text))
        return every[-1]

    monkeypatch.setattr(TextEncoder, "load", load)
    return every


def picture(number: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def as_folder(root: Path) -> Path:
    root.mkdir()
    for number, caption in enumerate(CAPTIONS):
        (root / f"{number}.png").write_bytes(picture(number))
        (root / f"{number}.txt").write_text(caption)
    return root


def as_tar(root: Path) -> Path:
    root.mkdir()
    for shard in range(2):
        with tarfile.open(root / f"{shard:05}.tar", "w") as tar:
            for number, caption in [*enumerate(CAPTIONS)][3 * shard : 3 * shard + 3]:
                for suffix, content in (("png", picture(number)), ("txt", caption.encode())):
                    info = tarfile.TarInfo(f"{number}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return root


def as_parquet(root: Path) -> Path:
    root.mkdir()
    images = pa.array(map(picture, range(len(CAPTIONS))), pa.binary())
    parquet.write_table(pa.table({"image": images, "text": CAPTIONS}), root / "all.parquet")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return as_folder(tmp_path / "data")


def stored(data: Path, text: TextConfig = WORDS) -> Embeddings:
    found = find(data, text, CPU)
    assert found is not None
    return found


# --- what comes out -------------------------------------------------------------------------------


def test_they_say_what_the_encoder_says(folder: Path, loaded: list[Words]) -> None:
    embed(folder, WORDS)
    embeddings, cached = stored(folder), CachedEncoder(loaded[0])
    for batch in (CAPTIONS, CAPTIONS[3:], ["moon"]):
        tokens, mask = embeddings(batch)
        assert torch.equal(tokens, cached(batch).tokens) and torch.equal(mask, cached(batch).mask)
        exact = loaded[0](batch)
        assert torch.equal(mask, exact.mask) and tokens.dtype == exact.tokens.dtype
        assert torch.equal(tokens, exact.tokens.bfloat16().float())
    assert isinstance(embeddings, Encoder)
    assert (embeddings.width, embeddings.max_tokens) == (12, 8)
    assert embeddings.identity == loaded[0].identity == "words:8"
    with pytest.raises(ValueError, match="at least one string"):
        embeddings([])


def test_minilm_s_are_the_same_too(folder: Path) -> None:
    text = TextConfig(max_tokens=16)
    embed(folder, text)
    encoder = TextEncoder.load(text)
    tokens = stored(folder, text)(CAPTIONS).tokens
    assert torch.equal(tokens, CachedEncoder(encoder)(CAPTIONS).tokens)
    torch.testing.assert_close(tokens, encoder(CAPTIONS).tokens, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(("ahead", "size"), [(512, 10**8), (1, 10**8), (1, 1)])
@pytest.mark.parametrize("make", [as_folder, as_tar, as_parquet])
def test_every_different_caption_is_encoded_once(
    make: Make,
    ahead: int,
    size: int,
    tmp_path: Path,
    loaded: list[Words],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AHEAD", ahead)
    monkeypatch.setattr(module, "FILE_BYTES", size)
    data, told = make(tmp_path / "data"), list[tuple[int, int]]()
    done = embed(data, WORDS, ["moon", "sun"], on_progress=lambda *given: told.append(given))
    assert loaded[0].asked[0] == PROBE
    assert sorted(loaded[0].asked[1:]) == sorted({*CAPTIONS, "sun"})
    assert done == Embedded(
        folder=str(data / "embeddings/words-8"),
        encoder="words:8",
        captions=7,
        encoded=5,
        distinct=5,
        tokens=13,
        full=0,
        bytes=sum(file.stat().st_size for file in data.glob("embeddings/*/states-*")),
    )
    assert told[-1] == (5, 5)
    again = embed(data, WORDS)
    assert (again.captions, again.encoded, again.distinct, again.bytes) == (5, 0, 5, done.bytes)
    assert loaded[1].asked == [PROBE]
    assert "5 different ones in all" in str(done)


def test_a_caption_over_the_limit_is_counted(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = embed(folder, TextConfig(max_tokens=5))  # two more stand around the words
    assert done.full == 2 and "fill all 5 or were cut" in str(done)


def test_a_pattern_of_shards_has_them_beside_it(tmp_path: Path, loaded: list[Words]) -> None:
    data = as_tar(tmp_path / "data")
    embed(data / "{00000..00001}.tar", WORDS)
    assert stored(data).folder == stored(data / "00001.tar").folder == data / "embeddings/words-8"
    assert home_of(Path("{a,b}/0.tar")) == home_of(Path("0.tar")) == Path("embeddings")


def test_only_the_first_picture_is_read(
    folder: Path, loaded: list[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, names = Path.read_bytes, list[str]()
    monkeypatch.setattr(Path, "read_bytes", lambda path: names.append(path.name) or read(path))
    (folder / "4.png").write_bytes(b"broken")
    embed(folder, WORDS)
    assert [name for name in names if name.endswith("png")] == ["0.png"]
    stored(folder).check(CAPTIONS)


def test_pictures_may_be_in_a_folder_of_that_name(folder: Path, loaded: list[Words]) -> None:
    (folder / "embeddings/cats").mkdir(parents=True)
    (folder / "embeddings/cats/index.json").write_text("[]")
    assert find(folder, WORDS, CPU) is None
    embed(folder, WORDS)
    stored(folder).check(CAPTIONS)


@pytest.mark.parametrize("make", [as_folder, as_tar, as_parquet])
def test_they_do_not_disturb_the_data(make: Make, tmp_path: Path, loaded: list[Words]) -> None:
    data = make(tmp_path / "data")
    before, listed = check(data), list_folder(data)
    for name in ("words", "a/metadata.jsonl", "0.tar", "a.png", "x.parquet", "./.txt"):
        embed(data, TextConfig(encoder=name, max_tokens=8))
    assert len([*data.glob("embeddings/*/index.json")]) == 6
    assert check(data) == before and list_folder(data) == listed
    assert open_source(data).format == before.format


# --- going on -------------------------------------------------------------------------------------


def dying(write: Callable[[Path, bytes], None], files: int) -> Callable[[Path, bytes], None]:
    """Writes, until so many files of states are whole; leaves half of the next."""
    left = iter(range(files))

    def die(path: Path, blob: bytes) -> None:
        if path.name.startswith("states") and next(left, None) is None:
            path.with_name(f".{path.name}.0.partial").write_bytes(blob[: len(blob) // 2])
            raise KeyboardInterrupt
        write(path, blob)

    return die


def test_a_run_that_was_killed_goes_on(
    folder: Path, loaded: list[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AHEAD", 1)
    monkeypatch.setattr(module, "FILE_BYTES", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_whole", dying(module.write_whole, 2))
        embed(folder, WORDS)
    half = stored(folder)
    assert len(half) == 2 and half(CAPTIONS[:2])
    with pytest.raises(ValueError, match='lacks 2 of 4 captions, as "two old boats on the sea"'):
        half.check(CAPTIONS)
    assert (embed(folder, WORDS).encoded, loaded[-1].asked) == (2, [PROBE, CAPTIONS[2], "moon"])
    whole = stored(folder)(CAPTIONS).tokens
    assert torch.equal(whole, loaded[0](CAPTIONS).tokens.bfloat16().float())
    files = [load_file(file) for file in folder.glob("embeddings/*/states-*.safetensors")]
    assert sorted(key for file in files for key in file["keys"].tolist()) == sorted(
        keys_of(list(set(CAPTIONS))).tolist()
    )


def test_an_interrupted_run_keeps_what_is_encoded(
    folder: Path, loaded: list[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "AHEAD", 2)
    with pytest.raises(KeyboardInterrupt):
        embed(folder, WORDS, on_progress=interrupt)
    assert len(stored(folder)) == 2
    assert embed(folder, WORDS).encoded == 2


def test_a_failed_write_leaves_nothing(
    folder: Path, loaded: list[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    embed(folder, WORDS)
    (folder / "0.txt").write_text("a new one")
    monkeypatch.setattr(os, "fsync", full)
    before = sorted(folder.rglob("*"))
    with pytest.raises(OSError, match="No space"):
        embed(folder, WORDS)
    assert sorted(folder.rglob("*")) == before


def test_two_at_once_do_not_hinder_each_other(folder: Path, loaded: list[Words]) -> None:
    embed(folder, WORDS)
    home = home_of(folder) / "words-8"
    (twin,) = home.glob("states-*")
    twin.with_name("states-of-another.safetensors").write_bytes(twin.read_bytes())
    assert len(stored(folder)) == 4
    assert torch.equal(stored(folder)(["moon"]).mask, loaded[0](["moon"]).mask)


# --- what is refused ------------------------------------------------------------------------------


def test_another_encoder_s_are_refused(folder: Path, loaded: list[Words]) -> None:
    assert find(folder, WORDS, CPU) is None
    embed(folder, WORDS)
    for other in (TextConfig(encoder="others", max_tokens=8), TextConfig(encoder="words")):
        with pytest.raises(
            ValueError, match=r"encoder .*words:8, the recipe's is \w+:\d+: run `"
        ) as e:
            find(folder, other, CPU)
        command = f"openimagen data embed {folder} --recipe RECIPE [--set ...]"
        assert f"run `{command}`, or delete" in str(e.value)
        embed(folder, other)
        assert stored(folder, other).identity == f"{other.encoder}:{other.max_tokens}"
    assert stored(folder).identity == "words:8"


def test_a_limit_beyond_the_model_s_own_is_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextEncoder, "load", lambda text, **_: Words(text, positions=5))
    embed(folder, WORDS)
    assert stored(folder).max_tokens == 5
    assert stored(folder, TextConfig(encoder="words", max_tokens=5)).folder == stored(folder).folder
    with pytest.raises(ValueError, match="words:5, the recipe's is words:4"):
        find(folder, TextConfig(encoder="words", max_tokens=4), CPU)


def test_an_encoder_that_has_changed_is_refused(
    folder: Path, loaded: list[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(folder, WORDS)
    (folder / "0.txt").write_text("a new one")
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(TextEncoder, "load", lambda text, **_: Words(text, scale=1.05))
    with pytest.raises(ValueError, match=r"words:8 is not the encoder any more .* delete that"):
        embed(folder, WORDS)
    assert sorted(folder.rglob("*")) == before
    monkeypatch.setattr(TextEncoder, "load", lambda text, **_: Words(text, scale=1.001))
    assert embed(folder, WORDS).encoded == 1  # another device is no other encoder


def test_one_encoder_by_two_names_is_told(folder: Path, loaded: list[Words]) -> None:
    embed(folder, TextConfig(encoder="t5", max_tokens=8))
    with pytest.raises(ValueError, match=r"t5-8 is of encoder t5: call it that, or delete"):
        embed(folder, TextConfig(encoder="./t5", max_tokens=8))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty])
@pytest.mark.parametrize("name", ["states-*", "index.json", "probe.safetensors"])
def test_a_damaged_file_is_named(
    name: str, damage: Callable[[Path], None], folder: Path, loaded: list[Words]
) -> None:
    embed(folder, WORDS)
    (path,) = folder.glob(f"embeddings/*/{name}")
    damage(path)
    reads: list[Callable[[], object]] = [lambda: embed(folder, WORDS)]
    if name != "probe.safetensors":
        reads.append(lambda: find(folder, WORDS, CPU))
    for read in reads:
        with pytest.raises(ValueError, match="is damaged: delete") as error:
            read()
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    if name == "states-*":
        path.unlink()
        assert embed(folder, WORDS).encoded == 4


def test_a_file_of_other_states_is_named(folder: Path, loaded: list[Words]) -> None:
    embed(folder, WORDS)
    (path,) = folder.glob("embeddings/*/states-*")
    whole = load_file(path)
    short = [whole | {name: whole[name][..., :-1].contiguous()} for name in whole]
    for other in (*short, {"states": whole["states"]}):
        save_file(other, path)
        with pytest.raises(ValueError, match="is damaged: delete it and run"):
            find(folder, WORDS, CPU)


def test_another_format_is_refused(folder: Path, loaded: list[Words]) -> None:
    embed(folder, WORDS)
    path = home_of(folder) / "words-8/index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    with pytest.raises(ValueError, match="format version 2, this program reads 1: delete"):
        find(folder, WORDS, CPU)


def test_a_caption_that_is_not_there_is_named(folder: Path, loaded: list[Words]) -> None:
    embed(folder, WORDS)
    with pytest.raises(ValueError, match='lacks 1 of 2 captions, as "a new one": run `openimagen'):
        stored(folder)(["moon", "a new one"])
    with pytest.raises(ValueError, match=r'as "half \?"'):
        stored(folder)(["half \ud83d"])

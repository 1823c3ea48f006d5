"""One door: the format is found, and what has no usable pair is told of all three."""

from pathlib import Path

import pytest
from shard_files import picture, write_img2dataset, write_parquet, write_tar

from openimagen.data.folder import Pictures
from openimagen.data.sample import Sample
from openimagen.data.source import Shards, expand, open_pictures, open_source


def captions_of(path: Path) -> list[str]:
    samples = [item for item in open_source(path).samples() if isinstance(item, Sample)]
    return [caption for sample in samples for caption in sample.captions]


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    return write_img2dataset(tmp_path / "tars", [2, 1, 3])


def put(folder: Path, name: str, content: bytes = b"") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


# --- what is what ---------------------------------------------------------------------------------


def test_tar_shards_as_folder_file_or_pattern(tars: Path) -> None:
    source = open_source(tars)  # beside the tars lie parquet files without pictures
    assert isinstance(source, Shards) and source.format == "tar"
    assert source.names == ("00000.tar", "00001.tar", "00002.tar")
    assert captions_of(tars) == list("012345")
    assert captions_of(tars / "00002.tar") == list("345")
    assert captions_of(tars / "{00000..00001}.tar") == list("012")
    assert captions_of(tars / "0000{2,0}.tar") == list("34501")


def test_parquet_shards(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in "ab":
        write_parquet(tmp_path / f"data/{name}.parquet", [picture(0)], [name])
    assert open_source(tmp_path).format == "parquet"
    assert captions_of(tmp_path) == ["a", "b"]
    assert captions_of(tmp_path / "data" / "{b,a}.parquet") == ["b", "a"]


def test_pictures_come_before_shards(tars: Path) -> None:
    put(tars, "a.png", picture(1))
    put(tars, "a.txt", b"alone")
    assert isinstance(open_source(tars), Pictures) and captions_of(tars) == ["alone"]
    put(tars, "a.png", b"broken")  # then the folder has no pair
    assert open_source(tars).format == "tar"


def test_names_tell_folders_apart(tars: Path) -> None:
    for part in ("x", "y"):
        write_tar(put(tars / part, "ignored") / "0.tar", [("a.png", picture(0)), ("a.txt", b"a")])
    names = ("00000.tar", "00001.tar", "00002.tar", "x/0.tar", "y/0.tar")
    source = open_source(tars)
    assert isinstance(source, Shards) and source.names == names


def test_a_missing_shard_is_named(tars: Path) -> None:
    source = open_source(tars / "{00002..00003}.tar")
    assert source.faults == {str(tars / "00003.tar"): "shard does not exist"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{a}", ["a"]),
    ],
)
def test_braces_stand_for_what_a_shell_makes_of_them(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


def test_pictures_of_a_folder_need_no_captions(tars: Path, tmp_path: Path) -> None:
    """Nor are text files, hidden ones or folders pictures, whatever they are called."""
    folder = put(put(tmp_path / "plain", "b.PNG", picture(0)), "a.txt", b"no picture beside it")
    put(folder / "deep", "a.jpg", picture(1, "JPEG"))
    put(folder, ".hidden.png", picture(2))
    (folder / "folder.png").mkdir()
    names = [Path(item.name).relative_to(folder) for item in open_pictures(folder).samples()]
    assert names == [Path("b.PNG"), Path("deep/a.jpg")]
    assert open_pictures(tars) == open_source(tars)
    assert open_pictures(tars / "00001.tar") == open_source(tars / "00001.tar")
    with pytest.raises(ValueError, match=r"has no picture: give a folder of pictures"):
        open_pictures(put(tmp_path / "none", "a.txt", b"no picture"))


# --- what is nothing ------------------------------------------------------------------------------


def test_no_usable_pair_names_the_formats_and_a_reason(tmp_path: Path, tars: Path) -> None:
    empty = put(tmp_path / "empty", "notes.md")
    broken = put(put(tmp_path / "broken", "a.png"), "a.txt", b"a")
    untold = put(tmp_path / "untold", "a.png", picture(0))
    torn = put(tmp_path / "torn", "0.tar", (tars / "00000.tar").read_bytes()[:700])
    cases = {
        empty: "",
        broken: "a.png: the file is empty",
        untold: "a.png: no caption",
        torn: "0.tar: damaged after 0 samples",
        tars / "00000.parquet": "no column of image bytes",
        tars / "{7..9}.tar": "7.tar does not exist",
        tmp_path / "gone": "gone does not exist",
        empty / "notes.md": "neither a .tar nor a .parquet",
    }
    for path, reason in cases.items():
        with pytest.raises(ValueError) as caught:
            open_source(path)
        message = str(caught.value)
        assert reason in message and "\n" not in message
        assert all(name in message for name in ("a folder", "tar shards", "parquet")), message

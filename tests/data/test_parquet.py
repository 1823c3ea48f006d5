"""Rows of whatever Hugging Face, img2dataset or pyarrow wrote; and a reason for every other row."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from shard_files import picture, write_parquet

from openimagen.data.parquet import read_parquet
from openimagen.data.sample import Fault, Item, Sample

IMAGES = [picture(number) for number in range(3)]


def items_of(path: Path, *where: int) -> list[Item]:
    return [item for _, item in read_parquet(path, "a", *where)]


def written(tmp_path: Path, **columns: Any) -> Path:  # noqa: ANN401
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


# --- columns --------------------------------------------------------------------------------------


def test_rows_as_hugging_face_writes_them(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [" a\nb ", "c", "d"])
    captions = [("a b",), ("c",), ("d",)]
    rows = enumerate(zip(IMAGES, captions, strict=True))
    assert items_of(path) == [Sample(f"a:{n}", image, texts) for n, (image, texts) in rows]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize(
    "text", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_plain_columns_of_any_width(tmp_path: Path, kind: pa.DataType, text: pa.DataType) -> None:
    path = written(tmp_path, txt=pa.array(["a", "b", "c"], text), jpg=pa.array(IMAGES, kind))
    found = [(item.image, item.captions) for item in items_of(path) if isinstance(item, Sample)]
    assert found == [*zip(IMAGES, [("a",), ("b",), ("c",)], strict=True)]


def test_several_captions(tmp_path: Path) -> None:
    path = written(tmp_path, image=IMAGES, text=[["a", " ", "b"], [" "], []])
    first, *rest = items_of(path)
    assert isinstance(first, Sample) and first.captions == ("a", "b")
    assert rest == [Fault("a:1", "empty caption"), Fault("a:2", "empty caption")]


def test_columns_are_found_by_name_else_by_type(tmp_path: Path) -> None:
    others = {"key": ["1", "2", "3"], "md5": [b"x"] * 3, "width": [1, 2, 3]}
    named = written(tmp_path, **others, Image=IMAGES, TEXT=["a", "b", "c"])
    assert isinstance(items_of(named)[2], Sample)
    alone = written(tmp_path, words=["a", "b", "c"], pixels=IMAGES)
    assert isinstance(items_of(alone)[2], Sample)
    unclear = written(tmp_path, **others, title=["a", "b", "c"], pixels=IMAGES)
    (fault,) = items_of(unclear)
    assert isinstance(fault, Fault) and "key, md5, width, title, pixels" in fault.reason
    assert "no column of image bytes" in fault.reason


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_a_tail_and_parts_are_those_of_the_whole(tmp_path: Path, rows: int) -> None:
    texts = [str(number) if number != 6 else None for number in range(70)]
    path = write_parquet(tmp_path / "a.parquet", [IMAGES[0]] * 70, texts, rows)
    whole = list(read_parquet(path, "a"))
    assert [number for number, _ in whole] == list(range(70))
    for parts in (1, 3):
        for start in (0, 6, 33, 70):
            found = [x for p in range(parts) for x in read_parquet(path, "a", start, p, parts)]
            assert sorted(found, key=lambda each: each[0]) == whole[start:]


# --- what cannot be used --------------------------------------------------------------------------


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    rows = [(None, "no bytes"), (b"", "none"), (IMAGES[0], None), (IMAGES[0], ""), (IMAGES[1], "a")]
    path = write_parquet(tmp_path / "a.parquet", *zip(*rows, strict=True))
    *faults, good = items_of(path)
    assert isinstance(good, Sample)
    assert [fault.reason for fault in faults if isinstance(fault, Fault)] == [
        "no picture: the image is null or empty",
        "no picture: the image is null or empty",
        "no caption: the text is null",
        "empty caption",
    ]


def test_a_caption_that_is_not_utf_8_costs_its_row_alone(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"cr\xe8me", b"c"], pa.binary())
    texts = pa.StringArray.from_buffers(3, *texts.buffers()[1:])
    path = written(tmp_path, image=IMAGES, text=texts)
    assert items_of(path)[1] == Fault("a:1", "caption is not UTF-8")
    assert [type(item) for item in items_of(path)] == [Sample, Fault, Sample]


def test_damage_costs_the_rows_behind_it(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, ["a", "b", "c"], rows=1)
    content = bytearray(path.read_bytes())
    place = content.index(IMAGES[1][:64]) - 60  # the header of its page
    content[place : place + 50] = bytes(50)
    path.write_bytes(content)
    good, fault = items_of(path)
    assert isinstance(good, Sample) and isinstance(fault, Fault)
    assert fault.reason.startswith("damaged after 1 rows") and not fault.passing
    assert [number for number, _ in read_parquet(path, "a", 1)] == [1]
    (last,) = items_of(path, 2)  # row groups that are passed over are not read
    assert isinstance(last, Sample) and last.captions == ("c",)


def test_what_is_no_parquet_is_one_fault(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "a.parquet", IMAGES, ["a", "b", "c"]).read_bytes()
    for content in (b"", b"text" * 99, whole[:-20]):
        (tmp_path / "b.parquet").write_bytes(content)
        (fault,) = items_of(tmp_path / "b.parquet")
        assert isinstance(fault, Fault) and fault.reason.startswith("damaged after 0 rows")
        assert not fault.passing and "\n" not in fault.reason


def test_a_shard_that_cannot_be_opened_may_be_there_next_time(tmp_path: Path) -> None:
    for start in (0, 7):
        (fault,) = items_of(tmp_path / "gone.parquet", start)
        assert isinstance(fault, Fault) and fault.passing


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimagen.data.parquet.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'openimagen\[train\]'"):
        items_of(tmp_path / "a.parquet")

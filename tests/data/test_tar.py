"""What webdataset reads, we read; where a shard is cut, everything before is still there."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
import webdataset
from shard_files import picture, write_img2dataset, write_tar

from openimagen.data.sample import Fault, Item, Sample
from openimagen.data.tar import read_tar


def items_of(path: Path, *where: int) -> list[Item]:
    return [item for _, item in read_tar(path, path.name, *where)]


def pair(key: str, caption: bytes = b"words") -> list[tuple[str, bytes]]:
    return [(f"{key}.png", picture(len(key))), (f"{key}.txt", caption)]


# --- the oracle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_webdataset_reads_the_same_samples(tmp_path: Path, kind: str) -> None:
    write_img2dataset(tmp_path, [5, 1, 3], kind)
    for shard in sorted(tmp_path.glob("*.tar")):
        theirs = [
            (f"{shard.name}:{each['__key__']}", each[kind.lower()], (each["txt"].decode(),))
            for each in webdataset.WebDataset(str(shard), shardshuffle=False)
        ]
        ours = [tuple(vars(item).values()) for item in items_of(shard)]
        assert ours == theirs and len(ours) in (5, 1, 3)


def test_webdataset_groups_the_same_files(tmp_path: Path) -> None:
    files = [
        *[(f"train/a.{suffix}", suffix.encode()) for suffix in ("JPG", "cls.txt", "txt", "json")],
        *[("train.x/a.png", b"png"), ("train.x/a.txt", b"txt")],
        *[(".hidden.png", b"no"), ("README", b"no"), ("__meta__.json", b"{}")],
        *[("b.webp", b"webp"), ("b.txt", b"txt"), ("a.png", b"again"), ("a.txt", b"txt")],
    ]
    path = write_tar(tmp_path / "a.tar", files)
    theirs = [each["__key__"] for each in webdataset.WebDataset(str(path), shardshuffle=False)]
    ours = items_of(path)
    assert [item.name.removeprefix("a.tar:") for item in ours] == theirs
    images = [item.image for item in ours if isinstance(item, Sample)]
    assert images == [b"JPG", b"png", b"webp", b"again"]


# --- laws -----------------------------------------------------------------------------------------


def test_a_tail_and_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    files = [file for n in range(11) for file in pair(f"{n:02}", b"" if n == 4 else b"words")]
    path = write_tar(tmp_path / "a.tar", files)
    whole = list(read_tar(path, "a"))
    assert [number for number, _ in whole] == list(range(11))
    for parts in (1, 2, 3, 12):
        for start in (0, 3, 4, 5, 11):
            found = [x for part in range(parts) for x in read_tar(path, "a", start, part, parts)]
            assert sorted(found, key=lambda each: each[0]) == whole[start:]
            assert all(n % parts == 1 for n, _ in read_tar(path, "a", start, 1, parts)) or parts < 2


def test_a_shard_cut_anywhere_keeps_what_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [file for key in "abcd" for file in pair(key)])
    content, whole = path.read_bytes(), items_of(path)
    with tarfile.open(path) as tar:
        ends = [(m.offset_data + m.size + 511) // 512 * 512 for m in tar if m.name.endswith("txt")]
    for cut in [
        *range(0, ends[-1] + 512, 64),
        *[end + more for end in ends for more in (-1, 0, 1)],
    ]:
        path.write_bytes(content[:cut])
        *before, last = items_of(path)
        assert before == whole[: sum(end <= cut for end in ends)], cut
        assert isinstance(last, Fault) and last.name == "a.tar" and not last.passing
        assert last.reason.startswith(f"damaged after {len(before)} samples")
    path.write_bytes(content[: ends[-1] + 512])  # the end mark
    assert items_of(path) == whole


def test_the_fault_at_the_end_has_a_number_of_its_own(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [file for key in "abcd" for file in pair(key)])
    path.write_bytes(path.read_bytes()[:4000])
    (number, fault) = list(read_tar(path, "a"))[-1]
    assert isinstance(fault, Fault)
    for parts in (1, 2, 3):
        told = [read_tar(path, "a", number, part, parts) for part in range(parts)]
        assert [list(each) for each in told if each].count([(number, fault)]) == 1


# --- what cannot be used --------------------------------------------------------------------------


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    files = [
        *pair("good", b"\xef\xbb\xbf two\n words "),
        ("untold.png", picture(1)),
        *pair("latin", "crème".encode("latin-1")),
        *pair("blank", b" \n"),
        ("unseen.txt", b"words"),
        ("data.json", b"{}"),
    ]
    good, *rest = items_of(write_tar(tmp_path / "a.tar", files))
    assert isinstance(good, Sample) and good.captions == ("two words",)
    assert {fault.name: fault.reason for fault in rest if isinstance(fault, Fault)} == {
        "a.tar:untold": "no caption: the txt is missing",
        "a.tar:latin": "caption is not UTF-8",
        "a.tar:blank": "empty caption",
        "a.tar:unseen": "no picture",
        "a.tar:data": "no picture",
    }
    assert len(rest) == 5


def test_links_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        text = tarfile.TarInfo("a.txt")
        text.size = 1
        tar.addfile(text, io.BytesIO(b"a"))
    assert [item.name for item in items_of(path)] == ["a.tar:a"]


def test_a_size_that_lies_is_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("a.png")
    info.size = 2**40
    path.write_bytes(info.tobuf())
    (fault,) = items_of(path)
    assert isinstance(fault, Fault) and "damaged after 0" in fault.reason


def test_what_is_no_tar_is_one_fault(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", pair("a")).read_bytes()
    for content in (b"", b"text" * 999, gzip.compress(whole)):
        (tmp_path / "b.tar").write_bytes(content)
        (fault,) = items_of(tmp_path / "b.tar")
        assert isinstance(fault, Fault) and fault.reason.startswith("damaged after 0 samples")


def test_a_shard_that_cannot_be_opened_may_be_there_next_time(tmp_path: Path) -> None:
    for start in (0, 7):
        (fault,) = items_of(tmp_path / "gone.tar", start)
        assert fault == Fault("gone.tar", "No such file or directory", passing=True)

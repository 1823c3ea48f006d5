"""Exactly the pairs that are there, and a name and a reason for everything else."""

import json
from pathlib import Path

import pytest

from openimagen.data.folder import read_folder


def touch(file: Path, content: str | bytes = b"") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def found(root: Path) -> dict[str, tuple[str, ...]]:
    return {p.path.relative_to(root).as_posix(): p.captions for p in read_folder(root).pairs}


def test_captions_in_text_files(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "deep/er/c.webp"):
        touch(tmp_path / name)
        touch((tmp_path / name).with_suffix(".txt"), f"\ufeff picture\n {name} ")
    expected = {name: (f"picture {name}",) for name in ("a.png", "b.JPG", "deep/er/c.webp")}
    assert found(tmp_path) == expected
    assert read_folder(tmp_path).faults == {}


def test_captions_in_jsonl(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "train/b.png")
    touch(tmp_path / "metadata.jsonl", '{"file_name": "a.png", "text": ["one", "", "two"]}\n\n')
    touch(tmp_path / "train/metadata.jsonl", '{"file_name": "b.png", "text": "crème", "id": 3}')
    assert found(tmp_path) == {"a.png": ("one", "two"), "train/b.png": ("crème",)}


def test_captions_in_csv(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "b.png")
    touch(tmp_path / "metadata.csv", 'id,file_name,text\n1,a.png,"red, and\nblue"\n2,b.png,b\n')
    assert found(tmp_path) == {"a.png": ("red, and blue",), "b.png": ("b",)}


def test_both_conventions_add_up(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "a.txt", "from text")
    row = json.dumps({"file_name": "./a.png", "text": "from metadata"})
    touch(tmp_path / "metadata.jsonl", f"{row}\n")
    assert sorted(found(tmp_path)["a.png"]) == ["from metadata", "from text"]


def test_pairs_are_sorted_so_that_a_stream_is_the_same_everywhere(tmp_path: Path) -> None:
    touch(tmp_path / "metadata.csv", "file_name,text\nc.png,c\na.png,a\n")
    touch(tmp_path / "b.txt", "b")
    for name in "bca":
        touch(tmp_path / f"{name}.png")
    assert [pair.captions for pair in read_folder(tmp_path).pairs] == [("a",), ("b",), ("c",)]


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("a", ".b", ".cache/c"):
        touch(tmp_path / f"{name}.png")
        touch(tmp_path / f"{name}.txt", name)
    assert list(found(tmp_path)) == ["a.png"]


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root / "good.png")
    touch(root / "good.txt", "good")
    touch(root / "alone.png")
    touch(root / "empty.png")
    touch(root / "empty.txt", " \n")
    touch(root / "latin.png")
    touch(root / "latin.txt", "crème".encode("latin-1"))
    touch(root / "orphan.txt", "a caption")
    touch(tmp_path / "outside.png")
    rows = [
        {"file_name": "../outside.png", "text": "out"},
        {"file_name": str(tmp_path / "outside.png"), "text": "out"},
        {"file_name": "gone.png", "text": "gone"},
        {"file_name": "alone.png", "text": 7},
        {"file_name": "good.png"},
        ["good.png", "text"],
        {"file_name": "a\0b.png", "text": "nul"},
        {"file_name": "x" * 5000, "text": "long"},
    ]
    touch(root / "metadata.jsonl", "\n".join(map(json.dumps, rows)) + '\n{"file_name": "good')
    pictures = read_folder(root)
    assert [pair.path.name for pair in pictures.pairs] == ["good.png"]
    reasons = {
        "alone.png": "text is neither",
        "empty.png": "empty caption",
        "latin.png": "not UTF-8",
        "orphan.txt": "does not exist",
        "metadata.jsonl:1": "leaves the folder",
        "metadata.jsonl:2": "leaves the folder",
        "metadata.jsonl:3": "does not exist: gone.png",
        "metadata.jsonl:5": "needs file_name and text",
        "metadata.jsonl:6": "is no JSON object",
        "metadata.jsonl:7": "",
        "metadata.jsonl:8": "",
        "metadata.jsonl:9": "is no JSON object",
    }
    assert set(pictures.faults) == set(reasons)
    for name, reason in reasons.items():
        assert reason in pictures.faults[name]


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """Folders called like files, and links that lead nowhere."""
    touch(tmp_path / "a.png")
    touch(tmp_path / "a.txt", "a")
    for name in ("folder.txt", "folder.png", "metadata.csv"):
        (tmp_path / name).mkdir()
    (tmp_path / "link.txt").symlink_to("nowhere")
    assert found(tmp_path) == {"a.png": ("a",)}
    assert read_folder(tmp_path).faults == {
        "folder.txt": "Is a directory",
        "folder.png": "no caption: put folder.txt beside it",
        "link.txt": "No such file or directory",
        "metadata.csv:1": "Is a directory",
    }


def test_an_entry_that_is_no_csv_does_not_end_the_file(tmp_path: Path) -> None:
    for name in "abc":
        touch(tmp_path / f"{name}.png")
    rows = ["a.png,a", f'b.png,"{"b" * 200_000}"', "c.png,c"]
    touch(tmp_path / "metadata.csv", "\n".join(["file_name,text", *rows, ""]))
    assert found(tmp_path) == {"a.png": ("a",), "c.png": ("c",)}
    assert read_folder(tmp_path).faults == {
        "metadata.csv:3": "needs file_name and text",
        "b.png": "no caption: put b.txt beside it",
    }


def test_a_picture_without_caption_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "a.txt", "a")
    touch(tmp_path / "b.png")
    assert read_folder(tmp_path).faults == {"b.png": "no caption: put b.txt beside it"}


def test_a_relative_path_is_guarded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "outside.png")
    touch(tmp_path / "data/a.png")
    touch(tmp_path / "data/a.txt", "a")
    touch(tmp_path / "data/metadata.csv", "file_name,text\n../outside.png,out\n")
    monkeypatch.chdir(tmp_path / "data")
    assert [pair.path.name for pair in read_folder(Path(".")).pairs] == ["a.png"]


def test_a_folder_without_pairs_says_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"metadata\.jsonl") as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no folder"):
        read_folder(tmp_path / "nowhere")

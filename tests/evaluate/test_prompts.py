"""Prompt files as people have them, and what is wrong with the others."""

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from openimagen.evaluate.prompts import Prompt, read_prompts


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def texts(path: Path) -> list[str]:
    return [prompt.text for prompt in read_prompts(path)]


# --- the published forms --------------------------------------------------------------------------


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    lines = "a boat\n\n  two  boats \n a boat\u2028at sea, \u201chome\u201d \n \na boat"
    expected = ["a boat", "two boats", "a boat at sea, \u201chome\u201d", "a boat"]
    assert texts(write(tmp_path / "a.txt", lines)) == expected
    assert texts(write(tmp_path / "b.TXT", lines.replace("\n", "\r\n"), "utf-8-sig")) == expected
    assert read_prompts(tmp_path / "a.txt")[0] == Prompt("a boat", "", None)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_as_drawbench_is(tmp_path: Path, end: str, encoding: str) -> None:
    rows = [
        "prompt,category",
        "A purple boat.,Colors",
        '"A boat, a bridge and a bird.",Counting',
        '"A sign that says ""ahoy"".",Text',
        ",",
        "",
        f'"Two boats,{end}one above the other.",Positional',
        " , ",
        "A caf\u00e9.,",
    ]
    assert read_prompts(write(tmp_path / "prompts.csv", end.join(rows), encoding)) == [
        Prompt("A purple boat.", "Colors"),
        Prompt("A boat, a bridge and a bird.", "Counting"),
        Prompt('A sign that says "ahoy".', "Text"),
        Prompt("Two boats, one above the other.", "Positional"),
        Prompt("A caf\u00e9.", ""),
    ]


def test_the_heads_of_drawbench_s_public_copies_are_known(tmp_path: Path) -> None:
    rows = "Prompts,Category\nA red car.,Colors\n"
    assert read_prompts(write(tmp_path / "drawbench.csv", rows)) == [Prompt("A red car.", "Colors")]


def test_a_table_as_partiprompts_is(tmp_path: Path) -> None:
    """Quotes are letters, balanced or not: no line runs into the next."""
    rows = 'Prompt\tCategory\tChallenge\tNote\n"a boat at sea\tArts\tBasic\t\n"hi" said\tWorld\tB\n'
    assert read_prompts(write(tmp_path / "prompts.tsv", rows)) == [
        Prompt('"a boat at sea', "Arts"),
        Prompt('"hi" said', "World"),
    ]


def test_lines_of_json_as_geneval_has_them(tmp_path: Path) -> None:
    boat = {"class": "boat", "count": 2, "color": "red"}
    rows = [
        {"tag": "counting", "include": [boat], "exclude": [{"class": "boat", "count": 3}],
         "prompt": "a photo of\u2028two boats"},
        {"tag": "colors", "include": [boat], "prompt": "a photo of a red boat"},
        {"text": "a boat", "category": "plain"},
    ]  # fmt: skip
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read_prompts(write(tmp_path / "prompts.jsonl", lines, "utf-8-sig")) == [
        Prompt("a photo of two boats", "counting",
               {"include": [boat], "exclude": [{"class": "boat", "count": 3}]}),
        Prompt("a photo of a red boat", "colors", {"include": [boat]}),
        Prompt("a boat", "plain"),
    ]  # fmt: skip


def test_captioned_pictures_lend_their_first_captions(tmp_path: Path) -> None:
    folder = tmp_path / "folder.txt"  # a folder, whatever it is called
    folder.mkdir()
    for name, caption in (("b", "a bird\n"), ("a", "a boat")):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption)
    assert texts(folder) == ["a boat", "a bird"]
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    assert texts(tmp_path / "00.tar") == ["a boat", "a bird"]


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.txt", " \n\n", "a.txt has no prompt: write one a line"),
        ("a.csv", "", "a.csv has no prompt: write one a line"),
        ("a.csv", "prompt,category\n", "a.csv has no prompt"),
        ("a.csv", "category\nColors\n", "a.csv:2 has no prompt: name its column or key `prompt`"),
        ("a.csv", "a red boat\na blue boat\n", "a.csv:2 has no prompt: name its column"),
        ("a.csv", "prompt,category\na,b\n,Text", "a.csv:3 has no prompt"),
        ("a.csv", 'prompt\na\n"never closed\nb\n', "a.csv:4 is no row of a table: unexpected end"),
        ("a.tsv", f"prompt\n{'a' * 140_000}", "a.tsv:2 is no row of a table: field larger"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": ', "a.jsonl:2 is no JSON: write one object a"),
        ("a.jsonl", '["a"]', "a.jsonl:1 is no object: give it a prompt"),
        ("a.jsonl", '{"prompt": 3}', "a.jsonl:1 has no prompt"),
        ("a.jsonl", '{"prompt": " "}', "a.jsonl:1 has no prompt"),
        ("a.jsonl", '{"prompt": "half a smile \\ud83d"}', "a.jsonl:1: caption is not UTF-8"),
        ("a.md", "a boat", "a.md is no prompt file: give a .txt, .csv, .tsv or .jsonl of prompts"),
    ],
)
def test_what_is_no_prompt_is_told_with_its_line(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    with pytest.raises(ValueError) as told:
        read_prompts(write(tmp_path / name, text))
    assert complaint in str(told.value) and "\n" not in str(told.value)


def test_other_encodings_and_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.txt is not UTF-8: save it as UTF-8"):
        read_prompts(write(tmp_path / "a.txt", "a caf\u00e9", "latin-1"))
    with pytest.raises(ValueError, match=r"none.csv does not exist: give a .txt, .csv"):
        read_prompts(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no usable pair of picture and caption"):
        read_prompts(tmp_path / "empty")

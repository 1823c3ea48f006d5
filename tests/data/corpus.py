"""A small corpus as `openimagen data icons` writes it: discs and blocks for animals, in styles."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

STYLES = ("fluent-emoji", "noto", "twemoji")
NAMES = (
    *("red apple", "banana", "bear", "camel", "cherries", "cow", "crab", "deer", "dodo", "duck"),
    *("eagle", "fox", "frog", "goat", "hippo", "horse", "kiwi", "koala", "lemon", "lion", "llama"),
    *("mango", "moose", "otter", "owl", "ox", "panda", "peach", "pear", "pizza", "rocket", "shark"),
    *("sloth", "snail", "spider", "squid", "swan", "taco", "tiger", "tree", "turtle", "whale"),
)


def write_corpus(folder: Path, side: int = 32, names: tuple[str, ...] = NAMES) -> Path:
    """Each icon has a red left half and a blue right one, in the middle of nothing."""
    for style in STYLES:
        (folder / style).mkdir(parents=True)
        rows = []
        for name in names:
            icon = Image.new("RGBA", (side, side))
            pen, edge = ImageDraw.Draw(icon), side // 8
            pen.rectangle((edge, edge, side - edge - 1, side - edge - 1), (200, 30, 30))
            pen.rectangle((side // 2, edge, side - edge - 1, side - edge - 1), (30, 60, 200))
            icon.save(folder / style / f"{name}.png")
            row = {"file_name": f"{name}.png", "text": [name], "name": name, "style": style}
            rows.append(json.dumps(row | {"tags": ["nice", "small"], "group": "animals-nature"}))
        (folder / style / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder

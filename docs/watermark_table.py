"""What the watermark survives, and what it costs: the table of docs/safety.md.

    python docs/watermark_table.py ICONS [--count 60] [--photographs FOLDER] [--clean 2000]

Marks pictures that the shipped model draws, icons (on white), noise-like textures and photographs,
attacks them, and reads. Clean icons and photographs are read in random views (cut out, resized,
through JPEG): none must have a mark. ICONS is what `openimagen data icons` made.
"""

import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image, ImageEnhance

from openimagen import Imagen
from openimagen.data.decode import load
from openimagen.door import Safety
from openimagen.safety.watermark import Mark, embed, read

Attack = Callable[[Image.Image], Image.Image]
CLEAN = Safety(watermark=False, picture_filter=False, credentials=False)


def saved(form: str, quality: int) -> Attack:
    """Through a file and back."""

    def attack(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, form, quality=quality)
        return Image.open(buffer).convert("RGB")

    return attack


def half(image: Image.Image) -> Image.Image:
    """Of half the size."""
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def cropped(image: Image.Image) -> Image.Image:
    """5% off each side, and a few pixels more."""
    left, top = image.width // 20 + 3, image.height // 20 + 1
    return image.crop((left, top, image.width - left, image.height - top))


def brighter(times: float) -> Attack:
    """Every level so many times as high."""
    return lambda image: ImageEnhance.Brightness(image).enhance(times)


def both(first: Attack, second: Attack) -> Attack:
    """One after the other."""
    return lambda image: second(first(image))


ATTACKS: dict[str, Attack] = {
    "none": lambda image: image,
    "JPEG 75": saved("JPEG", 75),
    "WebP 75": saved("WEBP", 75),
    "half size": half,
    "half size, back again": lambda image: half(image).resize(image.size, Image.Resampling.BICUBIC),
    "5% cropped from each side": cropped,
    "brightness +20%": brighter(1.2),
    "brightness -20%": brighter(0.8),
    "contrast -20%": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "contrast +20%": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "half size, JPEG 75": both(half, saved("JPEG", 75)),
    "cropped, JPEG 75": both(cropped, saved("JPEG", 75)),
}


def pictures(icons: Path, count: int) -> dict[str, list[Image.Image]]:
    """So many pictures of each kind, by its name."""
    found = random.Random(0).sample(sorted(icons.glob("*/*.png")), 3 * count)
    names = [path.stem.split("-", 1)[-1].replace("-", " ") for path in found[:count]]
    out = Imagen.from_pretrained("emoji", safety=CLEAN)(names, seed=0)
    rng = np.random.default_rng(0)
    textures = []
    for _ in range(count):
        coarse = rng.normal(128, 60, (2 ** rng.integers(3, 8),) * 2 + (3,)).clip(0, 255)
        texture = Image.fromarray(coarse.astype(np.uint8)).resize((1024, 1024), 3)
        textures.append(texture)
    whole = [load(path) for path in found[count : 2 * count]]
    return {
        "drawn, 1024": [image for image in out.images if image],
        "drawn, 256": [image for image in out.stages["sr256"] if image],
        "icons, 1024": [image.resize((1024, 1024)) for image in whole],
        "textures, 1024": textures,
    }


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal to noise, dB."""
    error = np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def view(image: Image.Image, lot: random.Random) -> Image.Image:
    """Some piece of a picture, of some size, through JPEG or not."""
    part, left, top = lot.uniform(0.5, 1), lot.random(), lot.random()
    w, h = (int(side * part) for side in image.size)
    x, y = int(left * (image.width - w)), int(top * (image.height - h))
    times = lot.uniform(120 / min(w, h), 1.2)
    size = (max(100, int(w * times)), max(100, int(h * times)))
    piece = image.crop((x, y, x + w, y + h)).resize(size, Image.Resampling.BICUBIC)
    return saved("JPEG", lot.randint(40, 95))(piece) if lot.random() < 0.5 else piece


def clean_views(icons: Path, photographs: list[Image.Image], number: int) -> None:
    """Print in how many of so many views of unmarked pictures a mark is found."""
    lot, wrong = random.Random(1), 0
    found = sorted(icons.glob("*/*.png"))
    began = time.process_time()
    for count in range(number):
        if photographs and count % 4 == 0:
            image = photographs[count // 4 % len(photographs)]
        else:
            image = load(lot.choice(found)).resize((1024, 1024))
        wrong += read(view(image, lot)) is not None
    spent = (time.process_time() - began) / max(1, number)
    print(
        f"\nClean views with a mark: {wrong} of {number}; {spent:.2f} CPU-s each, making included"
    )


def table(kinds: dict[str, list[Image.Image]]) -> None:
    """Print what is read of each kind after each attack, and what marking costs."""
    marked, noise = {}, {}
    for kind, images in kinds.items():
        marks = [Mark(7 + number, 40_000 + number) for number in range(len(images))]
        marked[kind] = [(embed(*pair), pair[1]) for pair in zip(images, marks, strict=True)]
        noise[kind] = [psnr(a, b) for a, (b, _) in zip(images, marked[kind], strict=True)]
    print("| read of 100 | " + " | ".join(kinds) + " |\n" + "|---" * (len(kinds) + 1) + "|")
    for name, attack in ATTACKS.items():
        shares = [
            np.mean([read(attack(image)) == mark for image, mark in pairs])
            for pairs in marked.values()
        ]
        print(f"| {name} | " + " | ".join(f"{100 * share:.0f}" for share in shares) + " |")
    worst = " | ".join(f"{min(values):.1f} / {np.median(values):.1f}" for values in noise.values())
    print(f"| PSNR, worst / median, dB | {worst} |")


def main(
    icons: Annotated[Path, typer.Argument()],
    count: Annotated[int, typer.Option(help="pictures of each kind; 0: no table")] = 60,
    photographs: Annotated[Path | None, typer.Option(help="a folder of pictures")] = None,
    clean: Annotated[int, typer.Option(help="clean views to read")] = 2000,
) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    photos = [load(path) for path in sorted(photographs.iterdir())] if photographs else []
    if count:
        table(pictures(icons, count) | ({"photographs": photos} if photos else {}))
    clean_views(icons, photos, clean)


if __name__ == "__main__":
    typer.run(main)

"""What the watermark survives, and what it costs: the table of docs/safety.md.

    python docs/watermark_table.py ICONS [--count 60]

Marks pictures that the shipped model draws, icons (on white) and noise-like textures, at 1024 and
256 pixels, attacks them, and reads. Clean pictures are read whole and in crops: none must have a
mark. ICONS is what `openimagen data icons` made.
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


def main(
    icons: Annotated[Path, typer.Argument()], count: Annotated[int, typer.Option()] = 60
) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    kinds = pictures(icons, count)
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
    began, tries, wrong = time.process_time(), 0, 0
    lot = random.Random(1)
    for images in kinds.values():
        for image in images:
            left = lot.randrange(image.width // 4)
            for view in (image, image.crop((left, left, image.width, image.height)), half(image)):
                tries += 1
                wrong += read(view) is not None
    spent = (time.process_time() - began) / tries
    print(f"\nClean pictures with a mark: {wrong} of {tries}; {spent:.2f} CPU-s each")


if __name__ == "__main__":
    typer.run(main)

"""Contact sheets: small pictures in a grid, words under them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIDE, TEXT, GAP = 128, 34, 10  # pixels: of a picture, of the lines under it, between cells
LINE = 15  # pixels from one line to the next
BLACK = (30, 30, 30)


def captioned_sheet(pictures: Sequence[tuple[Image.Image, str]], columns: int = 6) -> Image.Image:
    """Pictures, whole, each with its caption in two lines. ValueError if there are none."""
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    columns = min(columns, len(pictures))
    width, height = SIDE + GAP, SIDE + TEXT + GAP
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    pen = ImageDraw.Draw(page)
    for number, (picture, caption) in enumerate(pictures):
        row, column = divmod(number, columns)
        x, y = GAP + column * width, GAP + row * height
        small = thumbnail(picture)
        page.paste(small, (x + (SIDE - small.width) // 2, y + (SIDE - small.height) // 2))
        pen.rectangle((x - 1, y - 1, x + SIDE, y + SIDE), outline=(225, 225, 225))
        for line, words in enumerate(_lines(pen, caption)):
            write_line(pen, words, (x, y + SIDE + 3 + line * LINE), BLACK, SIDE)
    return page


def thumbnail(picture: Image.Image) -> Image.Image:
    """The whole picture, no side longer than a cell's; a small one stays as it is."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small


def write_line(
    pen: ImageDraw.ImageDraw,
    text: str,
    place: tuple[int, int],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    """Write a line no wider than `width` pixels; what is too long ends in dots."""
    text = text[:width]  # no letter is narrower than a pixel
    font = ImageFont.load_default(12)
    while pen.textlength(text, font) > width:
        text = f"{text[:-2].rstrip()}…"
    pen.text(place, text, colour, font)


def _lines(pen: ImageDraw.ImageDraw, caption: str) -> tuple[str, str]:
    """As many words as fit into one line, and the rest."""
    font, words = ImageFont.load_default(12), caption.split()
    count = 1
    while count < len(words) and pen.textlength(" ".join(words[: count + 1]), font) <= SIDE:
        count += 1
    return " ".join(words[:count]), " ".join(words[count:])

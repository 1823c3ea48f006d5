"""A report as one HTML file: figures and pictures inside, nothing fetched, no script."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL import Image

from openimagen.evaluate.report.result import Report
from openimagen.evaluate.report.table import number

TEMPLATE = Path(__file__).with_name("page.html")
SIDE = 256  # pixels of a picture in the page


@dataclass
class Pictures:
    """What is shown, in the order of the report's `grid` and `neighbours`."""

    grid: list[Image.Image] = field(default_factory=list)
    neighbours: list[tuple[Image.Image, Image.Image]] = field(default_factory=list)  # drawn, known
    sheets: list[tuple[str, Image.Image]] = field(default_factory=list)  # title, contact sheet
    sweep: bytes | None = None  # an SVG


def page(report: Report, pictures: Pictures) -> str:
    """The HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": number, "picture": picture, "sheet": sheet, "svg": svg}
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(report=report, asked=report.asked, pictures=pictures)


def picture(image: Image.Image) -> str:
    """A picture as a data URI, no larger than the page shows it."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _uri(small)


def sheet(image: Image.Image) -> str:
    """A contact sheet as a data URI, as it is."""
    return _uri(image)


def svg(content: bytes) -> str:
    """An SVG as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"

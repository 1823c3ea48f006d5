"""What a picture says of itself: the watermark in its pixels, the credentials in its file."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from openimagen import model_folder
from openimagen.data.decode import load
from openimagen.safety import watermark
from openimagen.safety.credentials import FORMATS, Credentials
from openimagen.safety.credentials import verify as read_credentials

NO_CREDENTIALS = Credentials("none", problems=("this kind of file carries no credentials",))


@dataclass(frozen=True)
class Found:
    """What was found; `model` is the embedded model that the watermark's number is of, if any."""

    mark: watermark.Mark | None
    model: str | None
    credentials: Credentials

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it."""
        mark = self.mark
        signed = vars(self.credentials)
        when = self.credentials.when
        return {
            "watermark": mark
            and {"model": self.model, "model_number": mark.model, "seed_number": mark.seed},
            "credentials": signed | {"when": when and when.isoformat()},
        }

    def lines(self) -> Iterator[str]:
        """The same in plain words, a line each."""
        if self.mark is None:
            yield "watermark: none found"
        else:
            model = self.model or "a model that is not in this package"
            yield f"watermark: drawn by openimagen with {model} (number {self.mark.model})"
        signed = self.credentials
        yield f"credentials: {signed.status}"
        if signed.generator:
            how = "edited" if signed.edited else "made"
            model = f", model {signed.model}" if signed.model else ""
            yield f"  {how} by {signed.generator}{model}, {signed.when}"
        for number, subject in enumerate(signed.chain):
            yield f"  {'signed by' if number == 0 else 'vouched for by'} {subject}"
        for problem in signed.problems:
            yield f"  {problem}"


def verify(source: Path | bytes, anchors: Path | None = None) -> Found:
    """Look at a picture. `anchors`: certificates that are trusted, PEM.

    Raises ValueError, one line, for what is no picture or no certificates.
    """
    data = source if isinstance(source, bytes) else read(source)
    image = load(data)
    with Image.open(BytesIO(data)) as opened:
        form = "JPEG" if opened.format == "MPO" else opened.format or ""  # several JPEGs in one
    mime = Image.MIME.get(form, "")
    mark = watermark.read(image)
    known = {watermark.model_number(name): name for name in model_folder.embedded_models()}
    signed = read_credentials(data, mime, anchors) if mime in FORMATS else NO_CREDENTIALS
    return Found(mark, known.get(mark.model) if mark else None, signed)


def read(path: Path) -> bytes:
    """A file's bytes. ValueError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None

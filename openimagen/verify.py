"""What a picture says of itself: the watermark in its pixels, the credentials in its file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openimagen import model_folder
from openimagen.data.decode import load
from openimagen.safety import watermark
from openimagen.safety.credentials import Credentials, kind_of, plain
from openimagen.safety.credentials import verify as read_credentials

NO_CREDENTIALS = Credentials("none", problems=("this kind of file carries no credentials",))


@dataclass(frozen=True)
class Found:
    """What was found.

    `model`: the one whose number the watermark has, of those known. `is_unreadable`: the picture
    was signed, and cannot be decoded any more: no watermark could be looked for.
    """

    mark: watermark.Mark | None
    model: str | None
    credentials: Credentials
    is_unreadable: bool = False

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
        if self.is_unreadable:
            yield "watermark: not looked for, as the picture cannot be decoded"
        elif self.mark is None:
            yield "watermark: none found"
        else:
            model = self.model or f"model number {self.mark.model}, which is not known here"
            yield f"watermark: marked by openimagen ({model}): drawn or changed by it"
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


def verify(source: Path | bytes, anchors: Path | None = None, models: Iterable[str] = ()) -> Found:
    """Look at a picture.

    `anchors`: certificates that are trusted, PEM. `models`: names of models whose marks are to be
    known, beside the embedded ones'.
    Raises ValueError, one line, for what is no picture or no certificates.
    """
    data = source if isinstance(source, bytes) else read(source)
    try:
        image = load(data)
    except ValueError as error:
        if found := verify_unreadable(data, str(error), anchors):
            return found
        named = f"{source}: {error}" if isinstance(source, Path) else str(error)
        raise ValueError(named) from error
    mark = watermark.read(image)
    names = [*models, *model_folder.embedded_models()]
    known = {watermark.model_number(name): name for name in names}
    mime = kind_of(data)
    signed = read_credentials(data, mime, anchors) if mime else NO_CREDENTIALS
    return Found(mark, known.get(mark.model) if mark else None, signed)


def verify_unreadable(data: bytes, reason: str, anchors: Path | None = None) -> Found | None:
    """What a file that cannot be decoded says, if it was signed and was changed since."""
    mime = kind_of(data)
    try:
        signed = read_credentials(data, mime, anchors) if mime else NO_CREDENTIALS
    except ValueError:
        return None
    if signed.status != "tampered":
        return None
    problems = (*signed.problems, plain(f"the picture cannot be decoded: {reason}"))
    return Found(None, None, replace(signed, problems=problems), is_unreadable=True)


def read(path: Path) -> bytes:
    """A file's bytes. ValueError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None

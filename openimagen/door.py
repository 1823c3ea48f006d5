"""The one door that pictures leave by: prompt filter, picture filter, watermark, credentials.

`Imagen` holds one; the command line draws by it, and the API and the page pass its door, too.
Every part is on unless its operator turns it off, which is logged.
"""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from openimagen.matte import cut_out
from openimagen.safety import watermark
from openimagen.safety.credentials import Claim, Signer
from openimagen.safety.nudity import THRESHOLD, NudityFilter
from openimagen.safety.prompts import Finding, PromptFilter
from openimagen.version import __version__

Format = Literal["png", "jpeg", "webp"]
FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
WITHHELD = "the picture filter found it indecent: another seed or other words may help"
DRAWN_TOO = "A guidance below 1 draws the negative prompt, too: give 1 or more."
QUALITY = 90  # of JPEG and WebP

log = logging.getLogger(__name__)


class Safety(BaseModel):
    """Which parts of the door work, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_filter: bool = True
    picture_filter: bool = True
    watermark: bool = True
    credentials: bool = True
    real_people: bool = False  # refuse prompts that name well-known people
    lists: tuple[Path, ...] = ()  # files with more terms to refuse, or to allow
    threshold: float = Field(default=THRESHOLD, gt=0, le=1)  # score to withhold pictures from
    certificate: Path | None = None  # chain to sign with, PEM; None: a local one
    key: Path | None = None  # the certificate's key, PEM


def format_of(path: Path) -> Format:
    """The format that a file's name asks for. ValueError for one that is no picture's."""
    if (form := FORMATS.get(path.suffix.lower())) is None:
        raise ValueError(f"{path}: pictures are written as {', '.join(FORMATS)}")
    return form


PARTS = ("prompt_filter", "picture_filter", "watermark", "credentials")


class Refused(ValueError):
    """The prompt filter refuses a prompt; `finding` says for what."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.reason)
        self.finding = finding


@dataclass(frozen=True)
class Passed:
    """What the door let out: pictures, marked, by their stages, or none for a reason."""

    pictures: Mapping[str, Image.Image]
    flagged: str | None = None
    notes: tuple[str, ...] = ()


class Door:
    """The checks and marks of one model's pictures.

    Lists and certificate are read when it is made, so that a wrong one is found before any work;
    the picture filter's network at the first picture.
    """

    def __init__(self, model: str, safety: Safety | None = None) -> None:
        """ValueError for a list or certificate that cannot be read, or a part not installed."""
        self.model, self.safety = model, safety or Safety()
        for part in PARTS:
            if not getattr(self.safety, part):
                log.warning("%s is off for pictures of %s", part.replace("_", " "), model)
        real_people, lists = self.safety.real_people, self.safety.lists
        self._prompts = PromptFilter.load(real_people=real_people, lists=lists)
        if self.safety.certificate or self.safety.key:
            _ = self._signer  # refuses one that cannot sign

    @cached_property
    def _nudity(self) -> NudityFilter:
        return NudityFilter(self.safety.threshold)

    @cached_property
    def _signer(self) -> Signer:
        return Signer.load(self.safety.certificate, self.safety.key)

    def get_ready(self) -> None:
        """Load what is otherwise loaded at the first picture."""
        if self.safety.picture_filter:
            self._nudity.score(Image.new("RGB", (64, 64)))
        if self.safety.credentials:
            _ = self._signer

    def check_prompt(self, prompt: str, negative: str | None = None) -> Finding | None:
        """Why a prompt is refused; None if it is not.

        `negative`: a negative prompt that is drawn, too, as `Drawing.sought` has it; it is asked
        about by itself and together with the prompt. One that is steered away from is not.
        """
        if not self.safety.prompt_filter:
            return None
        if finding := self._prompts.find(prompt):
            return finding
        texts = (negative, f"{prompt}, {negative}") if negative else ()
        finding = next(filter(None, map(self._prompts.find, texts)), None)
        if finding is None:
            return None
        return replace(finding, reason=f"{DRAWN_TOO} {finding.reason}", where="negative_prompt")

    def refuse(self, prompt: str, negative: str | None = None) -> None:
        """Raise Refused for what `check_prompt` refuses."""
        if finding := self.check_prompt(prompt, negative):
            raise Refused(finding)

    def _is_indecent(self, image: Image.Image) -> bool:
        return self._nudity.score(image) >= self._nudity.threshold

    def flag(self, image: Image.Image) -> str | None:
        """Why a picture is withheld; None if it is not."""
        if not self.safety.picture_filter or not self._is_indecent(image):
            return None
        log.warning("a picture of %s was withheld by the picture filter", self.model)
        return WITHHELD

    def mark(self, image: Image.Image, seed: int) -> Image.Image:
        """A picture with the watermark in it, if that is on and the picture large enough."""
        if not self.safety.watermark or not watermark.can_carry(image.size):
            return image
        numbers = watermark.model_number(self.model), watermark.seed_number(seed)
        return watermark.embed(image, watermark.Mark(*numbers))

    def let_out(
        self, pictures: Mapping[str, Image.Image], seed: int, transparent: bool = False
    ) -> Passed:
        """Check the last of one picture's stages, and mark them all.

        `transparent`: take the last off its ground; whole, with a note, where it has no plain one.
        """
        last, notes = [*pictures][-1], list[str]()
        if flagged := self.flag(pictures[last]):
            return Passed({}, flagged)
        pictures = dict(pictures)
        if transparent:
            try:
                pictures[last] = cut_out(pictures[last])
            except ValueError as error:
                pictures[last] = pictures[last].convert("RGBA")
                notes.append(f"stays whole: {error}")
        marked = {name: self.mark(each, seed) for name, each in pictures.items()}
        return Passed(marked, None, tuple(notes))

    def encode(
        self,
        image: Image.Image,
        form: Format,
        quality: int | None = None,
        *,
        edited: bool = False,
    ) -> bytes:
        """The picture as a file, signed: "made by a model", which and when.

        `quality`: 0 to 100, of JPEG and WebP. `edited`: made from a picture of somebody's.
        """
        buffer = io.BytesIO()
        if form == "jpeg":
            image = image.convert("RGB")
        options = {} if form == "png" else {"quality": QUALITY if quality is None else quality}
        image.save(buffer, form.upper(), **options)
        if not self.safety.credentials:
            return buffer.getvalue()
        claim = Claim(self.model, __version__, datetime.now(UTC), edited)
        return self._signer.sign(buffer.getvalue(), f"image/{form}", claim)

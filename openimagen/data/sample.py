"""What data sets are made of: a picture file with its captions, or the reason why there is none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A picture, still encoded, and its captions, at least one where they are asked for."""

    name: str
    image: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """Something that cannot be used.

    `passing`: the reading failed, not what was read; it may be well the next time.
    """

    name: str
    reason: str
    passing: bool = False


Item = Sample | Fault


def clean_captions(text: object) -> tuple[str, ...]:
    """The captions in a string or a list of strings, white space tidied, empty ones left out.

    Bytes that are not UTF-8 are expected as surrogates. Raises ValueError with the reason if there
    is no caption.
    """
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError("text is neither a string nor a list of strings")
    captions = tuple(caption for each in texts if (caption := " ".join(each.split())))
    if not captions:
        raise ValueError("empty caption")
    try:
        "".join(captions).encode()
    except UnicodeEncodeError:
        raise ValueError("caption is not UTF-8") from None
    return captions

"""Which icons are pictures, and what they show: by emojibase's names, or by their own."""

import fnmatch
import re
import unicodedata
from collections.abc import Container, Mapping
from typing import Any

GROUPS = (
    *("smileys-emotion", "people-body", "component", "animals-nature", "food-drink"),
    *("travel-places", "activities", "objects", "symbols", "flags"),
)  # of emojibase, which numbers them so

_SKIN_TONE = re.compile(r"-(light|medium|dark)(-|$)|skin-tone")
_NO_PICTURE = re.compile(r"(flag|keycap|regional|letter|digit|input|squared)")
_NUMBERED = re.compile(r"-\d+$")
_COMPOUNDS = (
    "backup breakdown businessman businesswoman callback feedback headset moonrise moonset online "
    "overtime raindrop raindrops timeline"
)  # words that emojibase has in halves only

# By set, icons that are no pictures of what they are called, looked through one by one.
_LEFT_OUT = {
    "flat-color-icons": """
        about display faq flash-auto info signature vip alphabetical-* numerical-*
        copy* registered-trademark service-mark sound-recording-copyright trademark
        *android* bbc cd-logo debian dribbble dvd-logo google icons8-cup ipad iphone kindle linux
        nfc-sign nook reddit steam stumbleupon usb vlc wi-fi-logo wikipedia
        advance collapse collect do-not-insert do-not-mix down* download expand export external
        feed-in generic-sorting-* import internal left* multiple-inputs neutral-trading next
        previous process redo refresh right* rotate-to-* synchronize undo up*
        *-column *-priority *-row cancel checkmark grid like-placeholder menu minus ok plus start
        voicemail
    """,  # letters; makers' marks; arrows; signs
    "meteocons": """
        *celsius *fahrenheit not-available pressure-* time-* uv-index* wind-beaufort-*
        cloud-down cloud-up code-* moon-new raindrop-measure tide-* umbrella-wind-alt wind-alert
        smoke *-smoke smoke-particles sun-hot thermometer-glass thermometer-mercury* wind-*shore
    """,  # letters; signs; what is lost when it stands still
}
_LEFT_OUT_OF = {
    style: re.compile("|".join(map(fnmatch.translate, patterns.split())))
    for style, patterns in _LEFT_OUT.items()
}


def slug(label: str) -> str:
    """A label as an icon's name: "piñata" -> "pinata", "man: red hair" -> "man-red-hair"."""
    plain = unicodedata.normalize("NFKD", label.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")


def is_pictorial(
    style: str, key: str, entry: Mapping[str, Any] | None, signs: Container[str]
) -> bool:
    """Whether an icon shows something: by its name, by emojibase's entry or, without, its set.

    `signs` are the icons that the set itself calls symbols or flags.
    """
    if _SKIN_TONE.search(key) or _NO_PICTURE.match(key):
        return False
    if style in _LEFT_OUT_OF and _LEFT_OUT_OF[style].match(key):
        return False
    return key not in signs if entry is None else group_of(entry) not in ("symbols", "flags")


def group_of(entry: Mapping[str, Any] | None) -> str:
    """The name of emojibase's group, "food-drink"; empty if it is in none."""
    number = None if entry is None else entry.get("group")
    return "" if number is None else GROUPS[number]


class Labels:
    """emojibase by name: label, tags and group; also the words its labels are made of."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._exact = {slug(each["label"]): each for each in reversed(entries)}
        self._loose = {name.replace("-", ""): each for name, each in self._exact.items()}
        self._codes = {_code(each["hexcode"]): each for each in entries if "hexcode" in each}
        texts = " ".join(word for e in entries for word in [e["label"], *e.get("tags", ())])
        short = {"of", "on", "in", "at", "to", "up", "ok", "no"}
        words = set(re.findall("[a-z]+", texts.lower()))
        long = {word for word in words if len(word) > 2}
        self._words = long | {f"{word}s" for word in long} | short | {*_COMPOUNDS.split()}

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of an icon; hyphens do not count ("redapple" is a red apple)."""
        return self._exact.get(key) or self._loose.get(key.replace("-", ""))

    def name_of(self, code: str) -> str | None:
        """What an icon is called whose name is its codepoints, "1f34e"; None for skin tones."""
        entry = self._codes.get(_code(code))
        return None if entry is None else slug(entry["label"])

    def spell(self, key: str) -> str:
        """An icon's name as words: "frame-with-picture" and "framewithpicture" alike.

        Without the number that tells several apart: "diploma-2".
        """
        parts = _NUMBERED.sub("", key).split("-")
        return " ".join(" ".join(self._split(part) or [part]) for part in parts)

    def _split(self, text: str) -> list[str] | None:
        """The fewest known words or numbers that make up the text; None if there are none."""
        best: list[list[str] | None] = [[]]  # of text[:0], text[:1], ...
        for end in range(1, len(text) + 1):
            ways = [
                [*before, text[start:end]]
                for start, before in enumerate(best)
                if before is not None
                and (text[start:end] in self._words or text[start:end].isdigit())
            ]
            best.append(min(ways, key=len, default=None))
        return best[-1]


def _code(code: str) -> str:
    """Codepoints without the sign that asks for a picture, which not all write."""
    return code.lower().replace("-fe0f", "")


def plain(label: str) -> str:
    """A label as lower-case words: "man: red hair" -> "man red hair"."""
    text = label.lower().replace("\u2019", "'")  # typographic apostrophe
    return " ".join(re.sub("[-:,\u201c\u201d]", " ", text).split())

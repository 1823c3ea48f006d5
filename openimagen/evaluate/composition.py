"""GenEval's checks of composition (Ghosh et al., 2023), without any network, for pictures of icons.

Is everything there that the prompt asks for, as often, in the colour and the place that it says?
Things are found by `objects`, not by GenEval's detector: figures compare with each other and with
their ceiling, scenes composed of real icons, not with GenEval's own.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from openimagen.data.images import square
from openimagen.data.scene_prompts import TAGS
from openimagen.data.scenes import Icons, Scene, Thing, compose
from openimagen.evaluate.alignment import Judge, Score
from openimagen.evaluate.bootstrap import interval, margin, means, share_interval
from openimagen.evaluate.objects import Found, Objects
from openimagen.evaluate.prompts import Prompt, of_row
from openimagen.evaluate.sheet import Cell

LEEWAY = 0.1  # of two things' sizes: what they may lie off a line and be neither left nor right


class Composition(Judge):
    """Are the things there, as many, in the colours and places that a prompt says?

    `icons` are what things are known by; scenes of `real`, icons of another style, are the ceiling.
    With `side` pictures are brought to it first, and real scenes composed at it.
    """

    name = "icons"

    def __init__(self, icons: Icons, real: Icons | None = None, side: int | None = None) -> None:
        self.icons, self.real, self.side = icons, real or icons, side
        self.objects = Objects(icons)
        self._ceilings: dict[tuple[str, ...], tuple[dict[str, float], dict[str, float]]] = {}

    def check(self, prompts: Sequence[Prompt]) -> None:
        """ValueError for prompts without content, or with things that there are no icons of."""
        scenes = [scene_of(prompt) for prompt in prompts]
        things = {thing.name for scene in scenes for thing in (*scene.include, *scene.exclude)}
        lacking = sorted(name for name in things if not {name} <= {*self.icons} & {*self.real})
        if lacking:
            raise ValueError(
                f"there is no icon of {lacking[0]!r} ({len(lacking)} of {len(things)} lack): give "
                "prompts of what there are icons of"
            )
        for scene in scenes:
            if any(thing.position for thing in scene.include):
                compose(scene, self.real, 8)  # not every position can be composed

    def judge(
        self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]
    ) -> tuple[list[Score], list[Cell]]:
        """The mean of the categories' shares of right pictures, as GenEval, and each share.

        And of each picture what is wrong with it.
        """
        self.check(prompts)
        scenes = [scene_of(prompt) for prompt in prompts]
        cells = list[Cell]()
        for scene, picture in zip(scenes, pictures, strict=True):
            picture = square(picture, self.side) if self.side else picture
            cells.append(Cell(scene.caption, judge(self.objects(picture), scene), picture))
        return self._scores([not cell.fault for cell in cells], scenes), cells

    def _scores(self, right: Sequence[bool], scenes: Sequence[Scene]) -> list[Score]:
        ceiling, chance = self._ceiling(scenes)
        scores, replicates = list[Score](), []
        for tag, which in by_tag(scenes).items():
            names = [scenes[number].caption for number in which]
            hits = [float(right[number]) for number in which]
            title, count = f"{tag or 'untagged'} ({self.name})", len(set(names))
            share = share_interval(hits, names)
            scores.append(Score(title, *share, count, ceiling[tag], chance[tag]))
            replicates.append(means(hits, names, seed=len(scores))[0])
        value = float(np.mean([score.value for score in scores]))
        low, high = interval(np.mean(replicates, 0))
        count = sum(score.prompts for score in scores)
        wider = margin(value, count)
        whole = Score(
            f"GenEval ({self.name})", value, max(low - wider, 0.0), min(high + wider, 1.0), count,
            float(np.mean([*ceiling.values()])), float(np.mean([*chance.values()])),
        )  # fmt: skip
        return [whole, *scores]

    def _ceiling(self, scenes: Sequence[Scene]) -> tuple[dict[str, float], dict[str, float]]:
        """By category, what composed scenes get; and what they get for the next one's caption."""
        distinct = list({scene.caption: scene for scene in scenes}.values())
        key = tuple(scene.caption for scene in distinct)
        if key not in self._ceilings:
            found = [
                self.objects(compose(scene, self.real, self.side or 64, number))
                for number, scene in enumerate(distinct)
            ]
            right, swapped = dict[str, float](), dict[str, float]()
            for tag, which in by_tag(distinct).items():
                turned = which[1:] + which[:1]
                right[tag] = _share(not judge(found[n], distinct[n]) for n in which)
                swapped[tag] = _share(
                    not judge(found[n], distinct[other])
                    for n, other in zip(which, turned, strict=True)
                )
            self._ceilings[key] = right, swapped
        return self._ceilings[key]


def _share(right: Iterable[bool]) -> float:
    return float(np.mean([*right]))


def scene_of(prompt: Prompt) -> Scene:
    """The content of a prompt. ValueError if it does not say what must be in the picture."""
    return Scene.of_row({"tag": prompt.category, **(prompt.content or {})}, prompt.text)


def prompt_of(scene: Scene) -> Prompt:
    """A scene as a prompt."""
    return of_row(scene.row(), scene.caption)


def by_tag(scenes: Sequence[Scene]) -> dict[str, list[int]]:
    """Category -> numbers of its scenes, in GenEval's order."""
    tags = dict.fromkeys(scene.tag for scene in scenes)
    order = [*(tag for tag in TAGS if tag in tags), *(tag for tag in tags if tag not in TAGS)]
    return {tag: [n for n, scene in enumerate(scenes) if scene.tag == tag] for tag in order}


# --- GenEval's rules ------------------------------------------------------------------------------


def judge(found: Sequence[Found], scene: Scene) -> str:
    """What is wrong with a picture in which these things were found; empty if it is right."""
    by_name: dict[str, list[Found]] = {}
    for each in found:
        by_name.setdefault(each.name, []).append(each)
    faults, matched = list[str](), list[list[Found]]()
    for thing in scene.include:
        mine = by_name.get(thing.name, [])
        others = sorted(name or "nothing known" for name in by_name if name != thing.name)
        fault = _lacks(thing, mine, f" ({', '.join(others)})" if others else "", scene, matched)
        matched.append([] if fault else mine[: thing.count])
        faults += [fault] if fault else []
    for thing in scene.exclude:
        if (count := len(by_name.get(thing.name, []))) >= thing.count:
            faults.append(f"expected {thing.name}<{thing.count}, found {count}")
    return "; ".join(faults)


def _lacks(
    thing: Thing,
    mine: Sequence[Found],
    others: str,
    scene: Scene,
    matched: Sequence[Sequence[Found]],
) -> str:
    if len(mine) < thing.count:
        return f"expected {thing.name}>={thing.count}, found {len(mine)}{others}"
    mine = mine[: thing.count]
    if thing.colour and any(each.colour != thing.colour for each in mine):
        seen = ", ".join(each.colour for each in mine)
        return f"expected {thing.colour} {thing.name}>={thing.count}, found {seen}"
    if thing.position:
        how, number = thing.position
        target = scene.include[number].name
        if not matched[number]:
            return f"no {target} for {thing.name} to be {how}"
        for each in mine:
            for other in matched[number]:
                if how not in (true := relations(each.box, other.box)):
                    where = " and ".join(sorted(true)) or "beside"
                    return f"expected {thing.name} {how} {target}, found {where} it"
    return ""


def relations(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> set[str]:
    """How a thing lies to another: none of four, one, or at a corner two of them.

    GenEval's rule. How far their middles are apart counts, less a tenth of both sizes; a direction
    counts if that is more than half of the distance of the middles.
    """
    boxes = np.array([box, other], float).reshape(2, 2, 2)  # [thing corner xy]
    middles = boxes.mean(1)
    offset = middles[0] - middles[1]
    sizes = np.abs(boxes[:, 1] - boxes[:, 0]).sum(0)
    clear = np.maximum(np.abs(offset) - LEEWAY * sizes, 0) * np.sign(offset)
    if not clear.any():
        return set()
    x, y = clear / np.linalg.norm(offset)
    found = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, is_so in found.items() if is_so}

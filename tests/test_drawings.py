"""Pictures that meet stage by stage are those of a cascade that draws them from bottom to top."""

import pytest
import torch
from PIL import Image
from torch import Tensor

from openimagen import editing
from openimagen.cascade import Cascade, Progress
from openimagen.drawing import Drawing, advance, prepare, stage_above
from openimagen.editing import Source


def run(cascade: Cascade, *drawings: Drawing) -> list[Tensor]:
    while drawings[0].ahead:
        advance(cascade, drawings)
    return [drawing.image for drawing in drawings if drawing.image is not None]


def test_stage_by_stage_is_the_cascade(tiny: Cascade) -> None:
    whole = tiny.sample(["a red fox"], [3], settings=tiny.settings(None, steps=[3, 2, 2]))
    drawing = prepare(tiny, "a red fox", 3, overrides={"steps": [3, 2, 2]})
    assert drawing.ahead == [0, 1, 2]
    run(tiny, drawing)
    assert [*drawing.drawn] == ["base", "sr32", "sr64"] and drawing.ahead == []
    for ours, theirs in zip(drawing.drawn.values(), whole, strict=True):
        assert torch.equal(ours, theirs[0])


def test_company_changes_nothing(tiny: Cascade) -> None:
    prompts = ["a red fox", "sailboat", "", "a b c d e f"]
    together = [prepare(tiny, prompt, seed) for seed, prompt in enumerate(prompts)]
    assert len({drawing.company for drawing in together}) == 1
    run(tiny, *together)
    for seed, prompt in enumerate(prompts):
        (alone,) = run(tiny, prepare(tiny, prompt, seed))
        image = together[seed].image
        assert image is not None
        torch.testing.assert_close(alone, image, atol=1e-4, rtol=0)


def test_company_is_refused_to_those_who_want_otherwise(tiny: Cascade) -> None:
    grey = Image.new("RGB", (64, 64), "grey")
    mask = Image.new("L", (64, 64), 255)
    others = [
        prepare(tiny, "fox", 0, overrides={"steps": 4}),
        prepare(tiny, "fox", 0, overrides={"guidance": 3.0}),
        prepare(tiny, "fox", 0, negative="grey"),
        prepare(tiny, "fox", 0, source=Source(grey)),
        prepare(tiny, "fox", 0, source=Source(grey, strength=0.5)),
        prepare(tiny, "fox", 0, source=Source(grey, mask)),
        prepare(tiny, "fox", 0, latents=torch.zeros(3, 16, 16)),
    ]
    companies = {drawing.company for drawing in [prepare(tiny, "fox", 0), *others]}
    assert len(companies) == 1 + len(others)
    assert prepare(tiny, "owl", 9, negative=" ").company == prepare(tiny, "fox", 0).company


def test_a_picture_is_squared_when_it_is_drawn_from_not_while_it_waits(
    tiny: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey, mask = Image.new("RGB", (40, 30), "grey"), Image.new("L", (40, 30), 255)
    sources = [Source(grey), Source(grey, mask), Source(grey, task="upscale")]
    with monkeypatch.context() as patched:
        patched.delattr(editing, "squared")
        drawings = [prepare(tiny, "fox", 0, source=source) for source in sources]
        assert len({drawing.company for drawing in drawings}) == len(sources)
    for drawing in drawings:
        advance(tiny, [drawing])
        assert drawing.image is not None


def test_no_words_are_the_null_text(tiny: Cascade) -> None:
    (empty,) = run(tiny, prepare(tiny, "  ", 0, size=16))
    null = tiny.encode(["anything"]).null()
    assert torch.equal(empty, tiny.sample(null, [0], size=16)[0][0])
    (said,) = run(tiny, prepare(tiny, "nothing", 0, size=16))
    assert not torch.allclose(empty, said, atol=1e-3)


def test_a_step_that_fails_changes_no_drawing(tiny: Cascade) -> None:
    def fail(progress: Progress) -> None:
        raise RuntimeError(progress.stage)

    drawing = prepare(tiny, "fox", 0)
    with pytest.raises(RuntimeError, match="base"):
        advance(tiny, [drawing], fail)
    assert drawing.ahead == [0, 1, 2] and drawing.image is None
    assert torch.equal(run(tiny, drawing)[0], run(tiny, prepare(tiny, "fox", 0))[0])


def test_raising_a_picture_starts_above_the_stage_that_it_covers(tiny: Cascade) -> None:
    assert [stage_above(tiny, side, None) for side in (5, 16, 31, 32, 63)] == [1, 1, 1, 2, 2]
    assert stage_above(tiny, 40, 64) == 2 and stage_above(tiny, 20, 32) == 1
    with pytest.raises(ValueError, match="has a side of 64 already"):
        stage_above(tiny, 64, None)
    with pytest.raises(ValueError, match="has a side of 40 already"):
        stage_above(tiny, 40, 32)
    (base,) = run(tiny, drawn := prepare(tiny, "fox", 0, size=16))
    picture = drawn.pictures()["base"]
    raised = prepare(tiny, "fox", 0, source=Source(picture, task="upscale"))
    assert raised.ahead == [1, 2]
    lowres = torch.tensor(picture.tobytes() and list(picture.tobytes())).float() / 127.5 - 1
    lowres = lowres.reshape(1, 16, 16, 3).permute(0, 3, 1, 2)
    assert (lowres[0] - base).abs().max() <= 1 / 255 + 1e-6
    expected = tiny.sample(["fox"], [0], start=1, lowres=lowres)[-1][0]
    assert torch.equal(run(tiny, raised)[0], expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 48}, "size 48 is no stage"),
        ({"overrides": {"steps": [1, 2, 3, 4]}}, "steps: 4 values for 3 stages"),
        ({"overrides": {"sampler": "euler"}}, "sampler euler"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    tiny: Cascade, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(tiny, "fox", 0, **wrong)  # type: ignore[arg-type]

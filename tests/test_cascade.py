"""The cascade passes text to every stage, each picture to the next, and noise by seed alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from openimagen.blocks import TextContext
from openimagen.cascade import Cascade, PictureNoise, Progress, Stage, draw, match_colours
from openimagen.config import UNetConfig
from openimagen.diffusion import add_noise, denoiser, sampling_log_snrs
from openimagen.samplers import SAMPLERS, dpmpp_2m
from openimagen.unet import UNet

MakeNet = Callable[[UNetConfig], UNet]
CPU = torch.device("cpu")
PROMPTS = ["a red fox", "sailboat", "two green pears on a plate"]
SEEDS = [3, 5, 8]
BARE = {"guidance": 1.0, "threshold": "none"}


@pytest.fixture
def calls(tiny: Cascade) -> list[list[tuple[object, ...]]]:
    """What each stage's network is given: (z, log_snr, text, lowres, aug_log_snr) of each call."""
    seen: list[list[tuple[object, ...]]] = []
    for stage in tiny.stages:
        given: list[tuple[object, ...]] = []
        stage.trained().register_forward_pre_hook(lambda _, args, given=given: given.append(args))
        seen.append(given)
    return seen


def differs(a: Tensor, b: Tensor) -> Tensor:
    """Which pictures of two batches differ by more than rounding."""
    return (a - b).abs().flatten(1).amax(1) > 1e-3


# --- the sentence ---------------------------------------------------------------------------------


def test_every_stage_sees_the_text_and_the_picture_below(
    tiny: Cascade, calls: list[list[tuple[object, ...]]]
) -> None:
    images = tiny.sample(PROMPTS, SEEDS)
    assert [image.shape for image in images] == [(3, 3, side, side) for side in (16, 32, 64)]
    for number, given in enumerate(calls):
        assert len(given) == 3  # steps
        for z, _, text, lowres, aug in given:
            assert isinstance(z, Tensor) and isinstance(text, TextContext)
            assert text is given[0][2]  # read once
            assert len(z) == len(text.pooled) == 6  # with and without text
            assert text.mask.sum(1).tolist() == [3, 1, 6, 1, 1, 1]  # words; null has one
            if number == 0:
                assert lowres is None and aug is None
            else:
                assert isinstance(lowres, Tensor) and isinstance(aug, Tensor)
                assert torch.equal(lowres, images[number - 1].repeat(2, 1, 1, 1))
                assert aug.tolist() == [12.0] * 6  # no noise on it


def test_the_text_counts_in_each_stage(tiny: Cascade) -> None:
    lowres = torch.zeros(3, 3, 16, 16)
    for start in (0, 1, 2):
        below = lowres if start else None
        size = tiny.stages[start].config.side
        pictures = [
            tiny.sample(prompts, SEEDS, start=start, size=size, lowres=below)[0]
            for prompts in (PROMPTS, ["a blue fox", *PROMPTS[1:]])
        ]
        assert differs(*pictures).tolist() == [True, False, False]


def test_a_cascade_may_stop_early_and_start_late(tiny: Cascade) -> None:
    base, small, large = tiny.sample(PROMPTS, SEEDS)
    stopped = tiny.sample(PROMPTS, SEEDS, size=32)
    assert len(stopped) == 2 and torch.equal(stopped[1], small)
    late = tiny.sample(PROMPTS, SEEDS, start=1, lowres=base)
    assert len(late) == 2 and torch.equal(late[1], large)
    only = tiny.sample(PROMPTS, SEEDS, start=1, size=32, lowres=base)
    assert len(only) == 1 and torch.equal(only[0], small)


def test_one_stage_draws_any_size(tiny: Cascade) -> None:
    text, noise = tiny.encode(PROMPTS), PictureNoise(SEEDS, 0, CPU)
    drawn = draw(tiny.stages[1], text, text.null(), noise, torch.zeros(3, 3, 8, 12), size=(16, 24))
    assert drawn.shape == (3, 3, 16, 24)


def test_a_stage_is_sampler_guidance_and_threshold_around_its_network(tiny: Cascade) -> None:
    config, net = tiny.stages[0].config, tiny.stages[0].trained()
    text = tiny.encode(PROMPTS)
    z = PictureNoise(SEEDS, 0, CPU).draw(3, 16, 16)
    log_snrs = sampling_log_snrs(config.diffusion.schedule, 3)
    denoise = denoiser(net, config.diffusion, text)
    expected = dpmpp_2m(denoise, z, log_snrs).clamp(-1, 1)
    (drawn,) = tiny.sample(PROMPTS, SEEDS, size=16, settings=[BARE])
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=1e-4)


# --- guidance -------------------------------------------------------------------------------------


def test_weight_1_asks_the_conditional_network_alone(
    tiny: Cascade, calls: list[list[tuple[object, ...]]]
) -> None:
    tiny.sample(PROMPTS, SEEDS, settings=[{"guidance": 1.0}] * 3)
    for z, *_ in calls[0] + calls[1] + calls[2]:
        assert isinstance(z, Tensor) and len(z) == 3


def test_weight_0_is_a_picture_of_nothing(tiny: Cascade) -> None:
    unguided = tiny.sample(PROMPTS, SEEDS, settings=[{"guidance": 0.0}] * 3)
    of_nothing = tiny.sample(["", "", ""], SEEDS, settings=[{"guidance": 1.0}] * 3)
    for ours, theirs in zip(unguided, of_nothing, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_guidance_is_away_from_the_negative_prompt_or_from_nothing(tiny: Cascade) -> None:
    (plain,) = tiny.sample(PROMPTS, SEEDS, size=16)
    (nothing,) = tiny.sample(PROMPTS, SEEDS, size=16, negative="")  # encoded as the null text
    (negative,) = tiny.sample(PROMPTS, SEEDS, size=16, negative="blurry and grey and nine words")
    assert torch.equal(nothing, plain)
    assert differs(negative, plain).all()
    (same,) = tiny.sample(PROMPTS[:1], SEEDS[:1], size=16, negative=PROMPTS[0])
    (unguided,) = tiny.sample(PROMPTS[:1], SEEDS[:1], size=16, settings=[{"guidance": 1.0}])
    torch.testing.assert_close(same, unguided, atol=1e-3, rtol=0)


def test_settings_are_each_stages_own(tiny: Cascade, calls: list[list[tuple[object, ...]]]) -> None:
    tiny.sample(PROMPTS[:1], [0], settings=[{"steps": 2}, {}, {"steps": 4, "guidance": 1.0}])
    assert [len(given) for given in calls] == [2, 3, 4]
    assert [len(given[0][0]) for given in calls] == [2, 2, 1]
    tiny.sample(PROMPTS[:1], [0], settings=[{"steps": 1}])  # the others keep theirs
    assert [len(given) for given in calls] == [2 + 1, 3 + 3, 4 + 3]


@pytest.mark.parametrize(
    "overrides",
    [
        {"guidance_interval": (50.0, 60.0)},
        {"guidance_rescale": 0.9},
        {"log_snr_range": (-2.0, 2.0)},
        {"percentile": 50.0},
    ],
)
def test_each_setting_of_sampling_changes_the_picture(
    tiny: Cascade, overrides: dict[str, Any]
) -> None:
    threshold = "dynamic" if "percentile" in overrides else "none"  # dynamic hides a rescaling

    def sample(more: dict[str, Any]) -> Tensor:
        settings = [{"guidance": 3.0, "threshold": threshold, **more}]
        return tiny.sample(PROMPTS, SEEDS, size=16, settings=settings)[0]

    assert differs(sample(overrides), sample({})).all()


def test_guidance_outside_its_interval_is_off(tiny: Cascade) -> None:
    never = {"guidance": 3.0, "guidance_interval": (50.0, 60.0)}
    (outside,) = tiny.sample(PROMPTS, SEEDS, size=16, settings=[never])
    (off,) = tiny.sample(PROMPTS, SEEDS, size=16, settings=[{"guidance": 1.0}])
    torch.testing.assert_close(outside, off, atol=1e-4, rtol=0)


def test_a_picture_of_any_size_can_be_started_from(tiny: Cascade) -> None:
    stripes = torch.ones(3, 3, 300, 300)
    stripes[..., 1::3] = -1.0  # finer than a pixel of the 16 that the stage takes
    (fine, *_) = tiny.sample(PROMPTS, SEEDS, start=1, lowres=stripes)
    flat = torch.full((3, 3, 16, 16), 1 / 3)
    (same, *_) = tiny.sample(PROMPTS, SEEDS, start=1, lowres=flat)
    torch.testing.assert_close(fine, same, atol=0.1, rtol=0)


def test_a_picture_to_start_from_stays_in_range_at_hard_edges(tiny: Cascade) -> None:
    halves = torch.ones(1, 3, 300, 300)
    halves[..., 140:] = -1.0
    assert tiny.below(1, halves).abs().max() == 1.0


def test_an_override_is_for_every_stage_or_one_each(tiny: Cascade) -> None:
    assert tiny.settings(None, steps=None) == [{}, {}, {}]
    assert tiny.settings(None, steps=[3], guidance=(4.0, 1.0, 1.5), sampler="heun") == [
        {"steps": 3, "guidance": 4.0, "sampler": "heun"},
        {"steps": 3, "guidance": 1.0, "sampler": "heun"},
        {"steps": 3, "guidance": 1.5, "sampler": "heun"},
    ]
    below = tiny.stages[1].config.side
    assert tiny.settings(below, steps=[3, 2]) == [{"steps": 3}, {"steps": 2}, {}]
    with pytest.raises(ValueError, match="steps: 2 values for 3 stages; give one, or one each"):
        tiny.settings(None, steps=[3, 2])


# --- noise ----------------------------------------------------------------------------------------


def test_noise_is_a_function_of_seed_and_stage() -> None:
    noise = PictureNoise([1, 2, 7], 1, CPU)
    first, second = noise.draw(3, 8, 8), noise.draw(3, 4, 4)
    alone = PictureNoise([7], 1, CPU)
    assert torch.equal(alone.draw(3, 8, 8)[0], first[2])
    assert torch.equal(alone.draw(3, 4, 4)[0], second[2])
    other = PictureNoise([1, 2, 7], 0, CPU).draw(3, 8, 8)
    pictures = [*first, *other, *noise.draw(3, 8, 8)]
    apart = torch.pdist(torch.stack(pictures).flatten(1)) / math.sqrt(2 * 192)
    torch.testing.assert_close(apart, torch.ones_like(apart), atol=0.2, rtol=0)  # unrelated
    many = PictureNoise([0], 0, CPU).draw(3, 64, 64)
    assert abs(many.mean()) < 0.03 and abs(many.std() - 1) < 0.03


def test_the_seed_is_more_than_its_last_32_bits() -> None:
    seeds = [5, 5 + 2**32, 5 + 2**33, 2**63 - 1]
    noise = torch.cat([PictureNoise(seeds, stage, CPU).draw(3, 4) for stage in (0, 1, 2)])
    assert torch.pdist(noise.flatten(1)).min() > 1


def test_same_seeds_same_pictures_other_seeds_others(tiny: Cascade) -> None:
    first, again = (tiny.sample(PROMPTS, SEEDS) for _ in range(2))
    assert all(map(torch.equal, first, again))
    others = tiny.sample(PROMPTS, [3, 6, 8])
    for ours, theirs in zip(first, others, strict=True):
        assert differs(ours, theirs).tolist() == [False, True, False]


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m"])
def test_a_picture_does_not_change_with_its_batch(tiny: Cascade, sampler: str) -> None:
    settings = [{"sampler": sampler}, {"sampler": sampler, "aug_level": 0.3}]
    together = tiny.sample(PROMPTS, SEEDS, settings=settings, size=32)
    for n in range(3):
        alone = tiny.sample(PROMPTS[n : n + 1], SEEDS[n : n + 1], settings=settings, size=32)
        for ours, theirs in zip(alone, together, strict=True):
            torch.testing.assert_close(ours[0], theirs[n], atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_latents_take_the_place_of_the_first_noise(tiny: Cascade, sampler: str) -> None:
    settings = [{"sampler": sampler}]
    own = PictureNoise(SEEDS, 0, CPU).draw(3, 16, 16)
    expected = tiny.sample(PROMPTS, SEEDS, settings=settings, size=32)
    given = tiny.sample(PROMPTS, SEEDS, settings=settings, size=32, latents=own)
    assert all(map(torch.equal, given, expected))
    moved = tiny.sample(PROMPTS, SEEDS, settings=settings, size=32, latents=own.roll(1, 0))
    assert differs(moved[0], expected[0]).all()


def test_augmentation_noises_the_picture_below_and_says_so(
    tiny: Cascade, calls: list[list[tuple[object, ...]]]
) -> None:
    base, _ = tiny.sample(PROMPTS, SEEDS, size=32, settings=[{}, {"aug_level": 0.25}])
    noise = PictureNoise(SEEDS, 1, CPU)
    noise.draw(3, 32, 32)  # where the stage starts from
    level = torch.full((3,), 12 - 0.25 * 20)
    expected = add_noise(base, noise.draw(3, 16, 16), level)
    for _, _, _, lowres, aug in calls[1]:  # once, the same at each step
        assert torch.equal(lowres, expected.repeat(2, 1, 1, 1))
        assert torch.equal(aug, level.repeat(2))


# --- progress and precision -----------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_call_is_reported_from_noise_to_picture(tiny: Cascade, sampler: str) -> None:
    reports: list[Progress] = []
    settings = [{"sampler": sampler, "steps": 4}, {"sampler": sampler, "steps": 1}]
    images = tiny.sample(PROMPTS, SEEDS, size=32, settings=settings, on_step=reports.append)
    for stage, image in zip(tiny.config.stages, images, strict=False):
        mine = [report for report in reports if report.stage == stage.name]
        assert [report.call for report in mine] == [*range(1, mine[-1].calls + 1)]
        levels = [report.log_snr for report in mine]
        assert levels == sorted(levels) and levels[0] == stage.diffusion.schedule.log_snr_min
        number = tiny.config.stages.index(stage)
        start = PictureNoise(SEEDS, number, CPU).draw(3, stage.side, stage.side)
        torch.testing.assert_close(mine[0].z, start)
        torch.testing.assert_close(mine[-1].x0, image, atol=1e-4, rtol=0)
    assert [report.stage for report in reports] == sorted(report.stage for report in reports)


def test_bfloat16_draws_nearly_the_same(tiny: Cascade) -> None:
    exact = tiny.sample(PROMPTS, SEEDS)
    rough = replace(tiny, dtype=torch.bfloat16).sample(PROMPTS, SEEDS)
    for ours, theirs in zip(rough, exact, strict=True):
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).abs().mean() < 0.02


def test_pictures_stay_in_range(tiny: Cascade) -> None:
    for threshold in ("none", "static", "dynamic"):
        wild = [{"guidance": 30.0, "threshold": threshold}] * 3
        for image in tiny.sample(PROMPTS, SEEDS, settings=wild):
            assert image.abs().max() <= 1


# --- requests that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"size": 48}, "size 48 is no stage of tiny: choose one of 16, 32, 64"),
        ({"size": 16, "start": 1, "lowres": torch.zeros(3, 3, 16, 16)}, "one of 32, 64"),
        ({"start": 3, "lowres": torch.zeros(3, 3, 16, 16)}, "stages 0 to 2, not 3"),
        ({"start": 1}, "lowres"),
        ({"lowres": torch.zeros(3, 3, 16, 16)}, "lowres"),
        ({"start": 1, "lowres": torch.zeros(2, 3, 16, 16)}, "3 captions, but 2 lowres"),
        ({"latents": torch.zeros(1, 3, 16, 16)}, "3 captions, but 1 latents"),
        ({"seeds": [1, 2]}, "3 captions, but 2 seeds"),
        ({"settings": [{}, {}, {"sampler": "euler"}]}, "sampler euler.*'ddpm', 'ddim', 'dpmpp_2m'"),
        ({"settings": [{"steps": 0}]}, "steps 0: input should be greater than 0"),
        ({"settings": [{}, {"guidance": -1.0}]}, "guidance -1.0"),
        ({"settings": [{"stride": 1}]}, "stride"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(
    tiny: Cascade,
    calls: list[list[tuple[object, ...]]],
    request_: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.sample(PROMPTS, **{"seeds": SEEDS, **request_})
    assert calls == [[], [], []]


def test_an_untrained_stage_is_refused_where_it_would_be_needed(tiny: Cascade) -> None:
    half = replace(tiny, stages=[*tiny.stages[:2], Stage(tiny.stages[2].config)])
    with pytest.raises(ValueError, match=r"sr64 has no weights.* --stage sr64"):
        half.sample(PROMPTS, SEEDS)
    assert len(half.sample(PROMPTS, SEEDS, size=32)) == 2


def test_colours_that_drifted_are_brought_back_to_those_below() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 0.5 * torch.rand(2, 3, 32, 32, generator=generator) - 0.25
    mix = torch.tensor([[1.3, 0.1, 0.0], [0.0, 0.8, 0.1], [0.2, 0.0, 1.1]])
    drifted = torch.einsum("bchw,cd->bdhw", truth, mix) + 0.2
    below = avg_pool2d(truth, 4)
    before = (avg_pool2d(drifted, 4) - below).abs().mean()
    after = (avg_pool2d(match_colours(drifted, below), 4) - below).abs().mean()
    assert after < before / 10
    alone = match_colours(drifted[:1], below[:1])  # each picture has a map of its own
    torch.testing.assert_close(match_colours(drifted, below)[:1], alone)


def test_white_stays_white_whatever_drifted() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 0.5 * torch.rand(1, 3, 32, 32, generator=generator) - 0.25
    truth[..., :16] = 1.0  # half of it is ground
    drifted = torch.where(truth == 1, truth, truth + 0.2)
    ground = match_colours(drifted, avg_pool2d(truth, 4))[..., :16]
    free = match_colours(truth + 0.2, avg_pool2d(truth, 4))[..., :16]  # ground that drifted too
    assert (ground - 1).abs().max() < 0.03
    assert (free - 1.2).abs().max() > 0.05


def test_colours_that_did_not_drift_stay() -> None:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(match_colours(picture, avg_pool2d(picture, 4)), picture)
    white = torch.ones(1, 3, 32, 32)
    torch.testing.assert_close(match_colours(white, white[..., :8, :8]), white)

"""What `--over` may say, and what it comes to."""

import pytest

from openimagen.cascade import Cascade
from openimagen.evaluate.sweep.result import choose_along
from openimagen.evaluate.sweep.settings import places, read_settings, value_of, word


def names(cascade: Cascade, size: int | None, *texts: str) -> list[str]:
    return [place.name for place in places(read_settings(texts, cascade, size), cascade, size)]


@pytest.mark.parametrize(
    ("size", "text", "stages", "values"),
    [
        (16, "guidance=1,1.5,2", ["base"], (1, 1.5, 2)),
        (None, "guidance=1,2", ["base", "sr32", "sr64"], (1, 2)),
        (None, "base.guidance=1,2", ["base"], (1, 2)),
        (None, "aug_level=0,0.3", ["sr32", "sr64"], (0, 0.3)),
        (64, "sr64.aug_level=0.1", ["sr64"], (0.1,)),
        (16, "steps=4, 8,4", ["base"], (4, 8)),
        (16, "sampler=ddim,heun", ["base"], ("ddim", "heun")),
        (16, "guidance_interval=-2..3,-100..100", ["base"], ([-2, 3], [-100, 100])),
        (32, "match_colours=yes,no", ["sr32"], (True, False)),
    ],
)
def test_a_key_is_of_the_stages_that_draw(
    tiny: Cascade, size: int | None, text: str, stages: list[str], values: tuple[object, ...]
) -> None:
    setting = read_settings([text], tiny, size)[0]
    assert ([*setting.stages], setting.values) == (stages, values)


def test_where_all_that_can_are_meant_the_stage_is_not_named(tiny: Cascade) -> None:
    assert read_settings(["base.guidance=1"], tiny, 16)[0].key == "guidance"
    assert read_settings(["sr32.aug_level=1"], tiny, 32)[0].key == "aug_level"
    assert read_settings(["sr32.aug_level=1"], tiny, 64)[0].key == "sr32.aug_level"


def test_the_usual_sweep_is_the_paper_s(tiny: Cascade) -> None:
    usual = read_settings([], tiny, 64)[0]
    assert (usual.key, usual.values[0], usual.values[-1]) == ("base.guidance", 1, 5)


def test_every_combination_is_a_point_with_all_its_settings(tiny: Cascade) -> None:
    over = ["sr32.guidance=1,1.5", "threshold=static,none"]
    found = places(read_settings(over, tiny, 32), tiny, 32)
    assert [place.name for place in found] == [
        f"sr32.guidance={weight},threshold={kind}"
        for weight in ("1", "1.5") for kind in ("static", "none")
    ]  # fmt: skip
    last = found[-1]
    assert last.overrides == ({"threshold": "none"}, {"guidance": 1.5, "threshold": "none"}, {})
    assert [*last.settings] == ["base", "sr32"]
    base, sr32 = last.settings.values()
    assert (base["guidance"], base["threshold"], sr32["guidance"]) == (2, "none", 1.5)
    assert (base["steps"], base["sampler"]) == (3, "dpmpp_2m")  # the model's own


def test_points_that_differ_have_names_that_differ(tiny: Cascade) -> None:
    over = "guidance=1,1.0000001,1e-9,100000000,2"
    assert len(set(names(tiny, 16, over))) == 5
    assert names(tiny, 16, "guidance_interval=-2..3.5", "guidance=2") == [
        "guidance_interval=-2..3.5,guidance=2"
    ]


def test_a_value_is_that_of_all_stages_or_none(tiny: Cascade) -> None:
    settings = places(read_settings(["sr32.guidance=1", "aug_level=0.5"], tiny, 32), tiny, 32)[0]
    assert value_of("base.guidance", settings.settings) == 2
    assert value_of("aug_level", settings.settings) == 0.5
    with pytest.raises(ValueError, match="guidance differs from stage to stage"):
        value_of("guidance", settings.settings)


def test_curves_follow_the_guidance_weight_or_else_numbers() -> None:
    assert (
        choose_along({"threshold": ["none", "static"], "base.guidance": [1, 2]}) == "base.guidance"
    )
    assert choose_along({"sampler": ["ddim", "heun"], "steps": [4, 8]}) == "steps"
    assert choose_along({"guidance": [2], "steps": [4, 8]}) == "steps"
    assert choose_along({"match_colours": [True, False], "sampler": ["a", "b"]}) == "match_colours"
    assert [word(value) for value in (1.0, 3, 0.25, [-2.0, 3.5], True, "ddim")] == [
        "1", "3", "0.25", "-2..3.5", "yes", "ddim"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "over", "message"),
    [
        (16, ["guidance"], "--over guidance: write KEY=VALUE,VALUE as in"),
        (16, ["guidance="], "write KEY=VALUE,VALUE"),
        (16, ["guidence=1"], "no setting 'guidence': did you mean guidance?"),
        (16, ["size=64"], "no setting 'size': choose sampler, steps, guidance, "),
        (64, ["sr23.guidance=1"], "no stage 'sr23': did you mean sr32?"),
        (16, ["sr32.guidance=1"], "stage sr32 comes after the --size that is drawn"),
        (16, ["aug_level=0,1"], "of super-resolution stages only, give a larger --size"),
        (64, ["base.match_colours=yes"], "of super-resolution stages only"),
        (16, ["guidance=1,x"], "--over guidance: x: input should be a valid number"),
        (16, ["guidance=1,,2"], "--over guidance: no value: input should be a valid number"),
        (16, ["guidance=-1"], "--over guidance: -1: input should be greater than or equal to 0"),
        (16, ["guidance=nan"], "--over guidance: nan: input should be"),
        (16, ["guidance=1..2"], "--over guidance: 1..2: input should be a valid number"),
        (16, ["guidance_interval=3"], "guidance_interval: 3: input should be a valid tuple"),
        (16, ["log_snr_range=3..2"], "3..2: log_snr_range goes from noise to picture"),
        (16, ["sampler=eular"], "eular: input should be 'ddpm', 'ddim', 'dpmpp_2m' or 'heun'"),
        (16, ["steps=0"], "steps: 0: input should be greater than 0"),
        (64, ["guidance=1", "sr32.guidance=2"], "--over guidance and --over sr32.guidance set the"),
        (20, ["guidance=1"], "size 20 is no stage of tiny: choose one of 16, 32, 64"),
        (16, ["percentile=90,99", "threshold=static"], "changes nothing where threshold is static"),
        (
            16,
            ["guidance_interval=0..1", "guidance=1"],
            "changes nothing where guidance is 1: give",
        ),
    ],
)
def test_what_there_is_not_is_refused_with_the_fix(
    tiny: Cascade, size: int, over: list[str], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        names(tiny, size, *over)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_setting_may_be_idle_at_some_points(tiny: Cascade) -> None:
    assert len(names(tiny, 16, "percentile=90,99", "threshold=static,dynamic")) == 4

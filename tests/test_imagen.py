"""The public door: prompts, seeds and settings go to the cascade; pictures come out as asked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from openimagen import imagen as door
from openimagen import model_folder
from openimagen.cascade import Cascade, PictureNoise, Progress, Stage
from openimagen.door import Safety
from openimagen.imagen import Imagen, check_output, choose_seeds
from openimagen.model_folder import embedded_models, find_model
from openimagen.safety import watermark

PROMPTS = ["a red fox", "sailboat"]


@pytest.fixture
def imagen(tiny: Cascade) -> Imagen:
    return Imagen(tiny)


def steps_taken(imagen: Imagen, **options: object) -> dict[str, int]:
    """Network calls of each stage."""
    seen: dict[str, int] = {}
    imagen("fox", seed=0, on_step=lambda p: seen.update({p.stage: p.calls}), **options)
    return seen


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_come_prompt_by_prompt_with_their_seeds(imagen: Imagen) -> None:
    out = imagen(PROMPTS, seed=7, num_images_per_prompt=2, output_type="np")
    assert len(out) == len(out.images) == 4
    assert out.prompts == ["a red fox"] * 2 + ["sailboat"] * 2
    assert out.seeds == [7, 8, 7, 8]
    assert out.flagged == [None] * 4
    assert list(out.stages) == ["base", "sr32", "sr64"]
    assert out.stages["sr64"] is out.images and out[3] is out.images[3]
    for prompt, seed, image in zip(out.prompts, out.seeds, out.images, strict=True):
        alone = imagen(prompt, seed=seed, output_type="np")
        np.testing.assert_allclose(alone[0], image, atol=1 / 255 + 1e-6)


def test_more_pictures_than_a_batch_holds_are_those_drawn_alone(
    imagen: Imagen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "BATCH", 2)
    out = imagen(PROMPTS[0], seed=3, num_images_per_prompt=5, size=32)
    assert [len(images) for images in out.stages.values()] == [5, 5]
    for image, seed in zip(out.images, out.seeds, strict=True):
        alone = np.asarray(imagen(PROMPTS[0], seed=seed, size=32)[0]).astype(int)
        assert abs(alone - np.asarray(image)).max() <= 1


def test_one_picture_in_three_kinds(imagen: Imagen) -> None:
    array = imagen("fox", seed=0, output_type="np")[0]
    tensor = imagen("fox", seed=0, output_type="pt")[0]
    picture = imagen("fox", seed=0)[0]
    assert isinstance(array, np.ndarray) and array.shape == (64, 64, 3)
    assert array.min() >= 0 and array.max() <= 1 and array.max() - array.min() > 0.5
    assert isinstance(tensor, torch.Tensor) and tensor.shape == (3, 64, 64)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), array)
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (64, 64))
    assert abs(np.asarray(picture) / 255 - array).max() <= 0.5 / 255 + 1e-6


def test_size_is_the_stage_to_stop_at(imagen: Imagen) -> None:
    out = imagen("fox", seed=0, size=32, output_type="pt")
    assert out[0].shape == (3, 32, 32) and list(out.stages) == ["base", "sr32"]
    assert torch.equal(out.images[0], imagen("fox", seed=0, output_type="pt").stages["sr32"][0])


# --- seeds ----------------------------------------------------------------------------------------


def test_seeds_are_given_counted_or_drawn() -> None:
    assert choose_seeds(5, 3, None) == [5, 6, 7]
    assert choose_seeds([9, 2], 2, None) == [9, 2]
    drawn = [choose_seeds(None, 2, torch.Generator().manual_seed(n)) for n in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][1] == drawn[0][0] + 1
    assert choose_seeds(None, 1, None) != choose_seeds(None, 1, None)  # 1 in 2^31


def test_a_generator_makes_a_call_repeatable(imagen: Imagen) -> None:
    outs = [
        imagen("fox", size=16, generator=torch.Generator().manual_seed(4), output_type="pt")
        for _ in range(2)
    ]
    assert outs[0].seeds == outs[1].seeds
    assert torch.equal(outs[0][0], outs[1][0])
    repeated = imagen("fox", size=16, seed=outs[0].seeds[0], output_type="pt")
    assert torch.equal(repeated[0], outs[0][0])


def test_latents_are_the_first_noise(imagen: Imagen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BATCH", 2)
    latents = PictureNoise([0, 1, 2], 0, torch.device("cpu")).draw(3, 16, 16)
    options: dict[str, Any] = {"num_images_per_prompt": 3, "size": 16, "output_type": "pt"}
    expected = imagen("fox", seed=0, **options)
    given = imagen("fox", seed=50, latents=latents, **options)
    for ours, theirs in zip(given.images, expected.images, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1 / 255 + 1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "near"), [("guidence_scale", "guidance_scale"), ("n", "seed, num_images_per_prompt")]
)
def test_an_option_that_there_is_not_is_refused(imagen: Imagen, name: str, near: str) -> None:
    for made in (imagen, imagen.upscale):
        with pytest.raises(TypeError, match=f"no option {name}: did you mean {near}"):
            made("fox" if made is imagen else Image.new("RGB", (16, 16)), **{name: 2})


def test_latents_are_not_for_what_is_made_from_a_picture(imagen: Imagen) -> None:
    picture = Image.new("RGB", (16, 16), "red")
    noise = PictureNoise([0], 0, torch.device("cpu")).draw(3, 16, 16)
    for made in (imagen.edit, imagen.vary, imagen.upscale):
        words = ("fox",) if made == imagen.edit else ()
        with pytest.raises(ValueError, match="latents are for pictures from nothing"):
            made(picture, *words, latents=noise)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "size", "taken"),
    [
        (None, None, {"base": 3, "sr32": 3, "sr64": 3}),
        (2, None, {"base": 2, "sr32": 2, "sr64": 2}),
        ([2], None, {"base": 2, "sr32": 2, "sr64": 2}),
        ((4, 2, 1), None, {"base": 4, "sr32": 2, "sr64": 1}),
        ([4, 2, 1], 32, {"base": 4, "sr32": 2}),
        ([4, 2], 32, {"base": 4, "sr32": 2}),
    ],
)
def test_steps_are_one_for_all_stages_or_one_each(
    imagen: Imagen, steps: int | Sequence[int] | None, size: int | None, taken: dict[str, int]
) -> None:
    assert steps_taken(imagen, num_inference_steps=steps, size=size) == taken


def test_guidance_and_sampler_reach_their_stages(imagen: Imagen) -> None:
    assert steps_taken(imagen, sampler="heun", size=16) == {"base": 5}
    plain = imagen("fox", seed=0, output_type="pt")
    for guidance, changed in ([5.0, 2.0], ["base", "sr32"]), ([2.0, 5.0], ["sr32"]):
        out = imagen("fox", seed=0, size=32, guidance_scale=guidance, output_type="pt")
        for name in out.stages:
            same = torch.equal(out.stages[name][0], plain.stages[name][0])
            assert same == (name not in changed)


def test_a_blank_negative_prompt_is_none(imagen: Imagen) -> None:
    def draw(negative: str | None) -> torch.Tensor:
        picture = imagen("fox", seed=0, size=16, negative_prompt=negative, output_type="pt")[0]
        assert isinstance(picture, torch.Tensor)
        return picture

    assert torch.equal(draw(""), draw(None)) and torch.equal(draw("  "), draw(None))
    assert not torch.allclose(draw("grey"), draw(None), atol=1e-3)


def test_callbacks_are_called_as_diffusers_calls_them(imagen: Imagen) -> None:
    steps: list[tuple[int, float, dict[str, Any]]] = []
    reports: list[Progress] = []

    def on_step_end(pipe: Imagen, step: int, log_snr: float, tensors: dict[str, Any]) -> None:
        assert pipe is imagen
        steps.append((step, log_snr, tensors))

    imagen("fox", seed=0, size=32, callback_on_step_end=on_step_end, on_step=reports.append)
    assert [step for step, _, _ in steps] == [0, 1, 2, 0, 1, 2]
    for (step, log_snr, tensors), report in zip(steps, reports, strict=True):
        assert (step, log_snr) == (report.call - 1, report.log_snr)
        assert tensors["stage"] == report.stage
        assert tensors["z"] is report.z and tensors["x0"] is report.x0


# --- requests that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": ["fox", " \t"]}, "the prompt is empty"),
        ({"prompt": []}, "the prompt is empty"),
        ({"size": 48}, "size 48 is no stage"),
        ({"num_inference_steps": [1, 2, 3, 4]}, "steps: 4 values for 3 stages"),
        ({"num_inference_steps": [1, 2]}, "steps: 2 values for 3 stages"),
        ({"num_inference_steps": []}, "steps: 0 values for 3 stages"),
        ({"guidance_scale": [1.0, 2.0], "size": 16}, "guidance: 2 values for 1 stages"),
        ({"num_inference_steps": 0}, "steps 0"),
        ({"sampler": "euler"}, "sampler euler"),
        ({"num_images_per_prompt": 0}, "at least one picture"),
        ({"seed": -1}, "a seed must be"),
        ({"seed": 2**63 - 1, "num_images_per_prompt": 2}, "a seed must be"),
        ({"seed": [1, 2, 3], "num_images_per_prompt": 2}, "3 seeds for 2 pictures"),
        ({"latents": torch.zeros(2, 3, 16, 16)}, "latents are 2 x 3 x 16 x 16, must be 1 x 3"),
        ({"latents": torch.zeros(1, 3, 64, 64)}, "must be 1 x 3 x 16 x 16"),
    ],
)
def test_a_wrong_request_gets_one_line_and_no_picture(
    imagen: Imagen, request_: dict[str, Any], message: str
) -> None:
    def on_step(progress: Progress) -> None:
        raise AssertionError("work was begun")

    with pytest.raises(ValueError, match=message) as refusal:
        imagen(**{"prompt": "fox", "seed": 0, "on_step": on_step, **request_})
    assert "\n" not in str(refusal.value)


def test_transparency_is_for_pil_pictures_alone(imagen: Imagen) -> None:
    with pytest.raises(ValueError, match="transparent pictures are PIL's: leave output_type=np"):
        imagen("fox", transparent=True, output_type="np")


def test_an_unknown_output_type_is_refused() -> None:
    with pytest.raises(ValueError, match="output_type jpeg is unknown: pil, np or pt"):
        check_output("jpeg")  # type checks of the test run would catch it in a call


# --- finding a model ------------------------------------------------------------------------------


def test_a_folder_is_loaded_and_draws(tiny_folder: Path, imagen: Imagen) -> None:
    loaded = Imagen.from_pretrained(tiny_folder, device="cpu")
    ours, theirs = (i("fox", seed=1, output_type="pt")[0] for i in (loaded, imagen))
    torch.testing.assert_close(ours, theirs, atol=1 / 255 + 1e-6, rtol=0)
    rough = Imagen.from_pretrained(str(tiny_folder), device="cpu", torch_dtype=torch.bfloat16)
    assert rough.cascade.dtype == torch.bfloat16


def test_embedded_models_go_by_name_whatever_lies_around(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "EMBEDDED", tiny_folder.parent)
    (tiny_folder.parent / "no-model").mkdir()
    assert embedded_models() == ["tiny"]
    monkeypatch.chdir(tiny_folder)
    (tiny_folder / "tiny").mkdir()
    assert find_model("tiny") == tiny_folder


@pytest.mark.parametrize("name", ["nosuch", "./no/such", "/no/such", "a/b/c"])
def test_an_unknown_model_is_refused_and_the_known_are_named(
    name: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "EMBEDDED", tiny_folder.parent)
    with pytest.raises(ValueError, match=f"no model {name}: embedded models are tiny"):
        find_model(name)


def test_a_hub_id_without_a_hub_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="somebody/nothing is no folder here") as refusal:
        find_model("somebody/nothing")
    assert "\n" not in str(refusal.value)


def test_an_unknown_device_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="device abacus cannot be used"):
        Imagen.from_pretrained(tiny_folder, device="abacus")


# --- the door -------------------------------------------------------------------------------------


def test_a_refused_prompt_is_not_drawn_and_the_others_are(imagen: Imagen) -> None:
    drawn: list[Progress] = []
    out = imagen(["a fox", "a nude woman"], seed=0, size=16, on_step=drawn.append)
    assert out.images[1] is None and out.flagged[0] is None and out.flagged[1]
    assert out.images[0].tobytes() == imagen("a fox", seed=0, size=16)[0].tobytes()
    assert all(len(progress.x0) == 1 for progress in drawn)
    with pytest.raises(ValueError, match="there is no picture 1: "):
        out.save("nothing.png", 1)


@pytest.mark.parametrize(
    ("guidance", "negative", "refused"),
    [
        (0.0, "a nude woman", True),
        (0.99, "a nude woman", True),
        ([4.0, 4.0, 0.5], "a nude woman", True),  # one stage is enough
        (0.5, "sexy, lying on a bed", True),  # together with the prompt
        (1.0, "a nude woman", False),
        (4.0, "a nude woman", False),
        (None, "a nude woman", False),
        (0.0, "a red apple", False),
        (0.0, None, False),
        (0.0, " ", False),
    ],
)
def test_a_negative_prompt_that_would_be_drawn_is_asked_about(
    imagen: Imagen, guidance: float | list[float] | None, negative: str | None, refused: bool
) -> None:
    out = imagen("a child", seed=0, guidance_scale=guidance, negative_prompt=negative)
    assert (out[0] is None) == refused
    if refused:
        said = str(out.flagged[0])
        assert said.startswith("A guidance below 1 draws the negative prompt, too: give 1 or more.")
        assert "\n" not in said and "nude" not in said


def test_a_model_that_guides_below_1_itself_is_asked_about_too(imagen: Imagen) -> None:
    first, *rest = imagen.cascade.stages
    sampling = first.config.sampling.model_copy(update={"guidance": 0.5})
    weak = Stage(first.config.model_copy(update={"sampling": sampling}), first.net)
    out = Imagen(replace(imagen.cascade, stages=[weak, *rest]))(
        "a fox", seed=0, negative_prompt="a nude woman"
    )
    assert out.flagged[0] and out[0] is None


def test_a_flagged_picture_is_withheld_in_every_size(
    imagen: Imagen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagen.door, "flag", lambda image: "not fit to be seen")
    out = imagen("a fox", seed=0)
    assert out.flagged == ["not fit to be seen"]
    assert all(images == [None] for images in out.stages.values())


def test_a_part_that_is_off_is_logged(tiny: Cascade, caplog: pytest.LogCaptureFixture) -> None:
    Imagen(tiny, Safety(watermark=False, picture_filter=False))
    assert [record.getMessage() for record in caplog.records] == [
        "picture filter is off for pictures of tiny",
        "watermark is off for pictures of tiny",
    ]


def test_what_leaves_carries_the_mark(imagen: Imagen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny cascade's pictures are too small for one: here they come out larger."""
    plain = Image.radial_gradient("L").convert("RGB")  # 256 pixels
    monkeypatch.setattr("openimagen.drawing.to_pil", lambda image: plain)
    marked = imagen("a fox", seed=5)[0]
    assert watermark.read(marked) == watermark.Mark(
        watermark.model_number("tiny"), watermark.seed_number(5)
    )


# --- from pictures --------------------------------------------------------------------------------


def test_a_variation_is_an_edit_without_a_word(imagen: Imagen) -> None:
    picture = Image.effect_noise((64, 64), 90).convert("RGB")
    ours = imagen.vary(picture, seed=3, strength=0.6)[0]
    assert ours.tobytes() == imagen.edit(picture, "", seed=3, strength=0.6)[0].tobytes()
    assert ours.tobytes() != imagen.edit(picture, "fox", seed=3, strength=0.6)[0].tobytes()


def test_raising_a_picture_is_the_upper_stages(imagen: Imagen) -> None:
    drawn = imagen("fox", seed=3)
    raised = imagen.upscale(drawn.stages["base"][0], "fox", seed=3)
    assert [*raised.stages] == ["sr32", "sr64"]
    levels = np.abs(np.asarray(raised[0], int) - np.asarray(drawn[0], int))
    assert levels.mean() < 3  # the base's picture was rounded to 256 levels in between
    with pytest.raises(ValueError, match="has a side of 64 already"):
        imagen.upscale(drawn[0])


def test_a_guidance_that_tears_pictures_apart_is_told(tiny: Cascade) -> None:
    def model(threshold: str, usual: float) -> Imagen:
        base, *rest = tiny.stages
        sampling = base.config.sampling.model_copy(
            update={"threshold": threshold, "guidance": usual}
        )
        config = base.config.model_copy(update={"sampling": sampling})
        return Imagen(replace(tiny, stages=[replace(base, config=config), *rest]))

    with pytest.warns(UserWarning, match="guidance 4.5 is far over the 2 of base"):
        model("static", 2.0)("fox", seed=0, size=16, guidance_scale=4.5)
    model("static", 2.0)("fox", seed=0, size=16, guidance_scale=4.0)
    model("static", 1.0)("fox", seed=0, size=16, guidance_scale=4.5)
    model("dynamic", 2.0)("fox", seed=0, size=16, guidance_scale=4.5)

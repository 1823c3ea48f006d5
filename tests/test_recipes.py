"""Recipes are values: they load by name, and every one of their numbers can be set by its path."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from openimagen import recipes
from openimagen.config import LinearSchedule, LoRA, Prior, Recipe
from openimagen.text import TextEmbedding
from openimagen.unet import UNet

SMALL = Path(recipes.__file__).parent / "tiny.py"


@pytest.fixture
def tiny() -> Recipe:
    return recipes.load("tiny")


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_loads_and_says_how_to_run_it(name: str) -> None:
    assert isinstance(recipes.load(name), Recipe)
    said = (recipes.FOLDER / f"{name}.py").read_text()
    assert f"openimagen train {name} " in said
    headings = re.findall(r"^(\w+): +\S", said, re.MULTILINE)
    assert headings[:5] == ["Command", "Hardware", "Time", "Cost", "Score"]


def test_a_file_is_a_recipe(tmp_path: Path, tiny: Recipe) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(SMALL.read_text().replace('name="tiny"', 'name="mine"'))
    assert recipes.load(str(mine)).model.name == "mine"
    for broken, reason in (("def recipe(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError")):
        (tmp_path / "broken.py").write_text(broken)
        with pytest.raises(ValueError, match=f"broken.py does not run: {reason}"):
            recipes.load(str(tmp_path / "broken.py"))
    (tmp_path / "quits.py").write_text("raise SystemExit(0)")
    with pytest.raises(ValueError, match="does not run: SystemExit: 0"):
        recipes.load(str(tmp_path / "quits.py"))
    (tmp_path / "none.py").write_text("recipe = 3")
    with pytest.raises(ValueError, match=r"def recipe\(\) -> Recipe"):
        recipes.load(str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch=16", "bach=16"), "bach: no key 'bach' here; did you mean batch?"),
        (('"crop": 64', '"crop": 66'), "train.sr256.crop is 66: it must be a multiple of 4"),
        (("steps=steps", "steps=0"), "steps: Input should be greater than 0"),
    ],
)
def test_a_wrong_value_in_a_file_is_one_line_that_names_it(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    (tmp_path / "mine.py").write_text(SMALL.read_text().replace(*change))
    with pytest.raises(ValueError) as caught:
        recipes.load(str(tmp_path / "mine.py"))
    assert str(caught.value).startswith(f"{tmp_path}/mine.py: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tyni", "", "__init__", "gone.py", "."])
def test_an_unknown_recipe_is_answered_with_the_known(name: str) -> None:
    with pytest.raises(ValueError, match="choose one of dreambooth, emoji, own_folder"):
        recipes.load(name)


@pytest.mark.parametrize(
    ("stage", "schedule", "guidance", "optimizer", "crop"),
    [
        ("base64", "cosine", 1.35, "adafactor", None),
        ("sr256", "cosine", 8.0, "adamw", None),
        ("sr1024", "linear", 8.0, "adamw", 256),
    ],
)
def test_the_paper_s_recipes_say_what_the_paper_says(
    stage: str, schedule: str, guidance: float, optimizer: str, crop: int | None
) -> None:
    """Imagen (Saharia et al., 2022), sections 2, 3 and 4 and appendix F."""
    recipe = recipes.load(f"paper_{stage}")
    config = recipe.model.stages[-1]
    train = recipe.train[config.name]
    assert recipe.model.text.encoder == "google/t5-v1_1-xxl"
    assert config.side == int(re.sub("[a-z]", "", stage))
    assert config.diffusion.schedule.kind == schedule
    assert config.diffusion.prediction == "eps"
    assert (config.sampling.guidance, config.sampling.sampler) == (guidance, "ddpm")
    assert (config.sampling.threshold, config.sampling.percentile) == ("dynamic", 99.5)
    assert (train.optimizer, train.learning_rate, train.crop) == (optimizer, 1e-4, crop)
    assert (train.batch, train.images / train.batch) == (2048, 2_500_000)
    assert (train.warmup_images / train.batch, train.text_drop) == (10_000, 0.1)
    assert optimizer == "adafactor" or train.betas == (0.9, 0.999)
    if isinstance(linear := config.diffusion.schedule, LinearSchedule):
        assert (linear.beta_min, linear.beta_max) == (0.1, 20.0)  # 1e-4 to 0.02 over 1,000 steps


H100 = 0.4 * 989e12  # operations a second in bfloat16, at the share of the peak that is hoped for


@pytest.mark.parametrize("stage", ["base64", "sr256", "sr1024"])
def test_what_a_paper_s_stage_costs_is_counted(stage: str) -> None:
    """To two digits: parameters, operations forward and in all, hours and dollars."""
    said = (recipes.FOLDER / f"paper_{stage}.py").read_text().partition("\nfrom ")[0]
    recipe = recipes.load(f"paper_{stage}")
    config = recipe.model.stages[-1]
    train = recipe.train[config.name]
    with torch.device("meta"):
        net = UNet(config.unet)
        forward = operations(net, train.crop or config.side, recipe.model.text.max_tokens)
    in_all = 3 * forward * train.images  # going back is twice the work of going forward
    hours = in_all / H100 / 3600
    millions = sum(weight.numel() for weight in net.parameters()) / 1e6
    counted = {
        r"([\d.]+)[BM] parameters": millions / 1000 if stage == "base64" else millions,
        r"([\d.]+) TFLOP a": forward / 1e12,
        r"forward, ([\d.e]+) in all": in_all,
        r"([\d,]+) H100-hours": hours,
        r"\$([\d,]+) at": 2.5 * hours,
    }
    for pattern, number in counted.items():
        found = re.search(pattern, said)
        assert found and float(found[1].replace(",", "")) == pytest.approx(number, rel=0.03)


def operations(net: UNet, side: int, tokens: int) -> int:
    """Floating-point operations of one picture going forward; a product and its sum are two."""
    mask = torch.ones(1, tokens, dtype=torch.bool)
    text = TextEmbedding(torch.empty(1, tokens, net.config.text_width), mask)
    below = torch.empty(1, 3, side // 4, side // 4) if net.config.lowres else None
    level = torch.empty(1)
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, side, side), level, text, below, below if below is None else level)
    return counter.get_total_flops()


# --- settings -------------------------------------------------------------------------------------


def test_each_setting_can_be_set_to_what_it_is(tiny: Recipe) -> None:
    settings = recipes.settings(tiny)
    assert len(settings) > 100
    again = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    assert recipes.override(tiny, again) == tiny


def test_settings_reach_their_place(tiny: Recipe) -> None:
    changed = recipes.override(
        tiny,
        [
            "model.stages.sr256.unet.width=40",
            "model.stages.base.unet.blocks.1=3",
            'model.stages.base.unet.attention=["none", "cross"]',
            "train.base.precision=bfloat16",
            "train.base.clip=null",
            "model.name=7up",
        ],
    )
    assert changed.model.stages[1].unet.width == 40
    assert changed.model.stages[0].unet.blocks == (1, 3)
    assert changed.model.stages[0].unet.attention == ("none", "cross")
    assert (changed.train["base"].precision, changed.train["base"].clip) == ("bfloat16", None)
    before, after = recipes.settings(tiny), recipes.settings(changed)
    assert len([key for key in before if before[key] != after[key]]) == 6
    assert changed.model.name == "7up"


def test_what_is_left_out_can_be_set_key_by_key(tiny: Recipe) -> None:
    settings = ["train.base.lora.rank=4", 'train.sr256.prior.prompts=["a toy"]']
    changed = recipes.override(tiny, [*settings, "train.sr256.prior.pictures=3"])
    assert changed.train["base"].lora == LoRA(rank=4)
    assert changed.train["sr256"].prior == Prior(prompts=("a toy",), pictures=3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.base.bach=3", "no key 'bach' here; did you mean batch?"),
        ("train.bose.batch=3", "no key 'bose' here; did you mean base?"),
        ("trian.base.batch=3", "did you mean train?"),
        ("model.stages.sr.side=3", "did you mean base or sr1024 or sr256?"),
        ("train.base.batch.x=3", "it is a single value"),
        ("zzz=3", "did you mean model or train?"),
        ("train.base.batch", "write key.path=value"),
        ("train.base.batch=0", "train.base.batch: Input should be greater than 0"),
        ("train.base.batch=many", "train.base.batch: Input should be a valid integer"),
        ("train.base.optimizer=adam", "'adamw', 'adafactor' or 'muon'"),
        ("model.stages.base.side=2048", "--set model: stages must grow"),
        ("model.stages.base.unet.width=33", "--set model.stages.base.unet: width must be even"),
        ("train.base.lora.rnk=4", "train.base.lora.rnk: no key 'rnk' here; did you mean rank?"),
        ('train.base.lora={"rnk": 4}', "lora.rnk: no key 'rnk' here; did you mean rank?"),
        ("train.base.lora.rank.x=4", "train.base.lora.rank: Input should be"),
        ("train.base.prior.pictures=4", "train.base.prior.prompts: Field required"),
        ('model.stages.base={"nam": 1}', "model.stages.0.name: Field required"),
        ('model.stages.base.unet={"with": 32}', "unet.arrangement: Field required"),
        ('train.base={"images": 9, "wramup": 1}', "train.base.wramup: no key"),
        (
            'model.stages.base.diffusion.schedule={"kind": "cosine", "shif": 1}',
            "schedule.cosine.shif: no key 'shif' here; did you mean shift?",
        ),
        (
            'model.stages.base.diffusion.schedule={"kind": "cosine", "mean": 1}',
            "no key 'mean' here; did you mean kind or log_snr_max or log_snr_min or shift?",
        ),
        ("train.base.preview_prompts.0=a", "no key '0' here; it is empty"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_fix(
    tiny: Recipe, setting: str, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        recipes.override(tiny, [setting])
    assert message in str(caught.value) and str(caught.value).startswith("--set")
    assert "\n" not in str(caught.value)

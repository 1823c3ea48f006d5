"""CLIP and DINOv2 are what transformers says; tiny ones, random in every weight."""

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from PIL import Image
from things import THINGS, thing
from torch import Tensor, nn

from openimagen.data.images import to_float, to_tensor
from openimagen.evaluate.distances import name_of
from openimagen.evaluate.networks import load_features
from openimagen.evaluate.transformer_features import clip_name, dinov2_name, load_clip, load_dinov2

CPU = torch.device("cpu")


def randomize(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, text half included, as published."""
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 8, "bos_token_id": 0,
            "eos_token_id": 1}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 4, "image_size": 42, "patch_size": 14,
              "projection_dim": 24}  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    randomize(CLIPModel(config)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dino")
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                          image_size=70, patch_size=14)  # fmt: skip
    randomize(Dinov2Model(config)).save_pretrained(folder)
    return folder


def pictures(side: int) -> list[Image.Image]:
    return [thing(name).resize((side, side)) for name in THINGS[:3]]


def normalized(images: list[Image.Image], mean: list[float], std: list[float]) -> Tensor:
    pixels = torch.stack([to_tensor(each) for each in images]) / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


# --- as transformers says -------------------------------------------------------------------------


def test_clip_is_transformers_projected_embedding(clip: Path) -> None:
    from transformers import CLIPModel

    look, images = load_clip(str(clip)), pictures(42)
    inputs = normalized(images, [0.48145466, 0.4578275, 0.40821073],
                        [0.26862954, 0.26130258, 0.27577711])  # fmt: skip
    whole = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        expected = whole.visual_projection(whole.vision_model(pixel_values=inputs).pooler_output)
    rows = look(images)
    assert rows.shape == (3, 24) == (3, look.width)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)
    assert (rows[0] - rows[1]).abs().max() > 0.02


def test_dinov2_is_transformers_class_token_at_224(dino: Path) -> None:
    from transformers import Dinov2Model

    look, images = load_dinov2(str(dino)), pictures(224)
    inputs = normalized(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        states = Dinov2Model.from_pretrained(dino).eval()(pixel_values=inputs).last_hidden_state
    rows = look(images)
    assert rows.shape == (3, 32) == (3, look.width)
    torch.testing.assert_close(rows, states[:, 0], rtol=1e-4, atol=1e-4)
    assert (rows[0] - rows[1]).abs().max() > 0.1


def test_pictures_are_prepared_as_by_clips_own_processor(clip: Path) -> None:
    """But for Pillow's rounding, on square pictures."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    image = thing(THINGS[1])
    processor = CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size=42)
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    ours = load_clip(str(clip)).prepared(to_tensor(image))
    assert (ours - expected).abs().max() <= 2 / 255 / 0.26


@pytest.mark.parametrize("load", [load_clip, load_dinov2])
def test_a_row_depends_on_its_picture_alone(
    load: Callable[[str], Callable[..., Tensor]], clip: Path, dino: Path
) -> None:
    look = load(str(clip if load is load_clip else dino))
    images = [thing(name).resize((40 + 9 * n, 50)) for n, name in enumerate(THINGS)]
    rows = look(iter(images))
    assert rows.dtype == torch.float32 and len(rows) == len(images)
    torch.testing.assert_close(look(images[4:6]), rows[4:6], rtol=1e-4, atol=1e-4)
    pixels = torch.stack([to_tensor(each.resize((50, 50))) for each in images[:2]])
    torch.testing.assert_close(look(to_float(pixels)), look(pixels), rtol=1e-3, atol=1e-3)
    assert look([]).shape == (0, rows.shape[1])


# --- names ----------------------------------------------------------------------------------------


def test_features_say_what_they_are(clip: Path, dino: Path) -> None:
    assert load_features("clip", str(clip), CPU).name == "CLIP-32/14-42"
    assert load_features("dinov2", str(dino), CPU).name == "DINOv2-32/14"


def test_the_bare_name_is_the_published_network_s() -> None:
    from transformers import CLIPVisionConfig, Dinov2Config

    large = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14,
             "num_attention_heads": 16}  # fmt: skip
    assert clip_name(CLIPVisionConfig(**large, image_size=336)) == "CLIP"
    assert name_of("cmmd", "CLIP") == "CMMD"
    assert clip_name(CLIPVisionConfig(**large, image_size=224)) == "CLIP-L/14-224"
    assert clip_name(CLIPVisionConfig(**large, image_size=336, hidden_act="gelu")) != "CLIP"
    assert clip_name(CLIPVisionConfig(patch_size=32)) == "CLIP-B/32-224"
    assert dinov2_name(Dinov2Config(**large)) == "DINOv2"
    assert dinov2_name(Dinov2Config(patch_size=14)) == "DINOv2-B/14"


# --- what is refused ------------------------------------------------------------------------------


def no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_what_is_not_there_is_one_line(
    clip: Path, dino: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    for name, weights, complaint in (
        ("clip", None, "clip-vit-large-patch14-336 is no folder, and the hub cannot be reached"),
        ("dinov2", "nobody/nothing", "`hf download nobody/nothing`, or give its folder"),
        ("clip", str(tmp_path), "lacks config.json or model.safetensors: finish its download"),
        ("dinov2", str(clip), "is a model of type clip: give one of dinov2"),
        ("clip", str(dino), "is a model of type dinov2: give one of clip or clip_vision_model"),
        ("inception", None, "give the published pt_inception-2015-12-05-6726825d.pth"),
        ("efflite2", "weights", "leave --weights out"),
        ("vgg", None, "choose from efflite2, inception, clip, dinov2"),
    ):
        with pytest.raises(ValueError, match=complaint) as caught:
            load_features(name, weights, CPU)
        assert "\n" not in str(caught.value)


def test_a_missing_weight_is_named(dino: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text((dino / "config.json").read_text())
    tensors = load_file(dino / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"has no weight layernorm\.weight"):
        load_dinov2(str(tmp_path))


def test_a_hub_id_is_looked_for_on_this_machine_first(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def local(name: str, **options: object) -> str:
        assert (name, options) == ("someone/clip", {"local_files_only": True})
        return str(clip)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)
    assert load_clip("someone/clip").width == 24

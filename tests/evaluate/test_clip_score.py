"""CLIP score is torchmetrics'; by a tiny CLIP, random in every weight.

What is worse cannot be told by random weights, so the ladder of degradations is not for it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from text.tiny_models import WORDS, randomize, save_tokenizer
from things import THINGS, thing
from torch import Tensor

from openimagen.data.images import to_tensor
from openimagen.evaluate.clip_score import Clip, ClipScore, load_whole_clip
from openimagen.evaluate.prompts import Prompt

SIDE = 42
TEXTS = ["a red cat .", "an old fox runs over two small boats", "the mat", "a fox on a boats"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 12, "bos_token_id": 2,
            "eos_token_id": 0}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 4, "image_size": SIDE, "patch_size": 14}  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    model = randomize(CLIPModel(config))
    for name, weight in model.named_parameters():  # biases all rows share would drown the rest
        if "embedding" in name:
            weight.data *= 8
        elif "bias" in name or "class" in name:
            weight.data *= 0.1
    model.save_pretrained(folder)
    save_tokenizer(folder, "<start>", "<end>", "<end>")
    return folder


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return load_whole_clip(str(folder))


def pictures(side: int = SIDE) -> list[Image.Image]:
    return [thing(name).resize((side, side)) for name in THINGS[: len(TEXTS)]]


def prompts(texts: list[str] = TEXTS) -> list[Prompt]:
    return [Prompt(text) for text in texts]


def oracle(folder: Path) -> Callable[[Image.Image, str], float]:
    """Torchmetrics' score of one picture; it has the processor that transformers makes."""
    from torchmetrics.multimodal.clip_score import CLIPScore
    from transformers import AutoTokenizer, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE)
    words = AutoTokenizer.from_pretrained(folder)

    def processor(images_: list[Tensor] | None = None, **given: object) -> object:
        if (shown := given.pop("images", images_)) is not None:
            return images(shown, return_tensors="pt")
        return words(given["text"], padding=True, return_tensors="pt")

    class Features(CLIPModel):
        """As torchmetrics expects it of older transformers: plain tensors."""

        def get_image_features(self, *given: Tensor) -> Tensor:
            return super().get_image_features(*given).pooler_output

        def get_text_features(self, *given: Tensor) -> Tensor:
            return super().get_text_features(*given).pooler_output

    model = Features.from_pretrained(folder).eval()

    def score(picture: Image.Image, text: str) -> float:
        metric = CLIPScore(lambda: (model, processor))
        with torch.no_grad():
            metric.update([to_tensor(picture)], [text])
            return float(metric.compute())

    return score


def test_it_is_torchmetrics_score(folder: Path, clip: Clip) -> None:
    score = oracle(folder)
    found = []
    for picture in pictures():
        for text in TEXTS:
            expected = score(picture, text)
            (ours, plain) = ClipScore(clip)([picture], prompts([text]))
            assert ours.value == pytest.approx(expected, abs=1e-4)
            assert ours.value == pytest.approx(100 * max(plain.value, 0), abs=1e-9)
            found.append(expected)
    assert min(found) == 0 and max(found) > 5  # both sides of the clamp are tried


def test_the_mean_over_pictures_with_its_interval(clip: Clip) -> None:
    each = [ClipScore(clip)([p], [q])[0].value for p, q in zip(pictures(), prompts(), strict=True)]
    score, plain = ClipScore(clip)(pictures(), prompts())
    assert score.value == pytest.approx(sum(each) / len(each), abs=1e-4)
    assert min(each) <= score.low < score.value < score.high <= max(each)
    assert (score.name, score.prompts) == ("CLIP score (CLIP-32/14-42)", 4)
    assert plain.name == "cosine (CLIP-32/14-42)" and abs(plain.value) <= 1


def test_chance_is_what_others_captions_give(clip: Clip) -> None:
    others = [
        ClipScore(clip)(pictures(), prompts(TEXTS[turn:] + TEXTS[:turn]))[0].value
        for turn in (1, 2, 3)
    ]
    found = ClipScore(clip)(pictures(), prompts())[0]
    assert found.chance == pytest.approx(sum(others) / 3, abs=1e-4)
    assert ClipScore(clip)(pictures()[:1], prompts()[:1])[0].chance is None
    assert ClipScore(clip)(pictures(), prompts(TEXTS[:1] * 4))[0].chance is None


def test_the_ceiling_is_real_pictures_score(clip: Clip, tmp_path: Path) -> None:
    real = {}
    for number, text in enumerate(TEXTS[:2]):
        thing(THINGS[5 + number]).resize((SIDE, SIDE)).save(tmp_path / f"{number}.png")
        real[text] = [tmp_path / f"{number}.png"]
    drawn = [thing(THINGS[5 + number]).resize((SIDE, SIDE)) for number in range(2)]
    expected = [score.value for score in ClipScore(clip)(drawn, prompts(TEXTS[:2]))]
    found = [score.ceiling for score in ClipScore(clip, real)(pictures(), prompts())]
    assert found == pytest.approx(expected, abs=1e-5)
    assert ClipScore(clip)(pictures(), prompts())[0].ceiling is None


def test_captions_that_are_too_long_are_cut_and_counted(clip: Clip) -> None:
    long = "a red cat on the mat . " * 4
    with pytest.warns(UserWarning, match="2 of 3 texts are over the 12 tokens that CLIP-32/14-42"):
        rows = clip.texts([long, "the mat", f"{long} a fox"])
    torch.testing.assert_close(rows[0], rows[2])  # cut to the same
    torch.testing.assert_close(rows[1], clip.texts(["the mat"])[0])


def test_a_text_s_row_depends_on_it_alone(clip: Clip) -> None:
    torch.testing.assert_close(clip.texts(TEXTS)[2:3], clip.texts(TEXTS[2:3]))
    assert len(set(WORDS) & set(" ".join(TEXTS).split())) > 8  # the tokenizer knows their words
    norms = clip.texts(TEXTS).norm(dim=1), clip.pictures(pictures()).norm(dim=1)
    torch.testing.assert_close(torch.cat(norms), torch.ones(8))


def test_every_picture_is_brought_to_the_side(clip: Clip) -> None:
    small = [picture.reduce(2) for picture in pictures(2 * SIDE)]
    sided = ClipScore(clip, side=SIDE)(pictures(2 * SIDE), prompts())
    assert sided[0].value == pytest.approx(ClipScore(clip)(small, prompts())[0].value, abs=1e-4)


def test_what_cannot_be_measured(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="is a model of type clip_vision_model: give one of clip"):
        load_whole_clip(str(tmp_path))
    with pytest.raises(ValueError, match="2 pictures and 4 prompts: give one for each"):
        ClipScore(clip)(pictures()[:2], prompts())
    with pytest.raises(ValueError, match="no prompt"):
        ClipScore(clip).check([])

"""The same picture, the same features; altered weights are refused before they are read."""

import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from openimagen.data.images import to_float, to_tensor
from openimagen.evaluate import features
from openimagen.evaluate.features import EffLite2, find_lite2, load_lite2, resized


@pytest.fixture(scope="module")
def look() -> EffLite2:
    return EffLite2()


def picture(number: int, side: int = 96) -> Image.Image:
    """Something with edges, of its own for each number."""
    image = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(image)
    for n in range(4):
        x, y = (31 * number + 17 * n) % 60 * side / 96, (13 * number + 29 * n) % 60 * side / 96
        colour = tuple((71 * number + 53 * n + 80 * c) % 256 for c in range(3))
        pen.ellipse((x, y, x + side / 3, y + side / 3), colour)
    return image


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.cosine_similarity(a.double(), b.double(), dim=0).item()


def test_rows_are_what_the_networks_own_classifier_reads(look: EffLite2) -> None:
    rows = look([picture(0)])
    assert rows.shape == (1, 1280) and rows.dtype == torch.float32
    assert 0.3 < (rows > 0).float().mean() < 1
    scaled = (resized(to_tensor(picture(0)), 260) - 127) / 128
    logits = look.net(scaled[None])
    torch.testing.assert_close(look.net.get_submodule("_fc")(rows), logits, rtol=1e-3, atol=1e-3)


def test_a_row_depends_on_its_picture_alone(
    look: EffLite2, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [picture(n, side=64 + 32 * n) for n in range(3)]
    together = look(pictures)
    assert torch.equal(look(pictures), together)
    assert cosine(together[0], together[1]) < 0.99
    monkeypatch.setattr(features, "BATCH", 2)
    torch.testing.assert_close(look(pictures), together, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(look(pictures[1:2]), together[1:2], rtol=1e-4, atol=1e-4)


def test_tensors_and_pictures_are_the_same_to_it(look: EffLite2) -> None:
    pictures = [picture(1), picture(2)]
    pixels = torch.stack([to_tensor(each) for each in pictures])
    expected = look(pictures)
    torch.testing.assert_close(look(pixels), expected)
    torch.testing.assert_close(look(to_float(pixels)), expected, rtol=1e-3, atol=1e-3)


def test_pictures_are_taken_as_they_are_needed(look: EffLite2) -> None:
    taken = 0

    def stream() -> Iterator[Image.Image]:
        nonlocal taken
        for number in range(3 * features.BATCH):
            taken += 1
            yield picture(number)

    class Enough(Exception):
        pass

    def stop(batch: Tensor) -> None:
        raise Enough

    hook = look.net.get_submodule("_conv_stem").register_forward_pre_hook(lambda _, x: stop(x[0]))
    with pytest.raises(Enough):
        look(stream())
    hook.remove()
    assert taken == features.BATCH


def test_no_pictures_no_rows(look: EffLite2) -> None:
    assert look([]).shape == (0, 1280)


def test_transparency_must_be_settled_first(look: EffLite2) -> None:
    with pytest.raises(ValueError, match="RGBA, not RGB: read it with"):
        look([Image.new("RGBA", (8, 8))])


def test_the_network_gets_260_pixels_scaled_as_it_was_trained(look: EffLite2) -> None:
    """Lite networks: (x - 127) / 128 of 0..255, red first."""
    seen: list[Tensor] = []
    stem = look.net.get_submodule("_conv_stem")
    hook = stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    look([Image.new("RGB", (40, 30), (255, 0, 127))])
    hook.remove()
    assert seen[0].shape == (1, 3, 260, 260)
    for channel, expected in enumerate([1.0, -127 / 128, 0.0]):
        torch.testing.assert_close(
            seen[0][0, channel], torch.full((260, 260), expected), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("side", [64, 256, 1024])
def test_resizing_is_antialiased_bicubic(side: int) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    image = Image.fromarray(grey.astype(np.float32))  # Pillow rounds bytes between its two passes
    oracle = np.asarray(image.resize((260, 260), Image.Resampling.BICUBIC)).clip(0, 255)
    ours = resized(to_tensor(Image.fromarray(grey).convert("RGB")), 260)
    assert np.abs(ours.numpy() - oracle).max() < 0.01


def test_the_size_of_a_picture_hardly_matters(look: EffLite2) -> None:
    """A picture and its area average agree with each other, not with another picture."""
    large = [picture(n, side=1024) for n in (0, 1)]
    rows, small = look(large), look([image.reduce(4) for image in large])
    for n in (0, 1):
        assert cosine(rows[n], small[n]) > 0.97 > cosine(rows[n], small[1 - n])


# --- the weights ----------------------------------------------------------------------------------


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    blob = bytearray(find_lite2().read_bytes())
    blob[len(blob) // 2] ^= 1
    altered = tmp_path / "altered.pth"
    altered.write_bytes(blob)
    with pytest.raises(ValueError, match=r"altered\.pth is missing or was altered"):
        load_lite2(altered)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pth is missing"):
        load_lite2(tmp_path / "none.pth")


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_code_in_the_weights_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if its hash were the expected one."""
    mark, evil = tmp_path / "mark", tmp_path / "evil.pth"
    torch.save({"_fc.bias": Payload(mark)}, evil)
    monkeypatch.setattr(features, "LITE2_SHA256", hashlib.sha256(evil.read_bytes()).hexdigest())
    with pytest.raises(pickle.UnpicklingError):
        load_lite2(evil)
    assert not mark.exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'openimagen\[evaluate\]'"):
        EffLite2()

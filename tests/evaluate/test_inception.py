"""FID's network: its names and shapes are published; what it does differently is told by hand."""

import hashlib
import os
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from openimagen.data.images import to_float
from openimagen.evaluate import inception
from openimagen.evaluate.inception import (
    COUNTER,
    Inception,
    InceptionV3,
    MixedE,
    average,
    legacy_bilinear,
)
from openimagen.evaluate.networks import load_features


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_weights() -> dict[str, Tensor]:
    """Such that a signal keeps its size through all layers, and every number counts."""
    tensors = {}
    for number, (name, x) in enumerate(InceptionV3().state_dict().items()):
        if not name.endswith(COUNTER):
            random = noise(*x.shape, seed=number)
            is_scale = name.endswith(("bn.weight", "running_var"))
            small = 1 + 0.2 * random.clamp(-2, 2) if is_scale else 0.1 * random
            tensors[name] = small if x.ndim == 1 else random * (2 / x[0].numel()) ** 0.5
    return tensors


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_weights()


@pytest.fixture(scope="module")
def file(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(tensors, path)
    return path


# --- the network ----------------------------------------------------------------------------------


def test_names_and_shapes_are_the_published_ones(tensors: dict[str, Tensor]) -> None:
    """94 convolutions, each with four numbers a channel; and the classifier's 1008."""
    assert sum(x.numel() for x in tensors.values()) == 23_885_392
    convolutions = [name for name in tensors if name.endswith(".conv.weight")]
    assert len(convolutions) == 94 and len(tensors) == 94 * 5 + 2
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6e.branch7x7dbl_2.conv.weight": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3_2a.bn.running_var": (384,),
        "fc.weight": (1008, 2048),
    }
    assert {name: tuple(tensors[name].shape) for name in shapes} == shapes
    assert {m.eps for m in InceptionV3().modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_averages_leave_the_padding_out() -> None:
    assert torch.equal(average(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = torch.tensor([[2.0, 2.5, 3.0], [3.5, 4.0, 4.5], [5.0, 5.5, 6.0]])
    torch.testing.assert_close(average(x)[0, 0], expected)


@pytest.mark.parametrize("is_last", [False, True])
def test_the_last_block_alone_takes_the_maximum(is_last: bool) -> None:
    block = MixedE(4, is_last=is_last).eval()
    nn.init.zeros_(block.branch_pool.conv.weight)
    block.branch_pool.conv.weight.data[:, 0] = 1  # the pooled first channel, as it is
    x = noise(1, 4, 3, 3).abs()
    pooled = block(x)[0, -1] * (1 + 1e-3) ** 0.5
    expected = x[0, 0, :2, :2].max() if is_last else x[0, 0, :2, :2].mean()
    torch.testing.assert_close(pooled[0, 0], expected)


def test_sides_shrink_as_published() -> None:
    net, sides = InceptionV3().eval(), {}
    for name, block in net.named_children():
        block.register_forward_hook(
            lambda _, __, out, name=name: sides.update({name: tuple(out.shape[1:])})
        )
    with torch.inference_mode():
        assert net(noise(1, 3, 299, 299)).shape == (1, 2048)
    some = ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7a", "Mixed_7c"]
    expected = [(64, 147, 147), (192, 71, 71), (288, 35, 35), (768, 17, 17), (1280, 8, 8)]
    assert [sides[name] for name in some] == [*expected, (2048, 8, 8)]


# --- pictures -------------------------------------------------------------------------------------


def test_resizing_starts_at_the_top_left() -> None:
    """Of a ramp, pixel n is n * old / new, and nothing lies beyond the last."""
    ramp = torch.arange(100.0)[None, :, None].expand(3, 100, 60)
    expected = (torch.arange(299) * (100 / 299)).clamp(max=99)
    resized = legacy_bilinear(ramp, 299)
    assert resized.shape == (3, 299, 299)
    torch.testing.assert_close(resized, expected[None, :, None].expand(3, 299, 299))
    turned = legacy_bilinear(ramp.mT, 299)
    torch.testing.assert_close(turned, resized.mT)
    usual = interpolate(ramp[None], (299, 299), mode="bilinear")[0]
    assert (usual - resized)[:, 2:-3].max() < -0.3  # half a pixel off
    assert torch.equal(legacy_bilinear(ramp, 100)[:, :, 0], ramp[:, :, 0])


def test_features_are_the_networks_of_pixels_less_128(
    file: Path, tensors: dict[str, Tensor]
) -> None:
    look, pictures = Inception(file), (noise(3, 3, 299, 299) * 60 + 128).clamp(0, 255).byte()
    net = InceptionV3().eval()
    net.load_state_dict(tensors, strict=False)
    with torch.inference_mode():
        expected = net((pictures.float() - 128) / 128)
    rows = look(pictures)
    assert rows.shape == (3, look.width) and rows.std(0).mean() > 1e-3
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(look(to_float(pictures)), expected, rtol=1e-4, atol=1e-4)
    images = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pictures]
    torch.testing.assert_close(look(iter(images[1:])), rows[1:], rtol=1e-4, atol=1e-5)
    assert look([]).shape == (0, 2048)


# --- the weights ----------------------------------------------------------------------------------


def test_only_the_published_file_is_called_inception(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Inception(file).name
    assert re.fullmatch(r"Inception-[0-9a-f]{8}", name)
    with pytest.warns(UserWarning, match=r"random\.pth is not the published .*: no figure is FID"):
        load_features("inception", str(file), torch.device("cpu"))
    assert inception.FILE.endswith(f"-{inception.SHA256[:8]}.pth")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    assert Inception(file).name == "Inception"


def test_safetensors_and_counters_do_as_well(
    file: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    other = tmp_path / "random.safetensors"
    save_file(tensors | {"Mixed_5b.branch1x1.bn.num_batches_tracked": torch.tensor(3)}, other)
    ours, theirs = Inception(other).net.state_dict(), Inception(file).net.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in tensors)


def test_other_weights_are_refused_in_one_line(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    lacking = {name: x for name, x in tensors.items() if not name.startswith("fc")}
    for kept, complaint in (
        (lacking, "it lacks fc.weight and 1 more"),
        (tensors | {"AuxLogits.fc.bias": torch.zeros(8)}, "it has AuxLogits.fc.bias too: give"),
        (tensors | {"fc.bias": torch.zeros(1000)}, r"has fc.bias as \[1000\], not \[1008\]: give"),
        ([tensors["fc.bias"]], "is no state dict: give"),
        ({"epoch": 3}, "is no state dict: give"),
    ):
        torch.save(kept, file)
        with pytest.raises(ValueError, match=complaint) as caught:
            Inception(file)
        assert "\n" not in str(caught.value) and inception.FILE in str(caught.value)


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_what_is_no_tensor_is_never_run(tmp_path: Path) -> None:
    mark, evil = tmp_path / "mark", tmp_path / "evil.pth"
    torch.save({"fc.bias": Payload(mark)}, evil)
    with pytest.raises(ValueError, match="damaged, or holds more than tensors"):
        Inception(evil)
    assert not mark.exists()
    for name in ("none.pth", "damaged.pth", "damaged.safetensors"):
        if name.startswith("damaged"):
            (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=name):
            Inception(tmp_path / name)

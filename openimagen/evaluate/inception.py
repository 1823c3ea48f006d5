"""Inception-v3 as the Frechet Inception Distance has it (Heusel et al., 2017); weights from a file.

It is TensorFlow's network of 2015-12-05, which differs from the one of the paper (Szegedy et al.,
2015): averages leave the padding out, the last block takes a maximum instead, and there are 1008
classes. Blocks and their layers are named as in the published weights.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

from openimagen.evaluate.features import Pictures, batches, levels, pixels

FILE = "pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIDE = 299


class Inception:
    """The 2048 pooled features that FID and KID compare.

    `weights`: the published file, or the same tensors as .safetensors. What is not the published
    file, byte for byte, is named after its hash: "FID" is for the published weights alone.
    Raises ValueError if the file cannot be read, or its tensors are not those of the network.
    """

    width = 2048

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        blob = weights.read_bytes() if weights.is_file() else b""
        found = hashlib.sha256(blob).hexdigest()
        self.name = "Inception" if found == SHA256 else f"Inception-{found[:8]}"
        net = load_net(read_tensors(blob, weights), weights)
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "n 2048"]:
        """Features of pictures; iterables are read as they are needed."""
        prepared = (legacy_bilinear(levels(pixels(picture)), SIDE) for picture in pictures)
        rows = [self._look(batch) for batch in batches(prepared)]
        return torch.cat(rows) if rows else torch.empty(0, self.width)

    def _look(self, batch: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        scaled = (batch.to(self.device) - 128) / 128
        return self.net(scaled.contiguous(memory_format=torch.channels_last)).float().cpu()


# --- pictures -> what the network was trained on --------------------------------------------------


def legacy_bilinear(picture: Float[Tensor, "3 h w"], side: int) -> Float[Tensor, "3 side side"]:
    """Bilinear as TensorFlow had it: pixel n is taken at n * old / new, from the top left.

    Nothing is antialiased: bring larger pictures to 256 or so first.
    """
    rows, columns = (_weights(old, side).to(picture) for old in picture.shape[1:])
    return rows @ picture @ columns.T


def _weights(old: int, new: int) -> Float[Tensor, "new old"]:
    """The share of each old pixel in each new one."""
    place = torch.arange(new, dtype=torch.float64) * (old / new)
    low = place.floor().long()
    high = (low + 1).clamp(max=old - 1)
    share = (place - low)[:, None]
    one_hot = torch.eye(old, dtype=torch.float64)
    return (1 - share) * one_hot[low] + share * one_hot[high]


# --- the network ----------------------------------------------------------------------------------


class Conv(nn.Module):
    """Convolution, normalisation, rectification."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width_out, eps=1e-3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Same sides, or halved ones."""
        return relu(self.bn(self.conv(x)), inplace=True)


def across(width_in: int, width_out: int, length: int) -> Conv:
    """1 x length."""
    return Conv(width_in, width_out, (1, length), padding=(0, length // 2))


def down(width_in: int, width_out: int, length: int) -> Conv:
    """length x 1."""
    return Conv(width_in, width_out, (length, 1), padding=(length // 2, 0))


def average(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Of the 3x3 neighbours that there are: at an edge, 6; in a corner, 4."""
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class MixedA(nn.Module):
    """35x35: 1x1, 5x5, two 3x3, and the average."""

    def __init__(self, width: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(width, 64, 1)
        self.branch5x5_1 = Conv(width, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(width, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(width, pooled, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """35x35 in and out; 224 + pooled channels."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, threes, self.branch_pool(average(x))], 1)


class MixedB(nn.Module):
    """35x35 -> 17x17."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(width, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(width, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """288 channels in, 768 out."""
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, max_pool2d(x, 3, stride=2)], 1)


class MixedC(nn.Module):
    """17x17: 1x1, one 7x7 and two, each as 1x7 and 7x1, and the average."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(width, 192, 1)
        self.branch7x7_1 = Conv(width, inner, 1)
        self.branch7x7_2 = across(inner, inner, 7)
        self.branch7x7_3 = down(inner, 192, 7)
        self.branch7x7dbl_1 = Conv(width, inner, 1)
        self.branch7x7dbl_2 = down(inner, inner, 7)
        self.branch7x7dbl_3 = across(inner, inner, 7)
        self.branch7x7dbl_4 = down(inner, inner, 7)
        self.branch7x7dbl_5 = across(inner, 192, 7)
        self.branch_pool = Conv(width, 192, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """768 channels in and out."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        sevens = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        sevens = self.branch7x7dbl_5(self.branch7x7dbl_4(sevens))
        return torch.cat([self.branch1x1(x), seven, sevens, self.branch_pool(average(x))], 1)


class MixedD(nn.Module):
    """17x17 -> 8x8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(width, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Conv(width, 192, 1)
        self.branch7x7x3_2 = across(192, 192, 7)
        self.branch7x7x3_3 = down(192, 192, 7)
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """768 channels in, 1280 out."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), max_pool2d(x, 3, stride=2)], 1)


class MixedE(nn.Module):
    """8x8: 1x1, 3x3s that fork into 1x3 and 3x1, and the average, or in the last, the maximum."""

    def __init__(self, width: int, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.branch1x1 = Conv(width, 320, 1)
        self.branch3x3_1 = Conv(width, 384, 1)
        self.branch3x3_2a = across(384, 384, 3)
        self.branch3x3_2b = down(384, 384, 3)
        self.branch3x3dbl_1 = Conv(width, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = across(384, 384, 3)
        self.branch3x3dbl_3b = down(384, 384, 3)
        self.branch_pool = Conv(width, 192, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2048 h w"]:
        """8x8 in and out."""
        three = self.branch3x3_1(x)
        threes = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool2d(x, 3, stride=1, padding=1) if self.is_last else average(x)
        fork = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        forks = [self.branch3x3dbl_3a(threes), self.branch3x3dbl_3b(threes)]
        return torch.cat([self.branch1x1(x), *fork, *forks, self.branch_pool(pooled)], 1)


class InceptionV3(nn.Module):
    """The network up to its pooled features; `fc`, its classifier, comes with the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = MixedA(192, pooled=32)
        self.Mixed_5c = MixedA(256, pooled=64)
        self.Mixed_5d = MixedA(288, pooled=64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b = MixedC(768, inner=128)
        self.Mixed_6c = MixedC(768, inner=160)
        self.Mixed_6d = MixedC(768, inner=160)
        self.Mixed_6e = MixedC(768, inner=192)
        self.Mixed_7a = MixedD(768)
        self.Mixed_7b = MixedE(1280, is_last=False)
        self.Mixed_7c = MixedE(2048, is_last=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        """Pooled features of pictures in [-1, 1)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [b 64 147 147]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, stride=2)))  # [b 192 71 71]
        x = max_pool2d(x, 3, stride=2)  # [b 192 35 35]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [b 288 35 35]
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # [b 768 17 17] -> [b 2048 8 8]
        return x.mean((2, 3))


# --- the weights ----------------------------------------------------------------------------------


def read_tensors(blob: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or a .pth, of which nothing else is read. ValueError if not."""
    if not blob:
        raise ValueError(f"{path} is missing or empty: give the file {FILE}")
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(blob)
        found = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}): give the file {FILE}") from error
    except Exception as error:  # the readers of pickles raise all kinds
        why = "damaged, or holds more than tensors"
        raise ValueError(f"{path} is {why}: give the file {FILE}") from error
    if not isinstance(found, Mapping) or not all(isinstance(x, Tensor) for x in found.values()):
        raise ValueError(f"{path} is no state dict: give the file {FILE}")
    return dict(found)


def load_net(tensors: Mapping[str, Tensor], path: Path) -> InceptionV3:
    """The network with these weights, float32. ValueError, naming one, if any differ in kind."""
    with torch.device("meta"):
        net = InceptionV3()
    found = {name: x.float() for name, x in tensors.items() if not name.endswith(COUNTER)}
    expected = {name: x for name, x in net.state_dict().items() if not name.endswith(COUNTER)}
    wrong = [f"lacks {name}" for name in expected if name not in found]
    wrong += [f"has {name} too" for name in found if name not in expected]
    wrong += [
        f"has {name} as {list(found[name].shape)}, not {list(x.shape)}"
        for name, x in expected.items()
        if name in found and found[name].shape != x.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
        raise ValueError(f"{path} is not FID's Inception: it {wrong[0]}{more}: give {FILE}")
    counters = {n: torch.tensor(0) for n in net.state_dict() if n.endswith(COUNTER)}
    net.load_state_dict(found | counters, assign=True)
    return net.eval().requires_grad_(False)


COUNTER = ".num_batches_tracked"  # of training; some copies of the weights have it

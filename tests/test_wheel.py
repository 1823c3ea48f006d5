"""The wheel, installed away from the checkout, draws with the model inside it."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent


def test_the_wheel_draws_outside_the_checkout(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    build = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.glob("openimagen-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)

    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import openimagen; print(openimagen.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(site)  # not the checkout

    assert (site / "openimagen/evaluate/study/page/index.html").is_file()

    command = [sys.executable, "-m", "openimagen", "generate", "a red apple", "--size", "256"]
    subprocess.run([*command, "--out", "apple.png"], cwd=tmp_path, env=environment, check=True)
    with Image.open(tmp_path / "apple.png") as picture:
        assert picture.size == (256, 256)
        assert len(picture.getcolors(256 * 256) or ()) > 1000  # a picture, not a flat square

"""The explain view: the forward process in the browser, the way back on the server."""

import math
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect
from visits import MakeVisit, facts, finished, ready

NOISE = """async () => {
  const { gaussian, dissolve, logSnrOf } = await import("/page/noise.js");
  const eps = gaussian(7, 30000);
  const x = Float32Array.from({length: 30000}, (_, n) => (n % 2 ? 1 : -1));
  return {
    eps: [...eps], again: [...gaussian(7, 5)], other: [...gaussian(8, 5)],
    x: [...x], z: [...dissolve(x, eps, 0.6)], lambda: logSnrOf(0.6),
  };
}"""


def test_noise_is_gaussian_and_mixes_as_the_formula_says(visit: MakeVisit) -> None:
    said = ready(visit("draw")).evaluate(NOISE)
    eps, x, z = (np.array(said[name]) for name in ("eps", "x", "z"))
    assert said["again"] == said["eps"][:5] != said["other"]
    assert abs(eps.mean()) < 0.02
    assert abs(eps.std() - 1) < 0.02
    assert abs((eps**4).mean() - 3) < 0.2
    assert abs(np.corrcoef(eps[:-1], eps[1:])[0, 1]) < 0.02
    assert np.allclose(z, 0.8 * x + 0.6 * eps, atol=1e-5)
    assert abs(z.std() - 1) < 0.02  # always equally strong
    assert math.isclose(said["lambda"], math.log(0.64 / 0.36))


def canvas(page: object, name: str) -> np.ndarray:
    data = page.locator(name).evaluate(  # type: ignore[attr-defined]
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 64, 64).data]"
    )
    return np.array(data).reshape(64, 64, 4)[..., :3]


def test_a_picture_dissolves_and_is_restored(visit: MakeVisit, red_apple: Path) -> None:
    page = visit("explain")
    expect(page.locator("#size option")).to_have_count(3)
    page.locator("#explain-drop input").set_input_files(red_apple)
    sigma = page.locator("#sigma")
    sigma.fill("0")
    assert (canvas(page, "#lab-z") == np.asarray(Image.open(red_apple))).all()
    expect(page.locator("#formula")).to_contain_text("= ∞")
    expect(page.locator("#restore")).to_be_disabled()
    sigma.fill("0.6")
    expect(page.locator("#formula")).to_contain_text("z = 0.800 x + 0.60 ε")
    expect(page.locator("#formula")).to_contain_text("= 0.58")
    sigma.fill("0.95")
    expect(page.locator("#formula")).to_contain_text("2.23")
    page.locator("#caption").fill("red apple")
    page.locator("#caption").press("Enter")
    finished(page, "#restore-easel")
    told = []
    for number in range(2):
        page.locator("#restore-easel button.tile").nth(number).click()
        told.append(facts(page))
        page.keyboard.press("Escape")
    assert [one["Words"] for one in told] == ["none", "red apple"]
    assert [one["Strength"] for one in told] == ["0.7978", "0.7978"]  # sin(pi/2 0.7978) = 0.95
    assert told[0]["Seed"] == told[1]["Seed"] == page.locator("#lab-seed").input_value()
    labels = page.locator("#restore-easel .tile-label")
    expect(labels).to_have_text(["Your picture", "Without the caption", "With “red apple”"])
    expect(page.locator("#imagined-words")).to_contain_text("the model saw 10 % picture")
    assert (canvas(page, "#diff-none") != canvas(page, "#diff-with")).any()


def test_one_can_be_drawn_for_it(visit: MakeVisit) -> None:
    page = visit("explain")
    expect(page.locator("#size option")).to_have_count(3)
    page.get_by_role("button", name="cherry blossom").click()
    expect(page.locator("#caption")).to_have_value("cherry blossom")
    expect(page.locator("#sigma")).to_have_value("0.6")


def test_how_much_differs_is_counted(visit: MakeVisit) -> None:
    shares = ready(visit()).evaluate(
        """async () => {
          const { compare, wordsOf } = await import("/page/difference.js");
          const x = new Float32Array(3 * 100).fill(1);
          x.fill(-1, 0, 3 * 50); // the thing is half
          const half = x.slice();
          half.fill(1, 0, 3 * 25);
          const told = (without, within) => wordsOf({sigma: 0.9, caption: "a", without, within});
          const shares = [compare(x, x).share, compare(x, half).share];
          return [...shares, told(0.6, 0.2).at(-1), told(0, 0).at(-1)];
        }"""
    )
    assert shares[:2] == [0, 0.5]
    assert "the caption told" in shares[2]
    assert "So little was lost" in shares[3]

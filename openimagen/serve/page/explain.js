// The explain view: a picture dissolves in noise here, and is restored by the model there.

import { Commission, randomSeed } from "./commission.js";
import { png, squared } from "./canvas.js";
import { compare, wordsOf } from "./difference.js";
import { find, make } from "./dom.js";
import { Dropzone } from "./dropzone.js";
import { Easel } from "./easel.js";
import { alphaOf, dissolve, gaussian, logSnrOf, paint, pixelsOf, strengthOf } from "./noise.js";
import { Seed } from "./seed.js";

const SIDE = 64;
const EXAMPLES = ["cherry blossom", "tiger face", "hamburger"];
const START = 0.6; // sigma, once there is a picture

export class Explain {
  constructor({ opened }) {
    this.own = new Easel(find("explain-own-easel"), { opened, finished: ({ prompt, pictures: [{ blob }] }) => blob && this.take(blob, prompt) });
    this.lost = make("canvas", { className: "tile pixels", width: SIDE, height: SIDE, role: "img", "aria-label": "Your picture" });
    const lead = make("li", { className: "cell" }, make("p", { className: "tile-label", text: "Your picture" }), this.lost);
    this.restored = new Easel(find("restore-easel"), { opened, lead, finished: (set) => this.#imagined(set) });
    this.drop = new Dropzone(find("explain-drop"), { label: "A picture of your own", taken: (file) => this.take(file) });
    this.seed = new Seed(find("lab-seed-control"), "lab-seed");
    this.seed.input.addEventListener("change", () => this.#noise());
    this.seed.input.addEventListener("input", () => this.#noise());
    find("explain-examples").append(...EXAMPLES.map((text) =>
      make("button", { type: "button", className: "chip", text, on: { click: () => this.#drawOne(text) } })));
    find("sigma").addEventListener("input", () => this.#mix());
    find("restore-form").addEventListener("submit", (event) => (event.preventDefault(), this.restore()));
  }

  setModel(model) {
    this.model = model;
  }

  async take(blob, caption = "") {
    const canvas = await squared(blob, SIDE);
    this.x = pixelsOf(canvas);
    this.picture = await png(canvas);
    find("caption").value = caption;
    find("sigma").value = START;
    find("lab").hidden = false;
    find("imagined").hidden = true;
    this.restored.clear();
    for (const canvas of [find("lab-x"), this.lost]) paint(canvas, this.x);
    this.#noise();
    find("step-dissolve").scrollIntoView({ block: "start" });
  }

  get sigma() {
    return Number(find("sigma").value);
  }

  #drawOne(prompt) {
    if (!this.model) return;
    const side = this.model.sides[0];
    const commission = new Commission("v1/images/generations", { model: this.model.id, prompt, n: 1, size: `${side}x${side}`, seed: randomSeed() });
    this.own.draw([commission], { kind: "draw", prompt, stages: this.model.upTo(side) }, { calls: this.model.calls(side) });
  }

  #noise() {
    if (!this.x) return;
    this.eps = gaussian(this.seed.value, this.x.length);
    paint(find("lab-eps"), this.eps.map((value) => value / 2)); // most of it within what can be shown
    this.#mix();
  }

  // The forward process, and its numbers.
  #mix() {
    const { sigma } = this;
    const alpha = alphaOf(sigma);
    const logSnr = logSnrOf(sigma);
    const lambda = Number.isFinite(logSnr) ? logSnr.toFixed(2) : logSnr > 0 ? "∞" : "−∞";
    paint(find("lab-z"), dissolve(this.x, this.eps, sigma));
    find("alpha-now").textContent = alpha.toFixed(2);
    find("sigma-now").textContent = find("sigma-out").textContent = sigma.toFixed(2);
    find("formula").replaceChildren(
      make("span", { text: "z = √(1 − σ²) x + σ ε" }),
      make("span", { text: `z = ${alpha.toFixed(3)} x + ${sigma.toFixed(2)} ε` }),
      make("span", { text: `log-SNR λ = ln((1 − σ²) / σ²) = ${lambda.replace("-", "−")}` }),
    );
    find("sigma-words").textContent = told(sigma);
    find("restore").disabled = sigma === 0;
  }

  // Twice from the same noise: without the caption and with it.
  async restore() {
    if (!this.model || !this.picture || this.sigma === 0) return;
    const caption = find("caption").value.trim();
    if (!caption) return find("caption").focus();
    const side = this.model.sides[0];
    const restoring = (prompt) => new Commission("v1/images/edits", {
      model: this.model.id, prompt, n: 1, size: `${side}x${side}`, seed: this.seed.value, strength: strengthOf(this.sigma),
    }, { image: this.picture });
    find("imagined").hidden = true;
    const set = { kind: "explain", prompt: caption, form: { sigma: this.sigma, caption }, stages: this.model.upTo(side) };
    await this.restored.draw([restoring(""), restoring(caption)], set, { calls: this.model.calls(side), labels: ["Without the caption", `With “${caption}”`] });
  }

  async #imagined({ pictures, form }) {
    if (pictures.some(({ blob }) => !blob)) return;
    const [without, within] = await Promise.all(pictures.map(async ({ blob }) => compare(this.x, pixelsOf(await squared(blob, SIDE)))));
    paint(find("diff-none"), without.imagined);
    paint(find("diff-with"), within.imagined);
    const words = wordsOf({ ...form, without: without.share, within: within.share });
    find("imagined-words").replaceChildren(...words.map((text) => make("p", { text })));
    find("imagined").hidden = false;
  }
}

const TOLD = [
  [0, "σ = 0: the picture as it is. Slide to add noise."],
  [0.35, "A little grain. The model would hardly have to guess."],
  [0.71, "Detail is going; shapes and colours still stand."],
  [0.9, "More noise than picture. You may still know what it is, because you have seen it."],
  [0.99, "Almost nothing is left but where it was light and where dark."],
  [1, "σ = 1: noise alone. From here every drawing starts; what comes back owes nothing to your picture."],
];

const told = (sigma) => TOLD.find(([most]) => sigma <= most)[1];

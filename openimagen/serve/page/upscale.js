// The upscale view: a small picture, drawn again with more pixels, beside what it was.

import { fitted, png } from "./canvas.js";
import { Commission } from "./commission.js";
import { button, choices, find } from "./dom.js";
import { Dropzone } from "./dropzone.js";
import { Easel } from "./easel.js";
import { see } from "./tile.js";

export class Upscale {
  constructor({ opened, finished }) {
    this.opened = opened;
    this.easel = new Easel(find("upscale-easel"), { opened, finished: (set) => (this.#compare(set), finished(set)) });
    this.drop = new Dropzone(find("upscale-drop"), { label: "Choose a small picture", taken: (file) => this.take(file) });
    find("upscale-form").addEventListener("submit", (event) => (event.preventDefault(), this.submit()));
    find("upscale-other").addEventListener("click", () => this.#open(false));
    find("compare-edge").addEventListener("input", () => this.#edge());
  }

  setModel(model) {
    this.model = model;
    this.#offer(0);
  }

  // Sizes above the picture's, and above the first stage's, which draws from nothing.
  #offer(side) {
    const least = Math.max(side, this.model.sides[0]);
    choices(find("upscale-size"), this.model.sizes.filter(([size]) => size > least), this.model.largest);
  }

  async take(blob, prompt = "") {
    const bitmap = await createImageBitmap(blob);
    const side = Math.max(bitmap.width, bitmap.height);
    bitmap.close();
    const largest = this.model?.largest;
    if (side >= largest) throw new Error(`This picture has a side of ${side} pixels; the largest drawn here has ${largest}.`);
    if (this.model) this.#offer(side);
    this.blob = await png(await fitted(blob, side)); // on white, and without what a camera wrote
    see(find("upscale-picture"), this.blob);
    find("upscale-prompt").value = prompt;
    this.easel.clear();
    this.#compareNot();
    this.#open(true);
  }

  async restore(set) {
    await this.take(set.commission.files.image, set.form.prompt);
    find("upscale-size").value = set.form.side;
    this.easel.show(set);
    this.#compare(set);
  }

  async submit() {
    if (!this.model || !this.blob) return;
    const form = { prompt: find("upscale-prompt").value.trim(), side: Number(find("upscale-size").value) };
    const commission = new Commission("v1/images/upscales", {
      model: this.model.id, prompt: form.prompt || undefined, size: `${form.side}x${form.side}`,
    }, { image: this.blob });
    this.#compareNot();
    const stages = this.model.upTo(form.side).slice(1);
    const set = { kind: "upscale", prompt: form.prompt, title: form.prompt || "Upscaled", form, stages };
    await this.easel.draw([commission], set, { calls: this.model.calls(form.side) - this.model.stages[0].steps });
  }

  #open(on) {
    find("upscale-form").hidden = !on;
    this.drop.element.hidden = on;
    if (!on) this.easel.clear();
    if (!on) this.#compareNot();
  }

  #compareNot() {
    find("compare").hidden = true;
    find("upscale-easel").classList.remove("compared");
  }

  // Before and after, instead of the tile.
  #compare(set) {
    const [{ blob }] = set.pictures;
    if (!blob) return;
    find("upscale-easel").classList.add("compared");
    find("compare-actions").replaceChildren(button("Open", "upscale", () => this.opened(set, 0)));
    see(find("compare-before"), this.blob);
    see(find("compare-after"), blob);
    find("compare").hidden = false;
    this.#edge();
  }

  #edge() {
    find("compare").style.setProperty("--edge-at", `${find("compare-edge").value}%`);
  }
}

// The edit view: a picture, a mask if one is painted, and words for what should be there.

import { Brush } from "./brush.js";
import { fitted, png } from "./canvas.js";
import { Commission } from "./commission.js";
import { choices, find, plural } from "./dom.js";
import { Dropzone } from "./dropzone.js";
import { Easel } from "./easel.js";
import { Mask } from "./mask.js";
import { Seed } from "./seed.js";

const SIDE = 1024; // of the picture on the bench, its longer one
const MOST_PICTURES = 10;
const STRENGTHS = { whole: 0.7, masked: 1 }; // until somebody moves the slider
const HELP = {
  whole: "Nothing is painted: all of it may change. Little noise keeps the picture, much noise forgets it.",
  masked: "Only what is painted is drawn anew; every other pixel stays as it is, but for the invisible watermark: 6 levels of 255 at most, 3 in smooth places.",
};

export class Edit {
  constructor(easelActions) {
    this.easel = new Easel(find("edit-easel"), easelActions);
    this.mask = new Mask(find("edit-mask"), () => this.#maskChanged());
    this.brush = new Brush(this.mask);
    this.seed = new Seed(find("edit-seed-control"), "edit-seed");
    this.drop = new Dropzone(find("edit-drop"), { label: "Choose a picture to change", taken: (file) => this.take(file) });
    choices(find("edit-number"), Array.from({ length: MOST_PICTURES }, (_, n) => n + 1), 2);
    find("edit-form").addEventListener("submit", (event) => (event.preventDefault(), this.submit()));
    find("edit-prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    find("strength").addEventListener("input", () => (this.chosen = true, this.#say()));
    find("edit-other").addEventListener("click", () => this.#open(false));
  }

  setModel(model) {
    this.model = model;
    choices(find("edit-size"), model.sizes, model.largest);
  }

  // Puts a picture on the bench.
  async take(blob, prompt = "", side = null) {
    const canvas = await fitted(blob, SIDE);
    this.blob = blob;
    for (const one of [find("edit-picture"), find("edit-mask")]) [one.width, one.height] = [canvas.width, canvas.height];
    find("canvas").style.setProperty("--ratio", `${canvas.width} / ${canvas.height}`);
    find("edit-picture").getContext("2d").drawImage(canvas, 0, 0);
    this.mask.clear();
    this.chosen = false;
    find("edit-prompt").value = prompt;
    if (side) find("edit-size").value = this.model.sideFor(side);
    this.easel.clear();
    this.#maskChanged();
    this.#open(true);
    find("edit-prompt").focus({ preventScroll: true });
  }

  // An earlier edit, with its picture and settings.
  async restore(set) {
    const { image } = set.commission.files;
    await this.take(image, set.form.prompt, set.form.side);
    this.mask.restore(set.form.strokes);
    find("edit-number").value = set.form.number;
    find("strength").value = set.form.strength;
    this.chosen = true;
    this.seed.value = set.form.seed;
    this.#maskChanged();
    this.easel.show(set);
  }

  async submit() {
    if (!this.model || !this.blob) return;
    const masked = !this.mask.isEmpty;
    const value = (id) => find(id).value;
    const form = {
      prompt: value("edit-prompt").trim(), side: Number(value("edit-size")), number: Number(value("edit-number")),
      strength: Number(value("strength")), seed: this.seed.next(), strokes: structuredClone(this.mask.strokes),
    };
    const canvas = await fitted(this.blob, form.side);
    const image = await png(canvas);
    const files = masked ? { image, mask: await this.mask.blob(canvas.width, canvas.height) } : { image };
    const commission = new Commission("v1/images/edits", {
      model: this.model.id, prompt: form.prompt, n: form.number, size: `${form.side}x${form.side}`, seed: form.seed, strength: form.strength,
    }, files);
    const set = { kind: "edit", prompt: form.prompt, title: form.prompt || "Changed without words", form, stages: this.model.upTo(form.side) };
    await this.easel.draw([commission], set, { calls: this.model.calls(form.side) });
  }

  #open(on) {
    find("edit-form").hidden = !on;
    this.drop.element.hidden = on;
    if (!on) this.easel.clear();
  }

  #maskChanged() {
    const kind = this.mask.isEmpty ? "whole" : "masked";
    find("brush-undo").disabled = this.mask.strokes.length === 0;
    find("brush-clear").disabled = this.mask.strokes.length === 0;
    if (!this.chosen) find("strength").value = STRENGTHS[kind];
    find("strength-help").textContent = HELP[kind];
    find("mask-said").textContent = kind === "masked" ? `${plural(this.mask.strokes.length, "stroke")} painted` : "Nothing painted";
    this.#say();
  }

  #say() {
    find("strength-now").textContent = `${Math.round(100 * find("strength").value)} %`;
  }
}

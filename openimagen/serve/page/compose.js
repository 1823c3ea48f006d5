// The prompt box: what to draw, in which style, with which settings.

import { Commission } from "./commission.js";
import { choices, find, make, plural } from "./dom.js";
import { Seed } from "./seed.js";

const EXAMPLES = ["red apple", "cat face", "rocket", "three red apples", "purple heart", "a star on a blue background", "ghost", "hot air balloon"];
const MOST_PICTURES = 10;
const NUMBER = 4; // of pictures, unless told
const SHORT = { 64: "Small", 256: "Medium", 1024: "Large" };

export class Compose {
  // `drawn(commission, set)`: somebody wants pictures.
  constructor(drawn) {
    this.drawn = drawn;
    this.prompt = find("prompt");
    this.style = null;
    this.seed = new Seed(find("seed-control"), "seed");
    choices(find("number"), Array.from({ length: MOST_PICTURES }, (_, n) => [n + 1, plural(n + 1, "picture")]), NUMBER);
    find("compose").addEventListener("submit", (event) => (event.preventDefault(), this.submit()));
    this.prompt.addEventListener("keydown", (event) => this.#onKey(event));
    this.prompt.addEventListener("input", () => this.#fit());
    find("transparent").addEventListener("click", () => this.#setTransparent(!this.isTransparent));
    find("settings-open").addEventListener("click", () => this.#toggleSettings());
    find("defaults").addEventListener("click", () => this.reset());
    find("format").addEventListener("change", () => find("format").value === "jpeg" && this.#setTransparent(false));
    for (const name of ["steps", "guidance"]) find(name).addEventListener("input", () => this.#say(name));
    find("examples").append(...EXAMPLES.map((text) => chip(text, () => this.propose(text))));
  }

  // The model is there: its sizes, styles and defaults.
  setModel(model) {
    this.model = model;
    choices(find("size"), model.sides.map((side) => [side, SHORT[side] ? `${SHORT[side]} · ${side}` : `${side} pixels`]), model.largest);
    choices(find("sampler"), [["", "The model's own"], ...model.samplers]);
    find("styles").replaceChildren(make("span", { className: "chips-name", text: "Style", "aria-hidden": "true" }), ...model.styles.map((style) => this.#styleChip(style)));
    find("styles").hidden = model.styles.length === 0;
    const { number, transparent } = this.read(); // may have been chosen meanwhile
    this.write({ ...this.#defaults(), number, transparent });
    if (this.isAwaited) this.submit();
  }

  reset() {
    this.write(this.#defaults());
    this.seed.setLocked(false);
  }

  #defaults() {
    const [first] = this.model.stages;
    return { side: this.model.largest, number: NUMBER, transparent: false, steps: first.steps, guidance: first.guidance, negative: "", sampler: "", format: "png" };
  }

  get isTransparent() {
    return find("transparent").getAttribute("aria-pressed") === "true";
  }

  // What stands in the form; `write` puts it back.
  read() {
    const value = (id) => find(id).value;
    return {
      prompt: this.prompt.value.trim(), style: this.style, side: Number(value("size")), number: Number(value("number")), transparent: this.isTransparent,
      steps: Number(value("steps")), guidance: Number(value("guidance")), negative: value("negative").trim(), sampler: value("sampler"), format: value("format"),
    };
  }

  write(form) {
    const names = { side: "size", number: "number", steps: "steps", guidance: "guidance", negative: "negative", sampler: "sampler", format: "format" };
    for (const [name, id] of Object.entries(names)) if (form[name] !== undefined) find(id).value = form[name];
    if (form.transparent !== undefined) this.#setTransparent(form.transparent);
    if (form.style !== undefined) this.#choose(form.style);
    if (form.prompt !== undefined) this.prompt.value = form.prompt;
    if (form.seed !== undefined) this.seed.value = form.seed;
    for (const name of ["steps", "guidance"]) this.#say(name);
    this.#fit();
  }

  propose(text) {
    this.prompt.value = text;
    this.#fit();
    this.submit();
  }

  submit() {
    const form = this.read();
    if (!form.prompt) return this.#askForWords();
    this.isAwaited = !this.model; // then it begins as soon as the model is there
    if (this.isAwaited) return;
    form.seed = this.seed.next();
    const words = form.style ? `${form.prompt}, ${form.style}` : form.prompt;
    this.drawn(new Commission("v1/images/generations", this.#fields(form, words)), { kind: "draw", prompt: words, form, stages: this.model.upTo(form.side) });
  }

  #fields(form, prompt) {
    const { stages, id } = this.model;
    const [first] = stages;
    const each = (name) => stages.map((stage, place) => (place ? stage[name] : form[name]));
    return {
      model: id, prompt, n: form.number, size: `${form.side}x${form.side}`, seed: form.seed, output_format: form.format,
      background: form.transparent ? "transparent" : undefined,
      steps: form.steps === first.steps ? undefined : each("steps"),
      guidance: form.guidance === first.guidance ? undefined : each("guidance"),
      negative_prompt: form.negative || undefined,
      sampler: form.sampler || undefined,
    };
  }

  #askForWords() {
    const box = this.prompt.closest(".prompt-box");
    box.classList.remove("nudge");
    requestAnimationFrame(() => box.classList.add("nudge"));
    this.prompt.focus();
  }

  #styleChip({ label, words }) {
    const button = chip(label, () => this.#choose(this.style === words ? null : words));
    button.dataset.words = words;
    button.setAttribute("aria-pressed", "false");
    return button;
  }

  #choose(words) {
    this.style = words;
    for (const one of find("styles").querySelectorAll(".chip")) one.setAttribute("aria-pressed", one.dataset.words === words);
  }

  #setTransparent(on) {
    find("transparent").setAttribute("aria-pressed", on);
    if (on && find("format").value === "jpeg") find("format").value = "png";
  }

  #toggleSettings() {
    const open = find("settings").hidden;
    find("settings").hidden = !open;
    find("settings-open").setAttribute("aria-expanded", open);
  }

  #say(name) {
    find(`${name}-now`).textContent = find(name).value;
  }

  #onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.submit();
  }

  #fit() {
    this.prompt.style.setProperty("--height", "auto");
    this.prompt.style.setProperty("--height", `${this.prompt.scrollHeight}px`);
  }
}

function chip(text, press) {
  return make("button", { type: "button", className: "chip", text, on: { click: press } });
}

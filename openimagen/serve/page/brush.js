// The hand that guides the mask's brush: mouse, pen, finger, or keys.

import { find } from "./dom.js";

const STEP = 24; // canvas pixels a key press moves; with Shift a quarter of that
const SMALLEST = 16;
const LARGEST = 320;

export class Brush {
  constructor(mask) {
    this.mask = mask;
    this.canvas = mask.canvas;
    this.cursor = find("brush-cursor");
    this.place = [this.canvas.width / 2, this.canvas.height / 2];
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const event of ["pointerup", "pointercancel"]) this.canvas.addEventListener(event, () => this.#up());
    this.canvas.addEventListener("pointerleave", () => this.#show(document.activeElement === this.canvas && this.keyed));
    this.canvas.addEventListener("focus", () => this.#show(this.canvas.matches(":focus-visible")));
    this.canvas.addEventListener("blur", () => this.#show(false));
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
    this.canvas.addEventListener("keyup", ({ key }) => key === " " && this.#up());
    find("brush-size").addEventListener("input", ({ target }) => this.setSize(Number(target.value)));
    find("brush-erase").addEventListener("click", () => this.#toggleErase());
    find("brush-area").addEventListener("change", ({ target }) => {
      if (target.value) mask.fill(target.value);
      target.value = "";
    });
    find("brush-undo").addEventListener("click", () => mask.undo());
    find("brush-clear").addEventListener("click", () => mask.clear());
  }

  setSize(size) {
    this.mask.size = Math.min(LARGEST, Math.max(SMALLEST, size));
    find("brush-size").value = this.mask.size;
    this.#show(!this.cursor.hidden);
  }

  #down(event) {
    if (event.button) return;
    this.keyed = false;
    this.canvas.setPointerCapture(event.pointerId);
    this.place = this.#placeOf(event);
    this.painting = true;
    this.mask.begin(this.place);
  }

  #move(event) {
    for (const part of this.painting ? (event.getCoalescedEvents?.() ?? []) : []) this.mask.go(this.#placeOf(part));
    this.place = this.#placeOf(event);
    if (this.painting) this.mask.go(this.place);
    this.#show(event.pointerType !== "touch");
  }

  #up() {
    if (!this.painting) return;
    this.painting = false;
    this.mask.end();
  }

  #placeOf({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [((clientX - left) / width) * this.canvas.width, ((clientY - top) / height) * this.canvas.height];
  }

  #onKey(event) {
    const { key, shiftKey, ctrlKey, metaKey } = event;
    if (ctrlKey || metaKey) {
      if (key.toLowerCase() !== "z") return;
      event.preventDefault();
      return this.mask.undo();
    }
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const act = { " ": () => this.#press(event), "[": () => this.setSize(this.mask.size - 16), "]": () => this.setSize(this.mask.size + 16), e: () => this.#toggleErase(), E: () => this.#toggleErase() }[key];
    if (!move && !act) return;
    event.preventDefault();
    event.stopPropagation();
    this.keyed = true;
    if (move) this.#walk(move, shiftKey ? STEP / 4 : STEP);
    else act();
    this.#show(true);
  }

  #walk([x, y], step) {
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    this.place = [clamp(this.place[0] + x * step, this.canvas.width), clamp(this.place[1] + y * step, this.canvas.height)];
    if (this.painting) this.mask.go(this.place);
  }

  #press({ repeat }) {
    if (repeat || this.painting) return;
    this.painting = true;
    this.mask.begin(this.place);
  }

  #toggleErase() {
    this.mask.erases = !this.mask.erases;
    find("brush-erase").setAttribute("aria-pressed", this.mask.erases);
  }

  #show(on) {
    this.cursor.hidden = !on;
    this.cursor.style.setProperty("--x", `${(100 * this.place[0]) / this.canvas.width}%`);
    this.cursor.style.setProperty("--y", `${(100 * this.place[1]) / this.canvas.height}%`);
    this.cursor.style.setProperty("--size", `${(100 * this.mask.size) / this.canvas.width}%`);
  }
}

// A seed: a number, a lock that keeps it, and a die that throws another.

import { randomSeed } from "./commission.js";
import { icon, make } from "./dom.js";

const MOST = 2 ** 31 - 1;

export class Seed {
  constructor(root, id) {
    this.input = make("input", { id, type: "number", min: 0, max: MOST, step: 1, inputmode: "numeric", value: randomSeed() });
    this.lock = make("button", { type: "button", className: "round", "aria-pressed": "false", on: { click: () => this.setLocked(!this.isLocked) } });
    this.die = make("button", { type: "button", className: "round", "aria-label": "Another seed", title: "Another seed", on: { click: () => this.roll() } }, icon("dice"));
    this.input.addEventListener("input", () => this.setLocked(true));
    root.append(this.input, this.lock, this.die);
    this.setLocked(false);
  }

  get isLocked() {
    return this.lock.getAttribute("aria-pressed") === "true";
  }

  setLocked(on) {
    this.lock.setAttribute("aria-pressed", on);
    this.lock.setAttribute("aria-label", "Lock the seed");
    this.lock.title = on ? "Locked: the next pictures have this seed" : "Open: every drawing has another seed";
    this.lock.replaceChildren(icon(on ? "lock" : "open"));
  }

  roll() {
    this.input.value = randomSeed();
    this.input.dispatchEvent(new Event("change"));
  }

  get value() {
    const number = Math.round(Number(this.input.value));
    return Number.isFinite(number) ? Math.min(MOST, Math.max(0, number)) : 0;
  }

  set value(number) {
    this.input.value = number;
  }

  // The seed to draw with: the locked one, or another each time.
  next() {
    if (!this.isLocked) this.roll();
    this.input.value = this.value;
    return this.value;
  }
}

// What went wrong, in words, where it went wrong; with a countdown where waiting helps.

import { make } from "./dom.js";
import { isThere } from "./server.js";

const TITLES = {
  refused: "This is not drawn here",
  busy: "The studio is busy",
  away: "The server is away",
  key: "A key is needed",
  broken: "That did not work",
  wrong: "That cannot be drawn",
};
const LOOK = 3000; // ms between two looks whether the server is back

export class Notice {
  constructor() {
    this.title = make("strong");
    this.text = make("p");
    this.buttons = make("div", { className: "row" });
    this.element = make("div", { className: "notice", role: "alert", hidden: true }, this.title, this.text, this.buttons);
  }

  hide() {
    this.element.hidden = true;
    clearInterval(this.timer);
    clearTimeout(this.looking);
  }

  // `again`: what a button, or the server's return, starts.
  show(trouble, again) {
    this.hide();
    this.element.dataset.kind = trouble.kind ?? "broken";
    this.title.textContent = TITLES[trouble.kind] ?? TITLES.broken;
    this.text.textContent = sentence(trouble.message);
    const buttons = [["Dismiss", () => this.hide(), "pill"]];
    if (again && trouble.kind !== "refused" && trouble.kind !== "wrong") buttons.unshift(["Try again", again, "primary"]);
    this.#offer(buttons);
    this.element.hidden = false;
    this.element.scrollIntoView({ block: "nearest" });
    if (trouble.kind === "away") this.#lookOut();
  }

  #offer(buttons) {
    this.buttons.replaceChildren(
      ...buttons.map(([text, press, className]) =>
        make("button", { type: "button", className, text, on: { click: () => (this.hide(), press()) } })),
    );
  }

  // Says how long it takes until another try; resolves then, or rejects when given up.
  countdown(trouble, signal, giveUp) {
    this.hide();
    this.element.dataset.kind = "busy";
    this.title.textContent = TITLES.busy;
    this.#offer([["Give up", giveUp, "pill"]]);
    this.element.hidden = false;
    const end = performance.now() + 1000 * trouble.wait;
    return new Promise((resume, stop) => {
      const tick = () => {
        const left = Math.ceil((end - performance.now()) / 1000);
        if (signal.aborted) return this.hide(), stop(signal.reason);
        if (left <= 0) return this.hide(), resume();
        const words = `${sentence(trouble.message)} Trying again in ${left} s.`;
        if (this.text.textContent !== words) this.text.textContent = words;
      };
      this.timer = setInterval(tick, 200);
      signal.addEventListener("abort", tick, { once: true });
      tick();
    });
  }

  #lookOut() {
    this.looking = setTimeout(async () => {
      if (!(await isThere())) return this.element.hidden || this.#lookOut();
      this.title.textContent = "The server is back";
      this.text.textContent = "Go on where you were.";
    }, LOOK);
  }
}

// Servers say things in passing: "the queue is full".
const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

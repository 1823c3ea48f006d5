// What was drawn before, as cards: opened again with its settings, or thrown away.

import { button, icon, make, plural } from "./dom.js";
import * as history from "./history.js";
import { see } from "./tile.js";
import { forget } from "./urls.js";

const THUMBS = 4;

export class Shelf {
  // `opened(set)`: a card was clicked.
  constructor(root, opened) {
    this.root = root;
    this.opened = opened;
    this.sets = [];
    this.cards = new Map(); // by the sets' ids
    this.list = make("ul", { className: "cards-row" });
    this.clearButton = button("Delete all", "delete", () => this.#clear());
    root.append(
      make("div", { className: "shelf-head" }, make("h2", { id: "shelf-title", text: "Earlier" }),
        make("span", { className: "hint", text: "Kept in this browser only." }), this.clearButton),
      this.list,
    );
  }

  async load() {
    this.sets = await history.all();
    for (const set of this.sets) if (!this.cards.has(set.id)) this.cards.set(set.id, this.#card(set));
    this.list.replaceChildren(...this.sets.map(({ id }) => this.cards.get(id)));
    this.root.hidden = this.sets.length === 0;
    return this.sets.length;
  }

  async add(set) {
    const kept = await history.keep(set);
    await this.load();
    return kept;
  }

  #card(set) {
    const shown = set.pictures.filter(({ blob }) => blob).slice(0, THUMBS);
    const thumbs = shown.map(({ blob, thumb }) => {
      const image = make("img", { alt: "", loading: "lazy" });
      see(image, thumb ?? blob);
      return image;
    });
    const title = set.title || set.prompt || "No words";
    const open = make("button", {
      type: "button", className: "card-open", "aria-label": `${title}, ${plural(set.pictures.length, "picture")}, ${ago(set.when)}. Open again`,
      on: { click: () => this.opened(set) },
    }, make("span", { className: "thumbs", "data-count": thumbs.length }, ...thumbs), make("span", { className: "card-title", text: title }),
    make("span", { className: "hint", text: ago(set.when) }));
    const drop = make("button", {
      type: "button", className: "round drop", "aria-label": `Delete ${title}`, title: "Delete",
      on: { click: () => this.#remove(set) },
    }, icon("close"));
    return make("li", { className: "card" }, open, drop);
  }

  async #remove({ id, pictures }) {
    const place = this.sets.findIndex((set) => set.id === id);
    for (const { thumb } of pictures) if (thumb) forget(thumb);
    await history.remove(id);
    await this.load();
    const cards = this.list.querySelectorAll(".card-open");
    (cards[Math.min(place, cards.length - 1)] ?? document.getElementById("prompt")).focus();
  }

  async #clear() {
    if (this.clearButton.dataset.sure === undefined) {
      this.clearButton.dataset.sure = "";
      this.clearButton.lastChild.textContent = "Really delete all?";
      setTimeout(() => this.#calm(), 4000);
      return;
    }
    this.#calm();
    await history.clear();
    await this.load();
    document.getElementById("prompt").focus();
  }

  #calm() {
    delete this.clearButton.dataset.sure;
    this.clearButton.lastChild.textContent = "Delete all";
  }
}

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [7, "day"], [Infinity, "week"]];

function ago(when) {
  let span = (Date.now() - when) / 1000;
  if (span < 60) return "just now";
  for (const [size, unit] of STEPS) {
    if (span < size) return `${plural(Math.max(1, Math.round(span)), unit)} ago`;
    span /= size;
  }
  return "";
}

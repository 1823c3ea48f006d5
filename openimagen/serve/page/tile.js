// One picture of a grid: noise, then what is made out in it, then the picture.

import { icon, make } from "./dom.js";
import { gaussian, paint } from "./noise.js";
import { urlOf } from "./urls.js";

const COARSE = 64; // pictures up to this side are shown in squares

export class Tile {
  constructor(number, count, { label = "", stages = [], open }) {
    this.name = `Picture ${number + 1} of ${count}`;
    this.label = label;
    this.noise = make("canvas", { className: "pixels", width: 64, height: 64, "aria-hidden": "true" });
    this.image = make("img", { alt: "", draggable: "false", hidden: true });
    this.button = make("button", {
      type: "button", className: "tile", disabled: true, tabindex: number ? "-1" : "0", "aria-label": `${this.name}, waiting`,
      on: { click: () => open(number) },
    }, this.noise, this.image);
    this.bars = make("div", { className: "bars", "aria-hidden": "true" },
      ...stages.map(({ name, side }) => make("i", { "data-stage": name, "data-side": side })));
    this.words = make("p", { className: "tile-words" });
    this.element = make("li", { className: "cell", "data-state": "waiting" },
      ...(label ? [make("p", { className: "tile-label", text: label })] : []), this.button, this.bars, this.words);
    paint(this.noise, gaussian(number + 1, 3 * 64 * 64));
  }

  frame({ blob, stage, call, calls }) {
    this.element.dataset.state = "drawing";
    this.#see(blob);
    this.words.textContent = calls ? `${stage} · ${call} of ${calls}` : stage;
    let before = true;
    for (const bar of this.bars.children) {
      const mine = bar.dataset.stage === stage;
      if (mine) before = false;
      const share = mine ? call / (calls || 1) : before ? 1 : 0;
      bar.style.setProperty("--done", share.toFixed(3));
    }
  }

  done(picture, alt) {
    this.element.dataset.state = "done";
    this.words.textContent = "";
    this.button.disabled = false;
    this.button.setAttribute("aria-label", `${this.label || this.name}: ${alt}. Open`);
    this.#see(picture.blob);
    this.image.alt = alt;
  }

  withheld(reason) {
    this.element.dataset.state = "withheld";
    this.noise.hidden = this.image.hidden = true;
    this.button.replaceChildren(make("span", { className: "withheld" }, icon("verify"), make("b", { text: "Withheld" }), make("span", { text: reason })));
    this.button.setAttribute("aria-label", `${this.name}: withheld. ${reason}`);
    this.words.textContent = "";
  }

  stopped() {
    if (["done", "withheld"].includes(this.element.dataset.state)) return;
    this.element.dataset.state = "stopped";
    this.words.textContent = "Not finished";
  }

  #see(blob) {
    see(this.image, blob);
    this.image.hidden = false;
    this.noise.hidden = true;
  }
}

// Shows a picture in an element; small ones in squares.
export function see(image, blob) {
  image.onload = () => image.classList.toggle("pixels", image.naturalWidth <= COARSE);
  image.src = urlOf(blob);
}

// The arrow keys walk through the tiles of a grid.
export function walkable(grid) {
  grid.addEventListener("keydown", (event) => {
    const tiles = [...grid.querySelectorAll("button.tile")];
    const place = tiles.indexOf(document.activeElement);
    if (place < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, ArrowUp: place - columns(tiles), ArrowDown: place + columns(tiles), Home: 0, End: tiles.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const goal = tiles[next];
    if (!goal || goal.disabled) return;
    for (const tile of tiles) tile.tabIndex = tile === goal ? 0 : -1;
    goal.focus();
  });
}

function columns(tiles) {
  const top = tiles[0].getBoundingClientRect().top;
  const next = tiles.findIndex((tile) => Math.abs(tile.getBoundingClientRect().top - top) > 4);
  return next < 0 ? tiles.length : next;
}

// Where pictures come into being: a status with a cancel button, troubles, and a grid of tiles.

import { draw } from "./drawing.js";
import { button, make, plural } from "./dom.js";
import { Notice } from "./notice.js";
import { Tile, walkable } from "./tile.js";
import { forget } from "./urls.js";

export class Easel {
  // `opened(set, place)`: a picture was clicked. `finished(set)`: all are there.
  constructor(root, { opened = () => {}, finished = () => {}, lead = null } = {}) {
    this.lead = lead; // stands before the tiles
    this.opened = opened;
    this.finished = finished;
    this.notice = new Notice();
    this.status = make("p", { className: "status", role: "status", "aria-live": "polite" });
    this.cancelButton = button("Cancel", "close", () => this.cancel(), { className: "pill cancel", hidden: true });
    this.grid = make("ul", { className: "grid" });
    this.after = make("div", { className: "after row", hidden: true });
    walkable(this.grid);
    root.classList.add("easel");
    this.bar = make("div", { className: "status-bar" }, this.status, this.cancelButton);
    root.append(this.bar, this.notice.element, this.grid, this.after);
  }

  get isBusy() {
    return Boolean(this.control);
  }

  cancel() {
    this.control?.abort(new Cancelled());
  }

  // Carries out commissions side by side. `set` is what is known of them: prompt, form, stages ...
  async draw(commissions, set, { calls, labels = [] } = {}) {
    this.cancel();
    const control = (this.control = new AbortController());
    const started = performance.now();
    const count = commissions.reduce((sum, { count }) => sum + count, 0);
    this.cancelButton.hidden = false;
    this.notice.hide();
    try {
      for (;;) {
        this.#begin({ ...set, commission: commissions[0] }, count, labels);
        this.status.textContent = `Drawing ${plural(count, "picture")} …`;
        this.bar.scrollIntoView({ block: "nearest" });
        try {
          await this.#carryOut(commissions, calls, control);
          break;
        } catch (trouble) {
          if (trouble.kind !== "busy") throw trouble;
          this.status.textContent = "Waiting …";
          this.cancelButton.hidden = true; // there is another beside the countdown
          await this.notice.countdown(trouble, control.signal, () => control.abort(new Cancelled()));
          this.cancelButton.hidden = false;
        }
      }
      this.set.seconds = (performance.now() - started) / 1000;
      this.#end();
      return this.set;
    } catch (trouble) {
      this.#fail(trouble, control, () => this.draw(commissions, set, { calls, labels }));
      return null;
    } finally {
      if (this.control === control) {
        this.control = null;
        this.cancelButton.hidden = true;
      }
    }
  }

  // Shows a set that was drawn before.
  show(set) {
    this.cancel();
    this.notice.hide();
    this.#begin(set, set.pictures.length, []);
    this.set = set;
    for (const [number, picture] of set.pictures.entries()) this.#settle(number, picture);
    this.status.textContent = "";
  }

  clear() {
    this.cancel();
    this.notice.hide();
    this.grid.replaceChildren();
    this.status.textContent = "";
    this.after.hidden = true;
    this.set = null;
  }

  #begin(set, count, labels) {
    for (const { blob, frames } of this.set?.pictures ?? []) {
      for (const held of [blob, ...frames.map((frame) => frame.blob)]) if (held) forget(held);
    }
    this.set = { ...set, pictures: Array.from({ length: count }, () => ({ blob: null, flagged: null, seed: null, frames: [] })) };
    const open = (number) => this.opened(this.set, number);
    this.tiles = this.set.pictures.map((_, number) => new Tile(number, count, { label: labels[number], stages: set.stages, open }));
    this.grid.dataset.count = count;
    this.grid.dataset.ground = set.form?.transparent ? "none" : "plain";
    this.grid.replaceChildren(...(this.lead ? [this.lead] : []), ...this.tiles.map(({ element }) => element));
    this.grid.setAttribute("aria-busy", "true");
    this.after.hidden = true;
  }

  // All at once; when one fails the rest are given up.
  async #carryOut(commissions, calls, control) {
    const together = new AbortController();
    const signal = AbortSignal.any([control.signal, together.signal]);
    let first = 0;
    const works = commissions.map((commission) => {
      const offset = first;
      first += commission.count;
      if (commissions.length > 1) for (let n = offset; n < first; n += 1) this.set.pictures[n].commission = commission;
      return this.#follow(draw(commission, { signal, calls }), offset, control);
    });
    try {
      await Promise.all(works);
    } catch (trouble) {
      together.abort(new Cancelled());
      throw trouble;
    }
  }

  async #follow(drawing, offset, control) {
    for await (const event of drawing) {
      if (this.control !== control) return;
      if (event.kind === "queued") this.#queued(event.position);
      else if (event.kind === "frame") this.#frame(event.number + offset, event);
      else this.#settle(event.number + offset, event);
    }
  }

  #queued(position) {
    this.status.textContent = position > 0 ? `In the queue: ${plural(position, "picture")} before yours` : `Drawing ${plural(this.tiles.length, "picture")} …`;
  }

  #frame(number, event) {
    this.set.pictures[number].frames.push(event);
    this.tiles[number].frame(event);
    if (this.status.textContent.startsWith("In the queue")) this.#queued(0);
  }

  #settle(number, { blob, seed, flagged, side, notes = [] }) {
    const picture = Object.assign(this.set.pictures[number], { blob, seed, flagged, side, notes });
    if (blob) this.tiles[number].done(picture, this.set.prompt || "picture");
    else this.tiles[number].withheld(flagged ?? "The picture filter keeps it back.");
    const done = this.set.pictures.filter((one) => one.blob || one.flagged).length;
    if (done < this.tiles.length) this.status.textContent = `${done} of ${this.tiles.length} done`;
    this.grid.setAttribute("aria-busy", done < this.tiles.length);
  }

  #end() {
    const { pictures, seconds } = this.set;
    this.status.textContent = `${plural(pictures.length, "picture")} in ${seconds.toFixed(1)} s`;
    const notes = new Set(pictures.flatMap(({ notes }) => notes ?? []));
    if (notes.size) this.status.textContent += ` · ${[...notes].join(" · ")}`;
    this.finished(this.set);
  }

  #fail(trouble, control, again) {
    if (this.control !== control) return; // another drawing has begun
    for (const tile of this.tiles) tile.stopped();
    this.grid.setAttribute("aria-busy", "false");
    const gone = trouble instanceof Cancelled;
    this.status.textContent = gone ? "Cancelled" : "";
    if (!this.set.pictures.some(({ blob, frames }) => blob || frames.length)) this.grid.replaceChildren();
    if (!gone) this.notice.show(trouble, again);
    if (!gone && !trouble.kind) console.error(trouble);
  }
}

class Cancelled extends Error {}

// The studio: its views, and how a picture goes from one to another.

import { Compose } from "./compose.js";
import * as code from "./code.js";
import { button, find, toast } from "./dom.js";
import { Easel } from "./easel.js";
import { Edit } from "./edit.js";
import { Explain } from "./explain.js";
import { listen } from "./keyboard.js";
import { askForKey } from "./keyring.js";
import { Model } from "./model.js";
import { Notice } from "./notice.js";
import { models, onKeyWanted } from "./server.js";
import * as sheet from "./sheet.js";
import { Shelf } from "./shelf.js";
import { Upscale } from "./upscale.js";
import { Verify } from "./verify.js";
import { Commission } from "./commission.js";

const VIEWS = ["draw", "edit", "upscale", "explain", "verify"];
const MORE = { number: 4, strength: 0.65 }; // of "more like this"

let model;
const shelf = new Shelf(find("shelf"), reopen);
const seen = { opened: sheet.open, finished: keep };
const easel = new Easel(find("draw-easel"), { opened: sheet.open, finished: (set) => (offer(set), keep(set)) });
const compose = new Compose(drawn);
const edit = new Edit(seen);
const upscale = new Upscale(seen);
const explain = new Explain({ opened: sheet.open });
new Verify();

function drawn(commission, set) {
  welcome(false);
  const first = set.form.steps;
  return easel.draw([commission], set, { calls: model.calls(set.form.side, first) });
}

async function keep(set) {
  if (!set.pictures.some(({ blob }) => blob)) return;
  if (!(await shelf.add(set))) toast("This browser does not let the studio keep pictures");
}

// What can be done with a whole set.
function offer(set) {
  easel.after.replaceChildren(
    ...(set.form ? [button("Draw again", "again", () => compose.submit())] : []),
    button("Code", "code", () => code.open(set.commission)),
  );
  easel.after.hidden = false;
}

// An earlier set, where it was made.
function reopen(set) {
  const view = { edit, upscale }[set.kind];
  go(view ? set.kind : "draw");
  scrollTo({ top: 0 });
  if (view) return view.restore(set);
  welcome(false);
  if (set.form) compose.write(set.form);
  if (set.form) compose.seed.setLocked(true);
  easel.show(set);
  offer(set);
}

function moreLike({ prompt, title }, { blob, side }) {
  go("draw");
  const size = side ?? model.largest;
  const commission = new Commission("v1/images/edits", {
    model: model.id, prompt: prompt ?? "", n: MORE.number, size: `${size}x${size}`, seed: compose.seed.next(), strength: MORE.strength,
  }, { image: blob });
  welcome(false);
  easel.draw([commission], { kind: "more", prompt, title: `More like: ${title ?? prompt}`, stages: model.upTo(size) }, { calls: model.calls(size) });
}

sheet.setActions({
  largest: () => model?.largest,
  edit: (set, { blob, side }) => (go("edit"), edit.take(blob, set.prompt, side)),
  upscale: (set, { blob }) => (go("upscale"), upscale.take(blob, set.prompt)),
  explain: (set, { blob }) => (go("explain"), explain.take(blob, set.prompt)),
  again: (set, { seed }) => reopen({ ...set, form: { ...set.form, seed } }),
  more: moreLike,
});

// --- views ----------------------------------------------------------------------------------

const current = () => VIEWS.find((view) => `#${view}` === location.hash) ?? "draw";

function go(view) {
  if (current() !== view) location.hash = view;
  showView();
}

let shown;

// Shows the view in the address; false if it is there already.
function showView() {
  const view = current();
  if (view === shown) return false;
  shown = view;
  for (const name of VIEWS) find(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "draw" ? "openimagen studio" : `${view[0].toUpperCase()}${view.slice(1)} · openimagen studio`;
  return true;
}

// The big question, while nothing is drawn.
function welcome(on) {
  find("view-draw").classList.toggle("fresh", on);
  if (!on) find("empty").hidden = true;
}

const easels = { draw: [easel], edit: [edit.easel], upscale: [upscale.easel], explain: [explain.restored, explain.own], verify: [] };
const forms = { draw: compose, edit, upscale };
const seeds = { draw: compose.seed, edit: edit.seed, explain: explain.seed };

listen({
  go,
  submit: () => (current() === "explain" ? explain.restore() : forms[current()]?.submit()),
  cancel: () => easels[current()].forEach((one) => one.cancel()),
  toggleLock() {
    const seed = seeds[current()];
    seed?.setLocked(!seed.isLocked);
    if (seed) toast(seed.isLocked ? "Seed locked" : "Seed open");
  },
});

// --- the start ------------------------------------------------------------------------------

const notice = new Notice();
find("compose").after(notice.element);

async function meet() {
  find("draw").disabled = true;
  try {
    const [first] = await models();
    model = new Model(first);
    for (const view of [compose, edit, upscale, explain]) view.setModel(model);
    find("draw").disabled = false;
  } catch (trouble) {
    if (!trouble.kind) throw trouble;
    notice.show(trouble, meet);
    if (trouble.kind === "busy") setTimeout(() => (notice.hide(), meet()), 1000 * trouble.wait);
  }
}

async function start() {
  onKeyWanted(askForKey);
  addEventListener("hashchange", () => {
    if (!showView()) return;
    scrollTo(0, 0);
    find("main").focus({ preventScroll: true });
  });
  for (const event of ["dragover", "drop"]) addEventListener(event, (drag) => drag.preventDefault()); // a miss must not leave the page
  showView();
  welcome(true);
  const kept = await shelf.load();
  find("empty").hidden = kept > 0;
  if (current() === "draw" && matchMedia("(hover: hover)").matches) find("prompt").focus();
  await meet();
}

start();

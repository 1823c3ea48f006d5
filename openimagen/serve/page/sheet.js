// One picture in full, how it came about, and what can be done with it.

import * as code from "./code.js";
import { button, find, make, toast } from "./dom.js";
import { ending } from "./commission.js";
import { fillStrip } from "./strip.js";
import { see } from "./tile.js";
import { download } from "./urls.js";

const dialog = find("sheet");
const SWIPE = 50; // pixels

let set, place;
let actions = {}; // what other views do with a picture

export function setActions(given) {
  actions = given;
}

export const isOpen = () => dialog.open;

export function open(opened, at) {
  [set, place] = [opened, at];
  show();
  dialog.showModal();
}

export const close = () => dialog.close();

// The places that have a picture.
const places = () => set.pictures.flatMap(({ blob }, number) => (blob ? [number] : []));

function step(by) {
  const all = places();
  const next = all[all.indexOf(place) + by];
  if (next === undefined) return;
  place = next;
  show();
}

function show() {
  const picture = set.pictures[place];
  const all = places();
  const image = find("sheet-picture");
  see(image, picture.blob);
  image.dataset.ground = set.form?.transparent ? "none" : "plain";
  image.alt = set.prompt || "Picture";
  find("sheet-title").textContent = set.prompt || set.title || "No words";
  find("sheet-place").textContent = set.pictures.length > 1 ? `Picture ${place + 1} of ${set.pictures.length}` : "";
  find("sheet-back").disabled = place === all[0];
  find("sheet-on").disabled = place === all.at(-1);
  find("sheet-facts").replaceChildren(...factsOf(picture).map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
  find("sheet-actions").replaceChildren(...buttons(picture));
  fillStrip(picture, set.stages ?? [], (blob) => see(image, blob));
}

const commissionOf = (picture) => picture.commission ?? set.commission;

function factsOf(picture) {
  const { seed, side, blob } = picture;
  const { fields } = commissionOf(picture);
  const rows = [
    ["Size", side ? `${side} × ${side}` : fields.size],
    ["Seed", seed ?? fields.seed],
    ["Steps", fields.steps && [fields.steps].flat().join(", ")],
    ["Guidance", fields.guidance && [fields.guidance].flat().join(", ")],
    ["Words", picture.commission && (fields.prompt || "none")],
    ["Leave out", fields.negative_prompt],
    ["Strength", fields.strength],
    ["File", `${ending(blob.type).toUpperCase()}, ${Math.ceil(blob.size / 1000)} kB`],
  ];
  return rows.filter(([, value]) => value !== undefined && value !== null && value !== "");
}

function buttons(picture) {
  const then = (act) => () => (close(), act?.(set, picture));
  const largest = picture.side && actions.largest?.() && picture.side >= actions.largest();
  return [
    button("Download", "download", save, { className: "primary", id: "sheet-download" }),
    button("Edit", "edit", then(actions.edit), { className: "pill", id: "sheet-edit" }),
    button("More like this", "grid", then(actions.more), { className: "pill" }),
    ...(set.form && set.kind !== "explain" ? [button("Same settings", "again", then(actions.again), { className: "pill" })] : []),
    ...(largest ? [] : [button("Upscale", "upscale", then(actions.upscale), { className: "pill" })]),
    button("Explain", "explain", then(actions.explain), { className: "pill" }),
    button("Code", "code", () => code.open(codeOf(picture)), { className: "pill", id: "sheet-code" }),
  ];
}

// The request for this one picture: its own seed, alone.
function codeOf(picture) {
  const { path, fields, files } = commissionOf(picture);
  return { path, files, fields: { ...fields, n: 1, seed: picture.seed ?? fields.seed } };
}

function save() {
  const { blob, seed } = set.pictures[place];
  download(blob, `${fileName(set.prompt)}-${seed ?? place + 1}.${ending(blob.type)}`);
  toast("Saved");
}

const fileName = (prompt) => prompt?.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "picture";

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (find("strip-frames").contains(document.activeElement) && event.key.startsWith("Arrow")) return;
  const act = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), d: save, e: () => find("sheet-edit").click(), c: () => find("sheet-code").click() }[event.key.length > 1 ? event.key : event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
}

dialog.addEventListener("keydown", onKey);
find("sheet-back").addEventListener("click", () => step(-1));
find("sheet-on").addEventListener("click", () => step(1));
find("sheet-close").addEventListener("click", close);
dialog.addEventListener("click", ({ target }) => target === dialog && close());

let start = null;
const stage = dialog.querySelector(".sheet-stage");
stage.addEventListener("touchstart", ({ touches }) => (start = touches.length === 1 ? touches[0].clientX : null), { passive: true });
stage.addEventListener("touchend", ({ changedTouches }) => {
  const moved = start === null ? 0 : changedTouches[0].clientX - start;
  if (Math.abs(moved) > SWIPE && (visualViewport?.scale ?? 1) === 1) step(moved < 0 ? 1 : -1);
});

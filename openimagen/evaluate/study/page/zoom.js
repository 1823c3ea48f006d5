// One picture at a time, in full, over everything; the arrow keys walk through both sets.

const find = (id) => document.getElementById(id);
const dialog = find("zoom");
const SWIPE = 50; // pixels

let pictures = [];
let place = 0;

export const isOpen = () => dialog.open;

export function open(all, start) {
  [pictures, place] = [all, start];
  show();
  dialog.showModal();
}

export const close = () => dialog.close();

function show() {
  const { address, name } = pictures[place];
  const picture = find("zoom-picture");
  picture.src = `${address}?full=1`;
  picture.alt = name;
  find("zoom-name").textContent = name;
  find("zoom-back").disabled = place === 0;
  find("zoom-on").disabled = place === pictures.length - 1;
}

export function step(by) {
  const next = place + by;
  if (next < 0 || next >= pictures.length) return;
  place = next;
  show();
}

find("zoom-back").addEventListener("click", () => step(-1));
find("zoom-on").addEventListener("click", () => step(1));
find("zoom-close").addEventListener("click", close);
dialog.addEventListener("click", ({ target }) => {
  if (target === dialog || target.tagName === "FIGURE") close();
});

let start = null;
dialog.addEventListener("touchstart", ({ touches }) => {
  start = touches.length === 1 ? touches[0].clientX : null;
}, { passive: true });
dialog.addEventListener("touchend", ({ changedTouches }) => {
  const moved = start === null ? 0 : changedTouches[0].clientX - start;
  if (Math.abs(moved) > SWIPE && (window.visualViewport?.scale ?? 1) === 1) step(moved < 0 ? 1 : -1);
});

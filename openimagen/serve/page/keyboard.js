// Keys that work anywhere on the page.

import { find, isTyping } from "./dom.js";

const VIEWS = ["draw", "edit", "upscale", "explain", "verify"];

// `go(view)`; submit, cancel and toggleLock are for the view that is seen.
export function listen({ go, submit, cancel, toggleLock }) {
  const keys = find("keys");
  find("keys-open").addEventListener("click", () => keys.showModal());
  find("keys-close").addEventListener("click", () => keys.close());

  const plain = {
    "/": () => (go("draw"), find("prompt").select()),
    "?": () => keys.showModal(),
    l: toggleLock,
    ...Object.fromEntries(VIEWS.map((view, number) => [`${number + 1}`, () => go(view)])),
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const { key, ctrlKey, metaKey, altKey } = event;
    if (key === "Escape") return cancel();
    if (key === "Enter" && (ctrlKey || metaKey)) return event.preventDefault(), submit();
    if (ctrlKey || metaKey || altKey || isTyping()) return;
    const act = plain[key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

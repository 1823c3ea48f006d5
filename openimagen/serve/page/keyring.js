// The dialog that asks for an API key; it comes only when the server wants one.

import { find } from "./dom.js";

const dialog = find("key");
let answer = () => {};

// Resolves to a key, or to null.
export function askForKey(why) {
  find("key-why").textContent = why ?? "";
  find("key-text").value = "";
  dialog.showModal();
  return new Promise((resolve) => (answer = resolve));
}

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  answer(find("key-text").value.trim() || null);
  dialog.close();
});
find("key-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => answer(null));

// The dialog that asks for an API key; it comes only when the server wants one.

import { find } from "./dom.js";

const GIVEN = "given";
const dialog = find("key");

// Resolves to a key, or to null.
export function askForKey(why) {
  find("key-why").textContent = why ?? "";
  find("key-text").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === GIVEN ? find("key-text").value.trim() || null : null);
    }, { once: true });
  });
}

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  dialog.close(GIVEN);
});
find("key-close").addEventListener("click", () => dialog.close());

// The dialog that asks for an API key; it comes only when the server wants one.

import { find } from "./dom.js";

const GIVEN = "given";
const dialog = find("key");
const NONE = "It draws for those who have one. Ask whoever runs it; a key begins with oi-.";
const REFUSED = "That key is not known here. Was all of it copied?";

// Resolves to a key, or to null. `refused`: one was given.
export function askForKey(refused) {
  find("key-why").textContent = refused ? REFUSED : NONE;
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

// The dialog that shows a commission as code, to be copied.

import { find, toast } from "./dom.js";
import { curl, python } from "./snippet.js";

const LANGUAGES = { curl, python };
const dialog = find("code");
let commission;

export function open(wanted) {
  commission = wanted;
  show("curl");
  dialog.showModal();
}

function show(language) {
  find("code-text").textContent = LANGUAGES[language](commission);
  for (const name of Object.keys(LANGUAGES)) find(`code-${name}`).setAttribute("aria-pressed", name === language);
}

async function copy() {
  const text = find("code-text");
  try {
    await navigator.clipboard.writeText(text.textContent);
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(text); // no clipboard here: it is selected at least
    toast("Selected: press Ctrl+C");
  }
}

for (const name of Object.keys(LANGUAGES)) find(`code-${name}`).addEventListener("click", () => show(name));
find("code-copy").addEventListener("click", copy);
find("code-close").addEventListener("click", () => dialog.close());

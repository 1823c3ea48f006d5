// The verify view: what a picture says of where it is from.

import { find, icon, make } from "./dom.js";
import { Dropzone } from "./dropzone.js";
import { ask } from "./server.js";
import { see } from "./tile.js";

const CREDENTIALS = {
  trusted: ["good", "Signed, and the signer is trusted", "Nothing was changed since."],
  untrusted: ["fair", "Signed, and unchanged since", "The signature holds. Who signed is not on a list of trusted signers: anybody can make such a certificate."],
  tampered: ["bad", "Changed after it was signed", "Its content credentials do not fit the picture any more."],
  none: ["none", "No content credentials", "Never signed, or stripped, as many sites do on upload."],
};

export class Verify {
  constructor() {
    this.drop = new Dropzone(find("verify-drop"), { label: "Verify a picture", taken: (file) => this.take(file), refused: hide });
  }

  async take(file) {
    const result = find("verify-result");
    result.hidden = false;
    find("view-verify").classList.add("has-verdict");
    result.replaceChildren(make("p", { className: "hint", text: "Reading …" }));
    const form = new FormData();
    form.append("image", file, file.name ?? "picture");
    const answer = await ask("v1/images/verify", { method: "POST", form });
    const { watermark, credentials } = await answer.json();
    const picture = make("img", { alt: "The picture looked at" });
    see(picture, file);
    result.replaceChildren(picture, make("div", { className: "findings" }, marked(watermark), signed(credentials)));
  }
}

// Nothing that was said of another picture stays beside a refusal.
function hide() {
  find("verify-result").hidden = true;
}

function finding(kind, title, words, rows = []) {
  const facts = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value.length !== 0);
  return make("section", { className: "finding", "data-kind": kind },
    make("h2", {}, icon(kind === "good" || kind === "fair" ? "verify" : kind === "bad" ? "close" : "explain"), make("span", { text: title })),
    make("p", { text: words }),
    ...(facts.length ? [make("dl", { className: "facts" }, ...facts.map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))))] : []));
}

function marked(mark) {
  if (!mark) return finding("none", "No watermark found", "Not drawn here, smaller than a watermark can be, or changed so much that it was lost.");
  const model = mark.model ?? `number ${mark.model_number}`;
  return finding("good", "Marked by this program: drawn or changed by it", "An invisible mark in the pixels says so. It survives small changes, and is no proof: whoever has the program can put one in.", [["Model", model], ["Seed, in short", mark.seed_number]]);
}

function signed(credentials = {}) {
  const { status = "none", model, when, chain = [], problems = [] } = credentials ?? {};
  const [kind, title, words] = CREDENTIALS[status] ?? ["bad", status, ""];
  const moment = when ? new Date(when) : null;
  return finding(kind, title, words, [
    ["Made with", credentials?.generator ?? credentials?.claim_generator],
    ["Model", model],
    ["When", moment && !Number.isNaN(moment.valueOf()) ? moment.toLocaleString() : when],
    ["Signed by", chain.join(" ← ")],
    [kind === "bad" ? "Problems" : "Note", problems.join("; ")],
  ]);
}

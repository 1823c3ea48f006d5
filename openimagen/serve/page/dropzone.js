// A place to drop a picture on, paste it, or choose it from one's files.

import { icon, make } from "./dom.js";

const TYPES = ["image/png", "image/jpeg", "image/webp"];
const MOST = 20e6; // bytes

export class Dropzone {
  // `taken(file)`: a picture was given; what it throws is shown as words. `refused()`: it, or the file, was none.
  constructor(root, { label, taken, refused }) {
    this.taken = taken;
    this.refused = refused;
    this.input = make("input", { type: "file", accept: TYPES.join(","), className: "unseen", "aria-label": label });
    this.said = make("span", { className: "drop-said", role: "alert" });
    this.element = make("label", { className: "dropzone" }, this.input, icon("picture"),
      make("strong", { text: label }), make("span", { className: "hint", text: "Drop it here, paste it, or choose a file. PNG, JPEG or WebP." }), this.said);
    this.input.addEventListener("change", () => {
      this.take(this.input.files[0]);
      this.input.value = "";
    });
    for (const event of ["dragenter", "dragover"]) this.element.addEventListener(event, (drag) => (drag.preventDefault(), this.element.classList.add("over")));
    for (const event of ["dragleave", "drop"]) this.element.addEventListener(event, () => this.element.classList.remove("over"));
    this.element.addEventListener("drop", (drop) => (drop.preventDefault(), this.take(drop.dataTransfer.files[0])));
    addEventListener("paste", (paste) => this.element.checkVisibility() && this.take(paste.clipboardData.files[0]));
    root.append(this.element);
  }

  async take(file) {
    if (!file) return;
    this.said.textContent = "";
    try {
      if (!TYPES.includes(file.type)) throw new Error("That is no PNG, JPEG or WebP picture.");
      if (file.size > MOST) throw new Error(`That picture has more than ${MOST / 1e6} MB.`);
      await this.taken(file);
    } catch (error) {
      this.refused?.();
      this.said.textContent = error.name === "InvalidStateError" || error.name === "EncodingError" ? "That picture cannot be read." : error.message;
    }
  }
}


// What is asked of the server: an address, fields, and files. Sent as JSON, or as a form with files.

export class Commission {
  constructor(path, fields, files = {}) {
    this.path = path;
    this.fields = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
    this.files = files;
  }

  get count() {
    return this.fields.n ?? 1;
  }

  get hasFiles() {
    return Object.keys(this.files).length > 0;
  }

  // What `ask` sends; `extra` fields are not part of the request, such as those of streaming.
  body(extra = {}) {
    const fields = { ...this.fields, ...extra };
    if (!this.hasFiles) return { method: "POST", json: fields };
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) {
      for (const one of [value].flat()) form.append(name, String(one));
    }
    for (const [name, file] of Object.entries(this.files)) form.append(name, file, `${name}.${ending(file.type)}`);
    return { method: "POST", form };
  }
}

export const ending = (mime) => ({ "image/jpeg": "jpg", "image/webp": "webp" })[mime] ?? "png";

export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;

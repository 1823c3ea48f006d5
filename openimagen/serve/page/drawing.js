// A commission being carried out: what the server sees in the noise, call after call.

import { ask, Trouble, troubleSaid } from "./server.js";
import { events } from "./stream.js";

const PARTIALS = 10; // of a picture: the shipped model calls its networks ten times
const MOST = 16; // that the server gives

const CUT = "The line was cut before the picture was done. Try once more.";

// Yields {kind: "queued", position}, {kind: "frame", ...} and {kind: "done", ...}, pictures by `number`.
export async function* draw(commission, { signal, calls = PARTIALS } = {}) {
  const extra = { stream: true, progress: true, partial_images: Math.min(MOST, calls) };
  const answer = await ask(commission.path, { ...commission.body(extra), signal });
  let open = commission.count;
  try {
    for await (const said of events(answer.body)) {
      const event = eventOf(said);
      if (event) yield event;
      if (event?.kind === "done") open -= 1;
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw error instanceof Trouble ? error : new Trouble("away", CUT);
  }
  if (open > 0) throw new Trouble("away", CUT);
}

function eventOf(said) {
  if (said.error) throw troubleSaid(said.error);
  if (said.type === "openimagen.queued") return { kind: "queued", position: said.position };
  if (said.type?.endsWith(".partial_image")) return frameOf(said);
  return said.type?.endsWith(".completed") ? pictureOf(said) : null;
}

function frameOf(said) {
  return {
    kind: "frame",
    number: said.image_index ?? 0,
    blob: blobOf(said),
    stage: said.stage ?? "",
    call: said.call ?? said.partial_image_index + 1,
    calls: said.calls ?? 0,
    logSnr: said.log_snr ?? null,
    side: sideOf(said),
  };
}

function pictureOf(said) {
  return {
    kind: "done",
    number: said.image_index ?? 0,
    blob: said.b64_json ? blobOf(said) : null, // the very bytes, with their credentials
    seed: said.seed ?? null,
    flagged: said.flagged ?? null,
    side: sideOf(said),
    notes: said.notes ?? [],
  };
}

const sideOf = ({ size }) => Number.parseInt(size ?? "", 10) || null;

function blobOf({ b64_json: text, output_format: format }) {
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: `image/${format ?? "png"}` });
}

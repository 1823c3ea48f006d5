// What was drawn, kept in this browser alone (IndexedDB): pictures, settings, and how they came about.

const NAME = "openimagen";
const STORE = "sets";
const MOST = 60; // sets
const MOST_BYTES = 300e6;
const FRAME_SIDE = 256; // frames of the strip are kept no larger

let opening;

// The database; where the browser bars one, null, and nothing is kept.
function database() {
  opening ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
      request.onsuccess = () => resolve(request.result);
      request.onerror = request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return opening;
}

async function work(mode, act) {
  const open = await database();
  if (!open) return undefined;
  return new Promise((resolve, reject) => {
    const transaction = open.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

// All that is kept, newest first.
export async function all() {
  return ((await work("readonly", (store) => store.getAll())) ?? []).reverse();
}

export const remove = (id) => work("readwrite", (store) => store.delete(id));

export const clear = () => work("readwrite", (store) => store.clear());

// Keeps a set; the oldest make room. Resolves to false where there is none.
export async function keep(set) {
  const kept = { ...set, when: Date.now(), pictures: await Promise.all(set.pictures.map(slim)) };
  kept.commission = { path: set.commission.path, fields: set.commission.fields, files: set.commission.files };
  kept.bytes = sizeOf(kept);
  for (let tries = 0; tries < MOST; tries += 1) {
    try {
      await work("readwrite", (store) => store.put(kept));
      await bound();
      return Boolean(await database());
    } catch (error) {
      if (error?.name !== "QuotaExceededError" || !(await dropOldest())) return false;
    }
  }
  return false;
}

async function bound() {
  let [count, bytes] = [0, 0];
  for (const { id, bytes: size } of await all()) {
    count += 1;
    bytes += size;
    if (count > MOST || (count > 1 && bytes > MOST_BYTES)) await remove(id);
  }
}

async function dropOldest() {
  const oldest = (await all()).at(-1);
  if (oldest) await remove(oldest.id);
  return Boolean(oldest);
}

function sizeOf({ pictures, commission }) {
  const blobs = pictures.flatMap(({ blob, frames }) => [blob, ...frames.map((frame) => frame.blob)]);
  return [...blobs, ...Object.values(commission.files)].reduce((sum, blob) => sum + (blob?.size ?? 0), 0);
}

// The picture as the server sent it, with a thumb; its frames made small.
async function slim(picture) {
  const frames = await Promise.all(picture.frames.map(async (frame) => ({ ...frame, blob: await shrunk(frame.blob) })));
  return { ...picture, frames, thumb: picture.blob && (await shrunk(picture.blob)) };
}

async function shrunk(blob) {
  const bitmap = await createImageBitmap(blob);
  const scale = FRAME_SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return bitmap.close(), blob;
  const [width, height] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/webp", quality: 0.9 });
}

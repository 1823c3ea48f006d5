// Addresses of pictures that are held here; one each, given back when the picture goes.

const PATIENCE = 60_000; // ms

const known = new WeakMap();

export function urlOf(blob) {
  if (!known.has(blob)) known.set(blob, URL.createObjectURL(blob));
  return known.get(blob);
}

// Not at once: an image that was just shown may still be loading.
export function forget(blob) {
  const url = known.get(blob);
  if (url) setTimeout(() => URL.revokeObjectURL(url), PATIENCE);
  known.delete(blob);
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = urlOf(blob);
  link.download = name;
  link.click();
}

// Addresses of pictures that are held here; one each, given back when the picture goes.

const known = new WeakMap();

export function urlOf(blob) {
  if (!known.has(blob)) known.set(blob, URL.createObjectURL(blob));
  return known.get(blob);
}

export function forget(blob) {
  if (known.has(blob)) URL.revokeObjectURL(known.get(blob));
  known.delete(blob);
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = urlOf(blob);
  link.download = name;
  link.click();
}

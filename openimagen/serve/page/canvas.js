// Pictures on canvases: a file's pixels in the size and shape that is wanted, on white.

// The whole picture, its longer side in so many pixels.
export async function fitted(blob, side) {
  const bitmap = await createImageBitmap(blob);
  const scale = side / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
  return painted(bitmap, [0, 0, bitmap.width, bitmap.height], width, height);
}

// Its middle square, in so many pixels.
export async function squared(blob, side) {
  const bitmap = await createImageBitmap(blob);
  const cut = Math.min(bitmap.width, bitmap.height);
  return painted(bitmap, [(bitmap.width - cut) / 2, (bitmap.height - cut) / 2, cut, cut], side, side);
}

function painted(bitmap, cut, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, ...cut, 0, 0, width, height);
  bitmap.close();
  return canvas;
}

export const png = (canvas) => canvas.convertToBlob({ type: "image/png" });

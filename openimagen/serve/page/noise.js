// The forward process: z = sqrt(1 - sigma²) x + sigma eps, with pixels in [-1, 1].

// A small generator of its own, so that a seed gives the same noise in every browser (sfc32).
function uniform(seed) {
  let [a, b, c, d] = [seed | 0, 0x9e3779b9, 0x243f6a88, 1];
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return ((t >>> 0) + 0.5) / 2 ** 32; // never 0
  };
  for (let turn = 0; turn < 12; turn += 1) next();
  return next;
}

// `count` numbers of a standard normal distribution, the same for the same seed (Box-Muller).
export function gaussian(seed, count) {
  const next = uniform(seed);
  const numbers = new Float32Array(count);
  for (let place = 0; place < count; place += 2) {
    const radius = Math.sqrt(-2 * Math.log(next()));
    const angle = 2 * Math.PI * next();
    numbers[place] = radius * Math.cos(angle);
    if (place + 1 < count) numbers[place + 1] = radius * Math.sin(angle);
  }
  return numbers;
}

export const alphaOf = (sigma) => Math.sqrt(1 - sigma * sigma);

// The API's word for it, a time of the cosine schedule: sigma = sin(pi/2 strength).
export const strengthOf = (sigma) => Number((2 / Math.PI * Math.asin(sigma)).toFixed(4));

export const logSnrOf = (sigma) => Math.log((1 - sigma * sigma) / (sigma * sigma));

// Picture and noise, mixed.
export function dissolve(x, eps, sigma) {
  const alpha = alphaOf(sigma);
  return x.map((value, place) => alpha * value + sigma * eps[place]);
}

// Pixels [side side 3] in [-1, 1] onto a canvas; what is beyond is cut.
export function paint(canvas, pixels) {
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    for (let colour = 0; colour < 3; colour += 1) image.data[to + colour] = Math.round(127.5 * (pixels[from + colour] + 1));
    image.data[to + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}

// And back: a canvas's pixels in [-1, 1].
export function pixelsOf(canvas) {
  const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Float32Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    for (let colour = 0; colour < 3; colour += 1) pixels[to + colour] = data[from + colour] / 127.5 - 1;
  }
  return pixels;
}

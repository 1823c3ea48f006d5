// The mask brush: strokes over a picture, kept in a list so that they can be undone.

const AREAS = {
  top: [[0, 0, 1, 0.5]], bottom: [[0, 0.5, 1, 0.5]], left: [[0, 0, 0.5, 1]], right: [[0.5, 0, 0.5, 1]],
  middle: [[0.25, 0.25, 0.5, 0.5]],
  around: [[0, 0, 1, 0.25], [0, 0.75, 1, 0.25], [0, 0, 0.25, 1], [0.75, 0, 0.25, 1]],
};

const HALF = 127; // of opaque: from there on a pixel is painted

export class Mask {
  // `changed()`: after every stroke.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d", { willReadFrequently: true });
    this.changed = changed;
    this.stripes = this.pen.createPattern(stripes(), "repeat");
    this.strokes = []; // {size, erases, points} or {area}
    this.size = 120;
    this.erases = false;
  }

  get isEmpty() {
    return this.strokes.length === 0 || !this.pen.getImageData(0, 0, this.canvas.width, this.canvas.height).data.some((value, place) => place % 4 === 3 && value > HALF);
  }

  begin(point) {
    this.strokes.push({ size: this.size, erases: this.erases, points: [point] });
    this.#draw(this.strokes.at(-1));
  }

  // The stroke goes on to here.
  go(point) {
    const stroke = this.strokes.at(-1);
    stroke.points.push(point);
    this.#draw({ ...stroke, points: stroke.points.slice(-2) });
  }

  end() {
    this.changed();
  }

  fill(area) {
    this.strokes.push({ area });
    this.#draw(this.strokes.at(-1));
    this.changed();
  }

  undo() {
    this.strokes.pop();
    this.#redraw();
  }

  clear() {
    this.strokes = [];
    this.#redraw();
  }

  restore(strokes) {
    this.strokes = structuredClone(strokes);
    this.#redraw();
  }

  #redraw() {
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const stroke of this.strokes) this.#draw(stroke);
    this.changed();
  }

  #draw({ area, size, erases, points }) {
    const pen = this.pen;
    pen.fillStyle = pen.strokeStyle = this.stripes;
    pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
    if (area) {
      const { width, height } = this.canvas;
      for (const [x, y, w, h] of AREAS[area]) pen.fillRect(x * width, y * height, w * width, h * height);
      return;
    }
    pen.beginPath();
    pen.arc(...points[0], size / 2, 0, 2 * Math.PI); // a line of no length is not drawn
    pen.fill();
    pen.lineWidth = size;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (const point of points) pen.lineTo(...point);
    pen.stroke();
  }

  // As the API wants it: opaque, but where to draw anew.
  async blob(width, height) {
    const canvas = new OffscreenCanvas(width, height);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(this.canvas, 0, 0, width, height);
    const image = pen.getImageData(0, 0, width, height);
    for (let place = 0; place < image.data.length; place += 4) {
      const painted = image.data[place + 3] > HALF;
      image.data.fill(255, place, place + 3);
      image.data[place + 3] = painted ? 0 : 255;
    }
    pen.putImageData(image, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  }
}

// Light and dark in turn, so that the mask is seen on any picture.
function stripes(width = 28) {
  const canvas = new OffscreenCanvas(width, width);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, width);
  pen.fillStyle = "#26211d";
  for (let y = 0; y < width; y += 1) {
    for (let x = 0; x < width; x += 1) if ((x + y) % width < width / 2) pen.fillRect(x, y, 1, 1);
  }
  return canvas;
}

// The model that draws: its stages, smallest picture first, and what can be asked of it.

const PLAIN = { 64: "Small", 256: "Medium", 1024: "Large" };

export class Model {
  constructor({ id, stages = [], samplers = [], styles = [] }) {
    this.id = id;
    this.stages = stages; // {name, side, steps, guidance}
    this.samplers = samplers;
    this.styles = styles.map(styleOf);
  }

  get sides() {
    return this.stages.map(({ side }) => side);
  }

  get largest() {
    return this.sides.at(-1);
  }

  // Pairs of value and label, for a select; largest first.
  get sizes() {
    return this.sides.map((side) => [side, PLAIN[side] ? `${PLAIN[side]} · ${side}` : `${side}`]).reverse();
  }

  // The stages that lead to pictures of this side.
  upTo(side) {
    return this.stages.filter((stage) => stage.side <= side);
  }

  // How often the networks are called for a picture of this side.
  calls(side, firstSteps) {
    return this.upTo(side).reduce((sum, { steps }, place) => sum + (place ? steps : (firstSteps ?? steps)), 0);
  }

  // The smallest of its sides that holds so many pixels, the largest if none does.
  sideFor(pixels) {
    return this.sides.find((side) => side >= pixels) ?? this.largest;
  }
}

// A chip's label, and the words that it puts behind a prompt.
function styleOf(style) {
  const name = typeof style === "string" ? style : (style.name ?? style.id);
  const words = (style.words ?? name).replace(/^in /, "");
  const full = /\bstyle$/.test(words) ? words : `${words} style`;
  return { label: words.replace(/ style$/, ""), words: `in ${full}` };
}

// The noise-to-image strip: what the network made out at each call, from noise to picture.

import { find, make } from "./dom.js";
import { see } from "./tile.js";

const list = find("strip-frames");

// `onSee(blob)`: a frame is looked at.
export function fillStrip({ frames, blob }, stages, onSee) {
  const steps = [...frames.map((frame) => ({ ...frame, words: wordsOf(frame, stages) })), { blob, words: "The finished picture." }];
  find("sheet-strip").hidden = frames.length === 0;
  list.replaceChildren(...steps.map((step, number) => {
    const image = make("img", { alt: "", draggable: "false" });
    see(image, step.blob);
    const last = number === steps.length - 1;
    const frame = make("button", {
      type: "button", className: "frame", tabindex: last ? "0" : "-1", "aria-pressed": last, "aria-label": step.words,
      on: { click: () => choose(number), focus: () => choose(number) },
    }, image);
    return make("li", {}, frame, make("span", { text: last ? "done" : labelOf(step, stages) }));
  }));
  find("strip-words").textContent = "Walk along the strip to see how it came about.";

  function choose(number) {
    for (const [place, frame] of [...list.querySelectorAll(".frame")].entries()) {
      frame.setAttribute("aria-pressed", place === number);
      frame.tabIndex = place === number ? 0 : -1;
    }
    find("strip-words").textContent = steps[number].words;
    onSee(steps[number].blob);
  }
}

// The calls of a stage count; one that has only one is known by its side.
const labelOf = ({ stage, call, calls }, stages) => (calls > 1 ? `${call}` : `${stages.find(({ name }) => name === stage)?.side ?? call}`);

function wordsOf({ stage, call, calls, logSnr }, stages) {
  const side = stages.find(({ name }) => name === stage)?.side;
  const where = side ? `${stage}, ${side} × ${side}` : stage;
  const clear = logSnr === null ? "" : `, log-SNR ${logSnr.toFixed(1)}`;
  return `${where}: call ${call} of ${calls}${clear}`;
}

list.addEventListener("keydown", (event) => {
  const frames = [...list.querySelectorAll(".frame")];
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const goal = by && frames[frames.indexOf(document.activeElement) + by];
  if (!goal) return;
  event.preventDefault();
  goal.focus();
});

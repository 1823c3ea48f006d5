// What is on the screen. Text is always set as text, never as markup.

const find = (id) => document.getElementById(id);

function make(tag, { className, text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const LETTERS = ["A", "B"];

export function title(text) {
  find("title").textContent = text;
  document.title = text;
}

export function progress(done, total, canUndo) {
  find("bar").max = total;
  find("bar").value = done;
  find("count").textContent = `${done} / ${total}`;
  find("undo").disabled = !canUndo;
}

// A page of words, with one button at most.
export function message(heading, paragraphs, button) {
  find("task").hidden = find("ask").hidden = true;
  find("message").hidden = false;
  find("message-title").textContent = heading;
  find("message-body").replaceChildren(
    ...paragraphs.map((words) =>
      Array.isArray(words)
        ? make("ul", {}, ...words.map(listed))
        : make("p", {}, ...keyed(words)),
    ),
  );
  const element = find("message-button");
  element.hidden = !button;
  if (button) {
    element.textContent = button.label;
    element.onclick = button.press;
    element.focus({ preventScroll: true });
  }
}

// What tells of keys is hidden where there are none.
function listed(words) {
  return make("li", { className: words.includes("[") ? "keys" : "" }, ...keyed(words));
}

// `[1] or [U]` -> words with keys in them.
function keyed(words) {
  return words.split(/\[(.+?)\]/).map((part, number) =>
    number % 2 ? make("kbd", { text: part }) : part,
  );
}

export function notice(text) {
  find("notice").hidden = !text;
  find("notice").textContent = text ?? "";
}

// No pictures under the next page's question.
export function clear() {
  find("message").hidden = true;
  find("task").hidden = find("ask").hidden = false;
  find("text").hidden = true;
  find("sets").replaceChildren();
}

// Shows the sets of a page; resolves when all pictures can be seen, rejects if one cannot.
export async function pictures({ text, sets }, onZoom) {
  find("text").hidden = text === null;
  find("text").textContent = text ?? "";
  const names = sets.map((set, side) => set.map((address, number) => ({
    address, name: pictureName(sets, side, number),
  })));
  const all = names.flat();
  const images = all.map(({ address, name }) => make("img", { src: address, alt: name, draggable: "false" }));
  const tiles = images.map((image, place) => {
    const tile = make("button", {
      className: "tile", type: "button", "aria-label": `${all[place].name}: show in full`,
    }, image);
    tile.addEventListener("click", () => onZoom(all, place));
    return tile;
  });
  const panels = sets.map((set, side) => make("section", {
    className: "set", "data-count": set.length, "data-side": ["left", "right"][side],
    "aria-label": sets.length > 1 ? LETTERS[side] : "Picture",
  },
  ...(sets.length > 1 ? [make("h2", { text: LETTERS[side] })] : []),
  make("div", { className: "grid" }, ...tiles.splice(0, set.length))));
  find("sets").dataset.sets = sets.length;
  find("sets").replaceChildren(...panels);
  window.scrollTo(0, 0);
  await Promise.all(images.map((image) => image.decode()));
}

function pictureName(sets, side, number) {
  const place = sets[side].length > 1 ? `${number + 1} of ${sets[side].length}` : "";
  return [sets.length > 1 ? LETTERS[side] : "Picture", place].filter(Boolean).join(", ");
}

const KEYS = { 2: ["1", "2"], 3: ["1", "2", "3"] };

// The question and its choices; `given` is marked as the answer so far.
export function ask({ text, choices }, { number, of, answer }, onChoice) {
  find("step").textContent = of > 1 ? `${number} of ${of}` : "";
  find("step").hidden = of === 1;
  find("question").textContent = text;
  find("choices").replaceChildren(...choices.map(({ value, label }, place) => {
    const button = make("button", {
      className: "choice", type: "button", "data-answer": value, "aria-pressed": value === answer,
    }, make("span", { text: label }), make("kbd", { text: KEYS[choices.length][place] }));
    button.addEventListener("click", () => onChoice(value));
    for (const [event, on] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]])
      button.addEventListener(event, () => point(value, on));
    return button;
  }));
}

// Lifts the set that an answer is about.
function point(side, on) {
  document.querySelector(`.set[data-side="${side}"]`)?.classList.toggle("meant", on);
}

export function enable(on) {
  for (const button of document.querySelectorAll(".choice")) button.disabled = !on;
}

export function press(value) {
  for (const button of document.querySelectorAll(".choice"))
    button.setAttribute("aria-pressed", button.dataset.answer === value);
}

export function preload(sets) {
  for (const address of sets.flat()) new Image().src = address;
}

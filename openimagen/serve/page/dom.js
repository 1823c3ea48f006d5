// Elements, found and made. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

export function make(tag, { className, text, on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  for (const [event, react] of Object.entries(on)) element.addEventListener(event, react);
  element.append(...children);
  return element;
}

// One of the symbols at the head of index.html.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function button(label, symbol, press, attributes = {}) {
  const inside = [symbol ? icon(symbol) : "", make("span", { text: label })];
  return make("button", { type: "button", className: "pill", ...attributes, on: { click: press } }, ...inside);
}

// The options of a select: [value, label] pairs, or values alone.
export function choices(select, options, chosen) {
  select.replaceChildren(
    ...options.map((option) => {
      const [value, label] = Array.isArray(option) ? option : [option, option];
      return make("option", { value, text: label, selected: String(value) === String(chosen) });
    }),
  );
}

export function isTyping(element = document.activeElement) {
  if (element?.tagName === "INPUT") return !["range", "checkbox", "radio", "file"].includes(element.type);
  return ["TEXTAREA", "SELECT"].includes(element?.tagName);
}

let fade;

// A word at the foot of the page that goes away by itself.
export function toast(text) {
  clearTimeout(fade);
  find("toast").textContent = text;
  find("toast").classList.add("seen");
  fade = setTimeout(() => find("toast").classList.remove("seen"), 3200);
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export const pause = (time, signal) =>
  new Promise((resume, stop) => {
    const timer = setTimeout(resume, time);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(signal.reason);
    }, { once: true });
  });

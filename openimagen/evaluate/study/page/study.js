// A rater's way through the study: welcome, page after page, thanks.

import * as api from "./api.js";
import * as view from "./view.js";
import * as zoom from "./zoom.js";
import { Walk } from "./walk.js";

const FLASH = 140; // ms that the chosen answer is seen before the next question
const WAITING = "The server does not answer. Your answer is kept and sent again…";

let study, walk;
let shown; // the key of the page on screen, once its pictures are there
let open = false; // to an answer

const pages = new Map(); // key -> promise of a page
const onWait = (waiting) => view.notice(waiting ? WAITING : null);

function fetchPage(key) {
  if (!pages.has(key)) pages.set(key, api.page(key, onWait));
  return pages.get(key);
}

async function start() {
  open = false;
  pages.clear();
  shown = undefined;
  if (!location.hash.slice(1)) {
    return view.message("You need an invitation", ["Open the link that you were sent; it ends in a key of your own."]);
  }
  study = await api.session((waiting) => waiting && view.message("The server does not answer", ["Trying again…"]));
  walk = new Walk(study.pages);
  view.title(study.title);
  view.progress(walk.done, walk.total, walk.canUndo);
  if (walk.done === walk.total) return thanks();
  welcome();
}

function welcome() {
  const drawbench = study.kind === "drawbench";
  view.message(walk.done ? `Welcome back, ${study.rater}` : `Welcome, ${study.rater}`, [
    drawbench
      ? "You will see a text and two sets of pictures made from it, A and B. Two questions are asked about each: which set is of higher quality, and which represents the text better."
      : "First you will see two pictures, A and B, and say which looks more real. Then you will see pictures with a caption, and say how well it describes them.",
    [
      `There are ${walk.total} questions. Stop when you like: the same link goes on where you left off.`,
      "Judge by your own eyes. There is no right or wrong taste.",
      "Open a picture to see it in full.",
      drawbench
        ? "Keys: [1] for A, [2] for indifferent, [3] for B, [U] to undo, [Z] to see in full."
        : "Keys: [1] [2] [3] for the answers from the left, [U] to undo, [Z] to see in full.",
    ],
  ], { label: walk.done ? "Go on" : "Start", press: show });
}

function thanks() {
  open = false;
  shown = undefined;
  view.message("Thank you, that is all", [
    `All ${walk.total} answers are saved. You can close this page.`,
    "To change the last answer, press Undo.",
  ]);
}

async function show() {
  open = false;
  view.notice(null);
  view.progress(walk.done, walk.total, walk.canUndo);
  const step = walk.step;
  if (!step) return thanks();
  view.ask(study.questions[step.question], step, answer);
  view.enable(false);
  if (shown !== step.key && !(await showPictures(step.key))) return;
  if (walk.step !== step) return; // undone meanwhile
  view.enable(true);
  open = true;
  if (walk.nextKey) fetchPage(walk.nextKey).then(({ sets }) => view.preload(sets), () => {});
}

async function showPictures(key) {
  view.clear();
  const page = await fetchPage(key);
  if (walk.step?.key !== key) return false;
  try {
    await view.pictures(page, zoom.open);
  } catch {
    if (walk.step?.key !== key) return false;
    view.message("A picture did not load", ["Your answers so far are saved."], { label: "Try again", press: guarded(show) });
    return false;
  }
  shown = key;
  return true;
}

async function answer(value) {
  if (!open) return;
  open = false;
  const { key, question } = walk.step;
  view.press(value);
  view.enable(false);
  await Promise.all([api.vote(key, question, value, onWait), pause(FLASH)]);
  walk.answer(value);
  await show();
}

async function undo() {
  if (!walk?.canUndo || (walk.step && !open && shown === walk.step.key)) return;
  walk.undo();
  await show();
}

const pause = (time) => new Promise((resume) => setTimeout(resume, time));

function guarded(work) {
  return (...words) => Promise.resolve(work(...words)).catch((error) => {
    open = false;
    shown = undefined;
    const gone = error.status === 401;
    view.message(
      gone ? "This invitation is not valid" : "Something went wrong",
      [gone ? "Ask whoever invited you for a new link. Answers given so far are kept." : error.message],
      gone ? undefined : { label: "Try again", press: guarded(start) },
    );
  });
}

const ARROWS = { ArrowLeft: 0, ArrowDown: 1, ArrowRight: -1 };

function choiceOf(key) {
  const { choices } = study.questions[walk.step.question];
  if (key in ARROWS) return choices.length === 2 && key === "ArrowDown" ? undefined : choices.at(ARROWS[key]);
  return /^[1-9]$/.test(key) ? choices[Number(key) - 1] : undefined;
}

function onKey(event) {
  const { key, repeat, ctrlKey, metaKey, altKey } = event;
  if (zoom.isOpen()) {
    if (key === "ArrowLeft" || key === "ArrowRight") zoom.step(key === "ArrowLeft" ? -1 : 1);
    else if (key.toLowerCase() === "z") zoom.close();
    return;
  }
  const undoes = (ctrlKey || metaKey) && key.toLowerCase() === "z";
  if (!undoes && (ctrlKey || metaKey || altKey || repeat)) return;
  if (undoes || key === "Backspace" || key.toLowerCase() === "u") return act(event, undo);
  if (!open) return;
  if (key.toLowerCase() === "z") return act(event, () => document.querySelector(".tile")?.click());
  const choice = choiceOf(key);
  if (choice) act(event, () => answer(choice.value));
}

function act(event, work) {
  event.preventDefault();
  guarded(work)();
}

document.addEventListener("keydown", onKey);
document.getElementById("undo").addEventListener("click", guarded(undo));
window.addEventListener("hashchange", guarded(start));
guarded(start)();

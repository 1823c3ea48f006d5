// The server, and what it says when it cannot help, in plain words.

const KEPT = "openimagen.key";
const AWAY = "The server does not answer. Is `openimagen serve` still running?";
const BROKEN = "Something broke on the server. That was not your fault: try once more.";

// kind: away | busy | refused | key | wrong | broken
export class Trouble extends Error {
  constructor(kind, message, wait = null) {
    super(message);
    this.kind = kind;
    this.wait = wait; // seconds until it is worth another try
  }
}

let key = sessionStorage.getItem(KEPT);
let askForKey = async () => null;
let asking = null; // one dialog for all that wait

export const hasKey = () => key !== null;

// What to do when the server wants a key, or refused one: resolves to one, or to null.
export function onKeyWanted(ask) {
  askForKey = ask;
}

async function newKey(refused) {
  asking ??= askForKey(refused).finally(() => (asking = null));
  const given = await asking;
  if (given) sessionStorage.setItem(KEPT, (key = given));
  return Boolean(given);
}

// An answer that is well, or a Trouble.
export async function ask(path, { method = "GET", json, form, signal } = {}) {
  for (;;) {
    const used = key;
    const answer = await send(path, { method, json, form, signal });
    if (answer.ok) return answer;
    const said = await wordsOf(answer);
    if (answer.status !== 401) throw troubleOf(answer, said);
    if (used === key && !(await newKey(used !== null))) {
      throw new Trouble("key", "This server draws for those who have a key.");
    }
  }
}

async function send(path, { method, json, form, signal }) {
  const headers = { accept: "application/json, text/event-stream" };
  if (key) headers.authorization = `Bearer ${key}`;
  if (json) headers["content-type"] = "application/json";
  try {
    return await fetch(path, { method, headers, body: json ? JSON.stringify(json) : form, signal });
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new Trouble("away", AWAY, 3);
  }
}

async function wordsOf(answer) {
  try {
    return (await answer.json()).error ?? {};
  } catch {
    return {};
  }
}

function troubleOf(answer, { message, code }) {
  const wait = Number(answer.headers.get("retry-after")) || 5;
  if (answer.status === 429) return new Trouble("busy", message ?? "The studio is busy.", wait);
  if (answer.status === 503) return new Trouble("busy", "The server is not ready yet.", wait);
  if (answer.status >= 500) return new Trouble("broken", BROKEN);
  if (answer.status === 413 && !message) return new Trouble("wrong", "This file is too large for the server.");
  return troubleSaid({ message, code });
}

// A trouble that came inside an answer that began well.
export function troubleSaid({ message, code, type } = {}) {
  if (code === "content_policy_violation") return new Trouble("refused", message || "The server does not say why.");
  if (type === "server_error" || !message) return new Trouble("broken", message ?? BROKEN);
  return new Trouble("wrong", message);
}

export const models = async () => (await (await ask("v1/models")).json()).data;

export async function isThere() {
  try {
    return (await fetch("readyz")).ok;
  } catch {
    return false;
  }
}

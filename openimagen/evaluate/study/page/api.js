// The server, asked in the name of the invitation in the address (its fragment never leaves here).

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const LONGEST_WAIT = 10_000; // ms between two tries

async function ask(path, options = {}) {
  const token = location.hash.slice(1);
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer.json();
  if (answer.status >= 500) throw new Error(`the server says ${answer.status}`);
  const { error } = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, error ?? `the server says ${answer.status}`);
}

// Asks until there is an answer: a server that is away comes back, and nothing is lost.
async function insist(path, options, onWait) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      const answer = await ask(path, options);
      onWait(false);
      return answer;
    } catch (error) {
      if (error instanceof Refused) throw error;
      onWait(true);
      await new Promise((resume) => setTimeout(resume, wait));
    }
  }
}

export const session = (onWait) => insist("api/session", {}, onWait);

export const page = (key, onWait) => insist(`api/pages/${key}`, {}, onWait);

export const vote = (key, question, answer, onWait) =>
  insist(
    `api/pages/${key}/${question}`,
    {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ answer }),
    },
    onWait,
  );

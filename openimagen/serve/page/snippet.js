// A commission as others would send it: with curl, or with the openai client.

import { hasKey } from "./server.js";
import { ending } from "./commission.js";

const KNOWN = {
  generate: ["prompt", "model", "n", "size", "output_format", "background"],
  edit: ["prompt", "model", "n", "size", "output_format", "background"],
};

export function curl({ path, fields, files }) {
  const named = Object.keys(files).length > 0;
  const lines = [`curl ${quoted(addressOf(path))}`];
  if (hasKey()) lines.push('-H "authorization: Bearer $OPENIMAGEN_API_KEY"');
  if (named) {
    for (const [name, file] of Object.entries(files)) lines.push(`-F ${name}=@${name}.${ending(file.type)}`);
    for (const [name, value] of Object.entries(fields)) {
      for (const one of [value].flat()) lines.push(`--form-string ${quoted(`${name}=${one}`)}`);
    }
  } else {
    lines.push("-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(fields, null, 2))}`);
  }
  return `${lines.join(" \\\n  ")} |\n  jq -r '.data[0].b64_json' | base64 --decode > picture.${fields.output_format ?? "png"}\n`;
}

export function python({ path, fields, files }) {
  const key = hasKey() ? 'os.environ["OPENIMAGEN_API_KEY"]' : '"none"';
  const call = path.endsWith("generations") ? "generate" : path.endsWith("edits") ? "edit" : null;
  return [
    "import base64",
    ...(hasKey() ? ["import os"] : []),
    "",
    "from openai import OpenAI",
    ...(call ? [] : ["from openai.types import ImagesResponse"]),
    "",
    `client = OpenAI(base_url=${literal(addressOf("v1"))}, api_key=${key})`,
    ...(call ? known(call, fields, files) : posted(path, fields, files)),
    "for number, image in enumerate(answer.data):",
    `    with open(f"picture-{number}.${fields.output_format ?? "png"}", "wb") as file:`,
    "        file.write(base64.b64decode(image.b64_json))",
    "",
  ].join("\n");
}

function known(call, fields, files) {
  const words = Object.entries(fields).filter(([name]) => KNOWN[call].includes(name));
  const extra = Object.entries(fields).filter(([name]) => !KNOWN[call].includes(name));
  return [
    `answer = client.images.${call}(`,
    ...Object.entries(files).map(([name, file]) => `    ${name}=open("${name}.${ending(file.type)}", "rb"),`),
    ...words.map(([name, value]) => `    ${name}=${literal(value)},`),
    ...(extra.length ? [`    extra_body=${literal(Object.fromEntries(extra))},`] : []),
    ")",
  ];
}

function posted(path, fields, files) {
  return [
    "answer = client.post(",
    `    ${literal(path.replace(/^v1/, ""))},`,
    "    cast_to=ImagesResponse,",
    `    body=${literal(fields)},`,
    `    files={${Object.entries(files).map(([name, file]) => `"${name}": open("${name}.${ending(file.type)}", "rb")`).join(", ")}},`,
    '    options={"headers": {"content-type": "multipart/form-data"}},',
    ")",
  ];
}

const addressOf = (path) => new URL(path, document.baseURI.split("#")[0]).href;

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${literal(name)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/**
 * Says what a dropped file or pasted text is, by its content and never by its name, and if it is
 * nothing that is known here, what it looks like and what is expected instead.
 *
 * Whether a part is right is not decided here: the verifier refuses what is malformed.
 */

import { readCurlHead } from "./curl.js";

export const OCTETS_MAX = 40 * 1_048_576;

/** What each kind is called. */
export const KINDS = {
  exchange: "Saved exchange",
  head: "Response headers",
  response: "Response body",
  request: "Request body",
  record: "Provenance record",
  graph: "Provenance graph",
  jwks: "Key set",
  keyring: "Key ring",
  proof: "Ledger proof",
  logkey: "Log key",
  policy: "Witness policy",
};

export const EXPECTED =
  "Expected is a saved exchange (verismo verify --save), what curl -D and -o wrote, a provenance " +
  "record or graph, a .tlog-proof, a key set, a key ring, a log key or a witness policy.";

/** Members of a JSON body that only a request has. */
const ASKING = ["messages", "input", "query", "documentId", "question"];

/** A text or file that cannot be used, and what was expected. */
export class PartRefused extends Error {}

/**
 * Recognises one file or text.
 *
 * @param {string} name what to call it.
 * @param {Uint8Array} octets
 * @param {boolean} bodyWanted whether response headers wait for a body; then anything else is one.
 * @returns {Array<{kind: string, name: string, octets: Uint8Array, value: object|null}>} one part,
 *   or two for what `curl -i` wrote. `value` is what was parsed of it, for kinds that need it here.
 * @throws {PartRefused} empty, too large or nothing that is known.
 */
export function recognise(name, octets, bodyWanted) {
  if (octets.length === 0) {
    throw new PartRefused(`${name} is empty. ${EXPECTED}`);
  }
  if (octets.length > OCTETS_MAX) {
    throw new PartRefused(`${name} is larger than 40 MiB, more than this page takes.`);
  }
  const text = new TextDecoder().decode(octets);
  const part = (kind, value = null) => [{ kind, name, octets, value }];
  if (text.startsWith("HTTP/")) {
    return readHead(name, octets, text);
  }
  if (text.startsWith("c2sp.org/tlog-proof@v1\n")) {
    return part("proof");
  }
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (lines.length === 1 && /^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+$/.test(lines[0])) {
    return part("logkey", lines[0]);
  }
  const rules = lines.filter((line) => !line.startsWith("#"));
  if (rules.length > 0 && rules.every((line) => /^(log|witness|group|quorum)\s/.test(line))) {
    return part("policy");
  }
  const value = parseObject(text);
  const kind = value === null ? "" : kindOfObject(value);
  if (kind !== "") {
    return part(kind, value);
  }
  if (bodyWanted) {
    return part(
      value !== null && ASKING.some((name) => Object.hasOwn(value, name)) ? "request" : "response",
    );
  }
  throw new PartRefused(`${name} ${looksLike(text, value)} ${EXPECTED}`);
}

/**
 * Tells two bodies that were given together apart: the answer is as long as its headers say.
 *
 * @param {Array<{kind: string, octets: Uint8Array, value: object|null}>} parts their kinds are
 *   changed in place, unless exactly one of two bodies fits.
 */
export function tellBodiesApart(parts) {
  const heads = parts.filter((part) => part.kind === "head");
  const bodies = parts.filter(({ kind }) => kind === "response" || kind === "request");
  if (heads.length !== 1 || bodies.length !== 2) {
    return;
  }
  const said = heads[0].value.headers.find(([name]) => name.toLowerCase() === "content-length");
  const fits = bodies.filter((part) => said !== undefined && Number(said[1]) === part.octets.length);
  if (fits.length === 1) {
    bodies.forEach((part) => {
      part.kind = part === fits[0] ? "response" : "request";
    });
  }
}

function readHead(name, octets, text) {
  const read = readCurlHead(octets);
  if (read.problem !== "") {
    throw new PartRefused(`${name}: ${read.problem}`);
  }
  const head = {
    kind: "head",
    name,
    octets,
    value: { status: read.status, headers: read.headers },
  };
  const body = octets.subarray(read.end);
  return body.length === 0 ? [head] : [head, { kind: "response", name, octets: body, value: null }];
}

function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError) {
      return null;
    }
    throw error;
  }
}

function kindOfObject(value) {
  const has = (...names) => names.every((name) => Object.hasOwn(value, name));
  if (has("v", "response")) {
    return "exchange";
  }
  if (has("statement", "signature", "graph")) {
    return "record";
  }
  if (has("nodes", "prov_id")) {
    return "graph";
  }
  if (has("keys") && Array.isArray(value.keys)) {
    return "jwks";
  }
  return has("v", "versions") ? "keyring" : "";
}

/** Says what a refused text looks like, so that its owner sees what went wrong. */
function looksLike(text, value) {
  if (value === null) {
    const start = text.trimStart();
    if (start.startsWith("{") || start.startsWith("[")) {
      return "begins like JSON but is none; it may have been cut.";
    }
    if (/^\s*<(!doctype|html|\?xml)/i.test(text)) {
      return "is a web page or XML, perhaps an error page instead of the file.";
    }
    return /^(data|event|id|:)/.test(start)
      ? "looks like the events of a stream. Give the response headers first (curl -D)."
      : "is none of the kinds of file that are read here.";
  }
  if (Object.hasOwn(value, "error")) {
    return "is an error that a server answered, not a proof.";
  }
  if (Object.hasOwn(value, "choices") || Object.hasOwn(value, "data")) {
    return "is the body of an answer. Its proof came in the response headers: give them first (curl -D).";
  }
  const names = Object.keys(value).slice(0, 4).join(", ");
  return names === "" ? "is an empty JSON object." : `is JSON with the members ${names}.`;
}

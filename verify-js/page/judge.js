/**
 * Puts what was given together and has the verifier judge it: an answer with its headers, or else a
 * record alone, by the keys that the page's user named, or else by those that came along.
 */

import {
  Refused,
  readExchange,
  readGraph,
  readRecord,
  verifyExchange,
  verifyRecord,
} from "../verify.js";
import { KINDS } from "./parts.js";
import { answeredWords, askedWords } from "./readable.js";
import { readSteps } from "./steps.js";

const NO_KEYS = '{"keys":[]}';
const TRUSTED = new Set(["given", "ring", "own"]);
const EXPECTED_NAMES = {
  issuer: "the gateway",
  audience: "the tenant handle",
  nonce: "the nonce",
  nowMs: "the time",
  ageMsMax: "the age",
};

/**
 * Judges what was given.
 *
 * @param {Array<object>} parts as `recognise` returns them.
 * @param {{method: string, target: string}} requested how a request's body was sent, which curl
 *   does not keep.
 * @param {object} expected what the user expects; null where nothing was said.
 * @param {boolean} trustsOwn whether the user wrote the exchange himself.
 * @returns {Promise<object>} `report` is null if there is nothing to judge yet; `next` then says
 *   what is missing or wrong. `keys` is one of `given`, `ring`, `own`, `embedded`, `none`.
 */
export async function judge(parts, requested, expected, trustsOwn) {
  const given = new Map(parts.map((part) => [part.kind, part]));
  try {
    const read = readAnswer(given, requested);
    if (read === null) {
      return { report: null, next: whatNext(given) };
    }
    const trust = trustOf(parts, given, read, trustsOwn);
    return await verify(read, trust, expected, given);
  } catch (error) {
    if (error instanceof Refused) {
      return {
        report: null,
        next: `${refusedPart(given, error)} cannot be used: ${error.message}.`,
      };
    }
    throw error;
  }
}

/** Returns the exchange or record that is to be judged; null if there is none. */
function readAnswer(given, requested) {
  const record = given.has("record") ? readRecord(given.get("record").octets) : null;
  const exchange = readGivenExchange(given, requested);
  if (exchange === null) {
    const proof = given.get("proof")?.octets ?? null;
    return record === null ? null : { record, proof, exchange: null, saved: {}, jwks: null };
  }
  const answer = { ...exchange.answer };
  answer.graph = given.get("graph")?.octets ?? record?.graph ?? answer.graph;
  answer.proof = given.get("proof")?.octets ?? answer.proof;
  return {
    record: null,
    exchange: { ...exchange, answer },
    saved: exchange.expected,
    jwks: exchange.jwks,
  };
}

function readGivenExchange(given, requested) {
  if (given.has("exchange")) {
    return readExchange(given.get("exchange").octets);
  }
  if (!given.has("head") || !given.has("response")) {
    return null;
  }
  const { status, headers } = given.get("head").value;
  const [path, ...query] = requested.target.split("?");
  const request = given.has("request")
    ? { method: requested.method, path, query: query.join("?"), body: given.get("request").octets }
    : null;
  const body = given.get("response").octets;
  return {
    answer: { status, headers, body, request, graph: null, proof: null },
    expected: {},
    jwks: null,
  };
}

/** Keys that the user named go before those that came along, which prove nothing by themselves. */
function trustOf(parts, given, { jwks }, trustsOwn) {
  const logKeys = parts.filter((part) => part.kind === "logkey").map((part) => part.value);
  const trust = { logKeys, witnessPolicy: given.get("policy")?.octets ?? null };
  const keyring = given.get("keyring")?.octets ?? null;
  if (given.has("jwks")) {
    return { keys: "given", trust: { ...trust, keyring, jwks: given.get("jwks").octets } };
  }
  if (keyring !== null) {
    return { keys: "ring", trust: { ...trust, keyring } };
  }
  if (jwks !== null) {
    return { keys: trustsOwn ? "own" : "embedded", trust: { ...trust, jwks } };
  }
  return { keys: "none", trust: { ...trust, jwks: NO_KEYS } };
}

async function verify(read, { keys, trust }, expected, given) {
  const { exchange, record, saved } = read;
  const report =
    exchange === null
      ? await verifyRecord(record, trust, expected, read.proof)
      : await verifyExchange(exchange, trust, expected);
  const graphText = exchange === null ? record.graph : exchange.answer.graph;
  const graph = await stepsOf(graphText, report);
  return {
    report,
    // Without keys only what fails before a key is looked for has been found out.
    keys: keys === "none" && !failedOnlyByKey(report) ? "given" : keys,
    content: exchange !== null,
    status: exchange === null ? 0 : exchange.answer.status,
    words: exchange === null ? null : wordsOf(exchange.answer, report, TRUSTED.has(keys)),
    graph,
    reported: graph !== null && graph.steps.some((step) => step.node.attrs.reported === true),
    expectedByFile: Object.entries(EXPECTED_NAMES)
      .filter(([name]) => (saved[name] ?? null) !== null && (expected[name] ?? null) === null)
      .map(([, words]) => words),
    next: "",
    keysOrigin: (given.get("jwks") ?? given.get("keyring"))?.origin ?? "",
  };
}

function failedOnlyByKey(report) {
  return report.checks.every((check) => check.outcome !== "fail" || check.number === 3);
}

/** Returns the graph's steps if it is the signed one; a graph that is not is not shown. */
async function stepsOf(text, report) {
  if (text === null || report.checks[12].outcome !== "pass") {
    return null;
  }
  const { graph, ids } = await readGraph(text);
  return readSteps(graph.nodes, ids);
}

/** Words count as proven only by trusted keys, and if nothing contradicts what was signed. */
function wordsOf({ body, headers, request }, report, trusted) {
  const media = headers.find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "";
  const isStream = media.split(";")[0].trim().toLowerCase() === "text/event-stream";
  const sound = trusted && (report.verdict === "VERIFIED" || report.verdict === "VERIFIED_PREFIX");
  const events = trusted ? report.events : 0;
  return {
    asked: request === null ? "" : askedWords(request.body),
    askedProven: sound && (report.checks[9].outcome === "pass" || isStream),
    answered: answeredWords(body, isStream, isStream ? events : Number(sound)),
    answerOctets: body.length,
  };
}

function whatNext(given) {
  if (given.size === 0) {
    return "";
  }
  if (given.has("head")) {
    return (
      "The headers are here. Now add the body of the answer (curl -o), and the request’s body if you " +
      "have it."
    );
  }
  if (given.has("graph")) {
    return "A graph alone is not signed. Add the answer, or the whole provenance record.";
  }
  return "Now add the answer itself: a saved exchange, or the headers and body that curl kept.";
}

/** Names the part that an error is about. */
function refusedPart(given, error) {
  const kind = {
    ExchangeRefused: "exchange",
    RecordRefused: "record",
    NoteRefused: "logkey",
    PolicyRefused: "policy",
    KeyRingRefused: "keyring",
    KeyRefused: "jwks",
    ProofRefused: "proof",
  }[error.name];
  const part = given.get(kind);
  return part === undefined ? "What was given" : `${KINDS[kind]} ${part.name}`;
}

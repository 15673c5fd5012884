/** What the page says: each check as a question, each verdict as a sentence, each limit in full. */

import { many, moment } from "./moments.js";

/** The question that each check answers, and what to add where it could not be made. */
export const CHECKS = {
  1: ["Does the answer carry a proof?", "Keep the response headers: the proof travels in them."],
  2: ["Is the signature of the one form that is agreed?", ""],
  3: ["Was it made with a key that you trust?", "Add the gateway’s key set or key ring."],
  4: ["Does the signature fit what was signed?", ""],
  5: ["Is the signed statement well formed?", ""],
  6: ["Does the statement name this answer?", "Add the answer itself with its headers."],
  7: [
    "Is it from the gateway, and for the tenant, that you expect?",
    "Say under “What you expect” which gateway must have signed and for which tenant handle.",
  ],
  8: [
    "Does it answer your own nonce?",
    "Send an Attest-Nonce with the request and give it under “What you expect”.",
  ],
  9: ["Was it signed when you expect?", "Say under “What you expect” how old the answer may be."],
  10: ["Is it the answer to this very request?", "Add the request: a saved exchange holds it."],
  11: ["Are these the bytes that were signed?", "Add the answer itself, with its headers."],
  12: ["Did all of it arrive?", "Add the answer itself, up to its end."],
  13: [
    "Is this the graph that was signed?",
    "Add the provenance record: /v1/prov/ID of the gateway, or “Ask the gateway” above.",
  ],
  14: [
    "Does Content-Digest fit the body?",
    "Nothing is missing if the gateway sent no such header.",
  ],
  15: [
    "Is it in the public ledger?",
    "Add the .tlog-proof, and the log’s key or the gateway’s key ring.",
  ],
  16: [
    "Did independent witnesses see that ledger?",
    "Add the proof, and the witness policy that you trust.",
  ],
  17: ["Did the key still count when it signed?", "Add the gateway’s key ring."],
};

export const OUTCOMES = { pass: "passed", fail: "failed", skip: "not checked" };

/**
 * Says in a sentence what was found.
 *
 * @param {object} found as `judge` returns it.
 * @returns {{tone: string, sign: string, title: string, sentence: string, more: string}}
 */
export function verdictWords(found) {
  const { report, keys } = found;
  if (report.verdict === "UNSIGNED") {
    return unsigned(found);
  }
  if (keys === "none") {
    return {
      tone: "doubt",
      sign: "doubt",
      title: "Not checked yet",
      sentence: "There is no key to check this signature with.",
      more:
        "Add the gateway’s key set (/.well-known/attest/jwks.json) or key ring, from a place that " +
        "you trust.",
    };
  }
  if (report.verdict === "INVALID") {
    return invalid(found);
  }
  if (keys === "embedded") {
    return {
      tone: "doubt",
      sign: "doubt",
      title: "Not trusted",
      sentence:
        "It fits the keys that came in the same file, and whoever wrote the file chose those.",
      more:
        "So nothing is said about who signed: a forged answer would look the same. Add the gateway’s key set " +
        "or key ring from a place that you trust.",
    };
  }
  return found.content ? contentWords(found) : recordWords(found);
}

function contentWords({ report }) {
  const who = signer(report);
  if (report.verdict === "VERIFIED_PREFIX") {
    return {
      tone: "part",
      sign: "part",
      title: "Verified in part",
      sentence:
        report.events === 0
          ? `${who} signed that this answer began, and nothing of it arrived with a signature.`
          : `The first ${many(report.events, "event")} of this answer are the ones that ${who} signed.`,
      more: "The rest is missing or unsigned. Do not rely on anything after the proven part.",
    };
  }
  return {
    tone: "good",
    sign: "pass",
    title: "Verified",
    sentence: `This answer is the one that ${who} signed on ${moment(report.statement.iat)}.`,
    more:
      outcome(report, 10) === "pass"
        ? "It is the answer to the request in the file, byte for byte."
        : "Which request it answers was not checked.",
  };
}

function recordWords({ report }) {
  const part = report.verdict === "VERIFIED_PREFIX";
  return {
    tone: part ? "part" : "good",
    sign: part ? "part" : "pass",
    title: part ? "Record verified; the answer was not complete" : "Record verified",
    sentence: `This record is the one that ${signer(report)} signed on ${moment(report.statement.iat)}.`,
    more: "The answer’s text was not given, so nothing is said about any text. Add the saved exchange.",
  };
}

function invalid({ report }) {
  const failed = report.checks.filter((check) => check.outcome === "fail");
  const proven =
    report.events > 0 ? ` Its first ${many(report.events, "event")} were still proven.` : "";
  return {
    tone: "bad",
    sign: "fail",
    title: "Not valid",
    sentence:
      failed.length === 1
        ? `Something contradicts the proof: ${failed[0].detail}.`
        : `${many(failed.length, "check")} failed; the first: ${failed[0].detail}.`,
    more:
      `Do not rely on this answer.${proven} It may have been changed on the way, belong to another ` +
      "request, or be checked with the wrong keys.",
  };
}

function unsigned({ status }) {
  const refusal =
    status >= 400
      ? ` It is a refusal (HTTP ${status}), which a gateway leaves unsigned if the caller is not known.`
      : "";
  return {
    tone: "bad",
    sign: "none",
    title: "Nothing is signed",
    sentence: "This answer carries no proof at all.",
    more: `Anybody on the way could have made it, or removed its proof.${refusal}`,
  };
}

/** Names who signed: the statement says so or, in a stream that was cut, its last good head. */
function signer({ statement, payload }) {
  return statement === null ? JSON.parse(new TextDecoder().decode(payload)).iss : statement.iss;
}

/** Says where fetched keys came from, if that is not who is said to have signed; else nothing. */
export function foreignKeys({ report, keysOrigin }) {
  const isSigned = report.verdict === "VERIFIED" || report.verdict === "VERIFIED_PREFIX";
  if (keysOrigin === "" || !isSigned || signer(report) === keysOrigin) {
    return "";
  }
  return (
    `The name ${signer(report)} is only as good as ${keysOrigin}: the keys came from there, and whoever ` +
    "has the keys can sign any name."
  );
}

function outcome(report, number) {
  return report.checks[number - 1].outcome;
}

/**
 * Lists what this verification leaves open, most important first.
 *
 * @param {object} found as `judge` returns it.
 * @returns {string[]}
 */
export function limits(found) {
  const { report, keys } = found;
  const skipped = (number) => outcome(report, number) !== "pass";
  const all = [
    [
      true,
      "That the answer is true. A signature says who answered what, not that the words are right.",
    ],
    [true, "That the provider ran the model that it names: the model is what the provider said."],
    [
      keys === "given" || keys === "ring",
      "That the keys are the gateway’s. They count as far as you trust the place that you got them from.",
    ],
    [
      outcome(report, 17) === "pass",
      "That the key ring is the newest. This page remembers nothing, so it cannot notice an older one; " +
        "verify with --remember does.",
    ],
    [
      skipped(8),
      "That the answer is fresh. Without your own nonce an old answer to the same request passes as well.",
    ],
    [true, "That the time is right: it is the gateway’s own clock."],
    [
      skipped(7),
      "That the answer was meant for you. Without a tenant handle another tenant’s answer passes.",
    ],
    [skipped(15), "That a record was kept. Only the ledger’s proof shows it."],
    [
      skipped(16),
      "That everybody sees the same ledger. Without witnesses an operator could keep two.",
    ],
    [true, "Who wrote the request: the tenant’s API key was used, by whoever had it."],
    [true, "Headers other than the status, the content type and the nonce."],
    [
      found.reported,
      "What the agent reported of its own steps. The gateway signed that it was told so.",
    ],
  ];
  return all.filter(([holds]) => holds).map(([, words]) => words);
}

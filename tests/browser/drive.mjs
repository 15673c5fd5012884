/** Does with verify.js what a test asks for, one JSON object at a time; in Node and in a page. */

import * as verify from "../../verify-js/verify.js";

const octets = (encoded) => Uint8Array.from(atob(encoded), (one) => one.charCodeAt(0));

const DEEDS = {
  async vector({ document }) {
    const { report } = await verify.verifyVector(document);
    return {
      verdict: report.verdict,
      events: report.events,
      outcomes: report.checks.map((check) => check.outcome),
      details: report.checks.map((check) => check.detail),
    };
  },

  async record({ document, jwks }) {
    const report = await verify.verifyRecord(document, { jwks });
    const outcomes = report.checks.map((check) => check.outcome);
    return { verdict: report.verdict, events: report.events, outcomes };
  },

  /** Feeds a stream in pieces and says what each piece released. */
  async stream({ vector, sizes, now_ms: nowMs = null }) {
    const { exchange, jwks } = JSON.parse(vector);
    const { answer, expected } = verify.readExchange(JSON.stringify(exchange));
    const media = answer.headers.find(([name]) => name === "content-type")[1];
    const verifier = new verify.StreamVerifier({
      keys: await verify.readJwks(JSON.stringify(jwks)),
      proof: verify.readProofHeaders(answer.headers),
      request: answer.request,
      response: { status: answer.status, media },
      expected,
    });
    const released = [];
    for (let at = 0, turn = 0; at < answer.body.length; turn += 1) {
      const size = sizes[turn % sizes.length];
      const events = await verifier.feed(answer.body.slice(at, at + size), nowMs);
      released.push(...events.map((event) => String.fromCharCode(...event)));
      at += size;
    }
    const report = await verifier.finish(answer.graph);
    const fails = report.checks.filter((check) => check.outcome === "fail").map((check) => check.number);
    return { verdict: report.verdict, events: report.events, fails, released };
  },

  /** Feeds a stream event by event and says how long that took, and the longest single event. */
  async timing({ vector }) {
    const { exchange, jwks } = JSON.parse(vector);
    const { answer, expected } = verify.readExchange(JSON.stringify(exchange));
    const text = String.fromCharCode(...answer.body);
    const blocks = text.split(/(?<=\n\n)/).map((block) => Uint8Array.from(block, (one) => one.charCodeAt(0)));
    const verifier = new verify.StreamVerifier({
      keys: await verify.readJwks(JSON.stringify(jwks)),
      proof: verify.readProofHeaders(answer.headers),
      request: answer.request,
      response: { status: answer.status, media: "text/event-stream" },
      expected,
    });
    const begun = performance.now();
    let longest = 0;
    for (const block of blocks) {
      const before = performance.now();
      await verifier.feed(block);
      longest = Math.max(longest, performance.now() - before);
    }
    const report = await verifier.finish();
    const took = performance.now() - begun;
    return { verdict: report.verdict, events: report.events, took_ms: took, longest_ms: longest };
  },

  async jwks({ document }) {
    return { kids: [...(await verify.readJwks(octets(document))).keys()] };
  },

  async graph({ document }) {
    const { root, ids } = await verify.readGraph(octets(document));
    return { root, nodes: ids.length };
  },

  async ring({ document }) {
    return (await verify.readKeyRing(octets(document))).remember;
  },

  async policy({ document }) {
    return { quorum: (await verify.readPolicy(octets(document))).quorum };
  },

  proof({ document }) {
    const { index, hashes } = verify.readProof(octets(document));
    return { index: String(index), hashes: hashes.length };
  },

  exchange({ document }) {
    const { answer } = verify.readExchange(octets(document));
    return { status: answer.status, octets: answer.body.length };
  },

  async signature({ jwks, signature, message }) {
    const [key] = (await verify.readJwks(jwks)).values();
    return { right: await key.verify(octets(signature), octets(message)) };
  },

  support: verify.support,
};

/** @returns {Promise<object>} what came of it; `refused` names the class of a refusal. */
export async function drive(deed) {
  try {
    return await DEEDS[deed.do](deed);
  } catch (error) {
    if (error instanceof verify.Refused) return { refused: error.name };
    throw error;
  }
}

/** Calls a gateway through `verifyingFetch`, with somebody on the way who changes answers. */

import { createServer } from "node:http";
import { verifyingFetch } from "../../verify-js/verify.js";

const { url, key, jwks, calls } = JSON.parse(process.argv[2]);
const text = new TextEncoder();

/** Returns an answer with another body. */
function withBody(response, change) {
  const headers = new Headers(response.headers);
  const answer = new Response(change(response.body), { status: response.status, headers });
  return Object.defineProperty(answer, "url", { value: response.url });
}

/** Returns a body of which each chunk is changed; null ends it, an error breaks it off. */
function changing(change) {
  let number = 0;
  return (body) =>
    body.pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          const changed = change(chunk, number++);
          if (changed === null) controller.terminate();
          else controller.enqueue(changed);
        },
      }),
    );
}

function flipped(chunk) {
  const at = chunk.indexOf("content".charCodeAt(0), 10);
  return chunk.map((octet, place) => (place === Math.max(0, at) ? octet ^ 1 : octet));
}

const ON_THE_WAY = {
  nobody: (response) => response,
  flips: (response) => withBody(response, changing(flipped)),
  flipsLater: (response) =>
    withBody(
      response,
      changing((chunk, number) => (number === 3 ? flipped(chunk) : chunk)),
    ),
  appends: (response) =>
    withBody(response, (body) =>
      body.pipeThrough(
        new TransformStream({ flush: (controller) => controller.enqueue(text.encode("data: x\n\n")) }),
      ),
    ),
  cuts: (response) =>
    withBody(
      response,
      changing((chunk, number) => (number < 3 ? chunk : null)),
    ),
  breaks: (response) =>
    withBody(
      response,
      changing((chunk, number) => {
        if (number === 3) throw new TypeError("the connection broke");
        return chunk;
      }),
    ),
  strips(response) {
    const headers = new Headers([...response.headers].filter(([name]) => !name.startsWith("attest-")));
    return new Response(response.body, { status: response.status, headers });
  },
  stripsSalt(response) {
    const headers = new Headers([...response.headers].filter(([name]) => name !== "attest-salt"));
    return new Response(response.body, { status: response.status, headers });
  },
  redirects: (response) =>
    new Response(null, {
      status: 302,
      headers: [...response.headers, ["location", "https://elsewhere.example/"]],
    }),
};

/** Fetches by way of an address that leads to the one asked for. */
async function redirected(input, init) {
  const server = createServer((_, response) => response.writeHead(302, { location: String(input) }).end());
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    return await fetch(`http://127.0.0.1:${server.address().port}/`, init);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function read(response) {
  const reader = response.body.getReader();
  const parts = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { text: parts.join(""), parts: parts.length };
      parts.push(new TextDecoder().decode(value));
    }
  } catch (error) {
    return { text: parts.join(""), parts: parts.length, broken: error.name };
  }
}

function makeFetch({ way = "nobody", settings = {}, foreignKeys = [] }, seen) {
  return verifyingFetch({
    baseUrl: url,
    keys: jwks,
    onReport: (report) => seen.told.push(report.verdict),
    async fetch(input, init) {
      if ((input.url ?? String(input)).endsWith("jwks.json")) {
        const foreign = foreignKeys[seen.fetched];
        seen.fetched += 1;
        if (foreign === "redirect") return redirected(input, init);
        return foreign === undefined ? fetch(input, init) : new Response(foreign);
      }
      seen.sent += 1;
      if (way === "replays") input.headers.set("attest-nonce", "of-another-request");
      return (ON_THE_WAY[way] ?? ON_THE_WAY.nobody)(await fetch(input, init));
    },
    ...settings,
  });
}

async function ask(attested, { path = "/v1/chat/completions", body, base = url, method = "POST" }) {
  const response = await attested(base + path, {
    method,
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = await read(response);
  const report = await response.attest;
  const { status, url: address } = response;
  return { status, url: address, ...content, verdict: report?.verdict, events: report?.events };
}

/** Makes a call as often as it says, through one fetch, and says what the last one gave. */
async function call(given) {
  const seen = { told: [], sent: 0, fetched: 0 };
  let found;
  try {
    const attested = makeFetch(given, seen);
    for (let turn = 0; turn < (given.times ?? 1); turn += 1) {
      found = await ask(attested, given);
    }
    return { ...found, ...seen };
  } catch (error) {
    const checks = error.report?.checks ?? [];
    const fails = checks.filter((one) => one.outcome === "fail").map((one) => one.number);
    return { error: error.name, fails, ...seen };
  }
}

for (const one of calls) process.stdout.write(`${JSON.stringify(await call(one))}\n`);

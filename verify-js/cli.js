#!/usr/bin/env node
/**
 * The command: verifies saved exchanges and test vectors with verify.js, in Node.
 *
 * The same options, output and exit codes as `verismo verify` has for them: 0 all verified by
 * trusted keys, 1 something is not, 2 wrong usage.
 */

import { readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import {
  ExchangeRefused,
  KeyRefused,
  KeyRingRefused,
  Refused,
  Trust,
  Unsupported,
  openTrust,
  readExchange,
  readRecord,
  verifyExchange,
  verifyLedger,
  verifyVector,
} from "./verify.js";

const HELP = `usage: verismo-verify EXCHANGE... [OPTIONS]
       verismo-verify --vectors DIR [--json]

  --jwks FILE|URL        the key set to trust
  --keyring FILE|URL     the key ring to trust
  --remember FILE        refuse older rings than were seen, with --keyring
  --trust-embedded-keys  trust the keys in EXCHANGE: only if you wrote it yourself
  --graph FILE           the provenance graph, as /v1/prov/ID serves it
  --proof FILE           the ledger's proof, as /v1/attest/ID/proof serves it
  --log-key VKEY         the key of a log; demands a proof; may stand several times
  --witness-policy FILE  who has to have cosigned; demands a proof
  --issuer TEXT          the gateway that must have signed
  --audience TEXT        the tenant handle that must stand in the statement
  --nonce TEXT           the Attest-Nonce that was sent
  --max-age SECONDS      how old the answer may be
  --vectors DIR          run test vectors
  --json                 print JSON for scripts
  --help                 show this

Exit codes: 0 all verified by trusted keys, 1 something is not, 2 wrong usage.`;

const text = { type: "string" };
const flag = { type: "boolean", default: false };
const OPTIONS = {
  jwks: text,
  keyring: text,
  remember: text,
  "trust-embedded-keys": flag,
  graph: text,
  proof: text,
  "log-key": { type: "string", multiple: true, default: [] },
  "witness-policy": text,
  issuer: text,
  audience: text,
  nonce: text,
  "max-age": text,
  vectors: text,
  json: flag,
  help: flag,
};

/** A statement's members as `verismo verify` prints them; signed they stand sorted. */
const STATEMENT_ORDER = [
  ...["v", "iss", "prov_id", "iat", "aud", "region", "op", "req", "res", "dag", "policy", "cache"],
  ...["plan", "seq", "nonce", "model", "usage", "cost_usd_micros"],
  ...["method", "path", "status", "media", "mode", "commit", "len", "query", "doc", "fin", "events"],
  ...["root", "nodes", "provider", "id", "in", "out", "bundle", "decision", "signer", "n"],
];

/** Something that the caller has to mend. */
class UsageError extends Error {}

async function main(words) {
  const { values: options, positionals: names } = readOptions(words);
  if (options.help) {
    print(HELP);
    return 0;
  }
  if (names.length > 0 === (options.vectors !== undefined)) {
    throw new UsageError("give one of: EXCHANGE..., --vectors DIR");
  }
  if (options.vectors !== undefined) return runVectors(options.vectors, options.json);
  checkOptions(options, names);
  const judge = await judgeBy(options);
  const results = [];
  for (const name of names) results.push(await judge(name));
  print(options.json ? JSON.stringify(results) : results.map(layOut).join("\n"));
  return results.every((one) => one.trusted && one.verdict === "VERIFIED") ? 0 : 1;
}

function readOptions(words) {
  try {
    return parseArgs({ args: words, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error.message);
  }
}

function checkOptions(options, names) {
  const knowsLog = options["log-key"].length > 0 || options["witness-policy"] || options.keyring;
  if (options.proof !== undefined && !knowsLog) {
    throw new UsageError("a proof says nothing without --log-key (or --keyring)");
  }
  if (options.remember !== undefined && options.keyring === undefined) {
    throw new UsageError("--remember belongs to --keyring");
  }
  if (options.proof !== undefined && names.length > 1) {
    throw new UsageError("--proof belongs to one EXCHANGE");
  }
  if (options["max-age"] !== undefined && !(Number(options["max-age"]) >= 0)) {
    throw new UsageError("--max-age takes seconds");
  }
}

async function runVectors(folder, asJson) {
  const files = (await reading(() => readdir(folder))).filter(
    (name) => name.endsWith(".json") && name !== "index.json",
  );
  if (files.length === 0) throw new UsageError(`${folder} holds no vectors`);
  const found = [];
  for (const name of files.sort()) found.push(await verifyVector(await readFile(join(folder, name))));
  const right = found.filter((one) => one.asExpected);
  if (asJson) {
    print(JSON.stringify(Object.fromEntries(found.map((one) => [one.name, one.report.verdict]))));
  } else {
    for (const { name, report, asExpected } of found) {
      print(`${(asExpected ? "ok" : "DIFFERS").padEnd(8)}${report.verdict.padEnd(16)} ${name}`);
    }
    print(`${right.length} of ${found.length} vectors as expected`);
  }
  return right.length === found.length ? 0 : 1;
}

/** Reads what is trusted, once, and returns what verifies a file by it. */
async function judgeBy(options) {
  const source = {
    jwks: await published(options.jwks),
    keyring: await published(options.keyring),
    remembered: await recall(options.remember),
    logKeys: options["log-key"].map((key) => key.trim()),
    witnessPolicy: await content(options["witness-policy"]),
  };
  const trusted = Boolean(options.jwks ?? options.keyring) || options["trust-embedded-keys"];
  const graph = graphOf(await content(options.graph));
  const proof = await content(options.proof);
  const given = source.jwks === null && source.keyring === null ? null : await open(source, options);
  return async (name) => {
    const exchange = readExchange(await reading(() => readFile(name)));
    if (graph !== null) exchange.answer.graph = graph;
    if (proof !== null) exchange.answer.proof = proof;
    if (given === null && exchange.jwks === null) {
      throw new UsageError("there is no key set to verify with: give --jwks FILE");
    }
    const trust = given ?? (await open({ ...source, jwks: exchange.jwks }, options));
    const report = await verify(exchange, trust, expectedBy(options));
    return resultOf(name, report, exchange, options, trusted);
  };
}

/** Verifies an exchange; what is said of the ledger's checks is said of each. */
async function verify(exchange, trust, expected) {
  const report = await verifyExchange(exchange, trust, expected);
  const isUnasked = trust instanceof Trust && !trust.hasLedger && exchange.answer.proof === null;
  return isUnasked ? verifyLedger(report, null, trust) : report;
}

/** Returns the graph's exact text, out of the record that holds it or on its own. */
function graphOf(document) {
  if (document === null) return null;
  try {
    return readRecord(document).graph;
  } catch (error) {
    if (error instanceof Refused) return document;
    throw error;
  }
}

/** Opens what is trusted, and remembers the key ring before anything is believed by it. */
async function open(source, options) {
  try {
    const trust = await openTrust(source);
    if (options.remember !== undefined) await remember(options.remember, trust.remember);
    return trust;
  } catch (error) {
    // `verifyExchange` makes the report on a key set or a ring that is refused.
    if (error instanceof KeyRefused || error instanceof KeyRingRefused) return source;
    throw error;
  }
}

async function recall(path) {
  if (path === undefined) return null;
  let document;
  try {
    document = await readFile(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw new UsageError(`${path} cannot be used: ${error.code}`);
  }
  try {
    const { version, sha256 } = JSON.parse(document);
    if (Number.isSafeInteger(version) && typeof sha256 === "string") return { version, sha256 };
  } catch {
    // Said below, as of a document with other members.
  }
  throw new UsageError(`${path} is not what --remember wrote: bring it back from a copy`);
}

async function remember(path, seen) {
  const unfinished = `${path}.${process.pid}`;
  await reading(() => writeFile(unfinished, `${JSON.stringify(seen)}\n`, { mode: 0o600 }));
  await rename(unfinished, path);
}

async function published(place) {
  if (place === undefined || !/^https?:\/\//.test(place)) return content(place);
  const response = await reading(() => fetch(place, { redirect: "error" }));
  if (response.status !== 200) throw new UsageError(`${place} answers ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function content(path) {
  return path === undefined ? null : reading(() => readFile(path));
}

async function reading(read) {
  try {
    return await read();
  } catch (error) {
    throw new UsageError(error.message);
  }
}

/** Options overrule what the exchange says of itself. */
function expectedBy(options) {
  const { issuer, audience, nonce, "max-age": ageS } = options;
  const time = ageS === undefined ? {} : { nowMs: Date.now(), ageMsMax: Math.round(Number(ageS) * 1_000) };
  return { issuer, audience, nonce, ...time };
}

function resultOf(source, report, exchange, options, trusted) {
  const { issuer, audience, nonce, nowMs, ageMsMax } = exchange.expected;
  const told = { issuer, audience, nonce, now_ms: nowMs, age_ms_max: ageMsMax };
  const given = { ...options, now_ms: options["max-age"], age_ms_max: options["max-age"] };
  const byFile = Object.keys(told).filter((name) => told[name] !== null && given[name] === undefined);
  return {
    source,
    trusted,
    verdict: report.verdict,
    prov_id: report.provId,
    checks: report.checks,
    status: exchange.answer.status,
    ...(report.events === null ? {} : { events: report.events }),
    ...(report.statement === null ? {} : { statement: inOrder(report.statement) }),
    ...(byFile.length === 0 ? {} : { expected_by_file: byFile }),
  };
}

function inOrder(statement) {
  return JSON.parse(JSON.stringify(statement, STATEMENT_ORDER));
}

/** Lays a result out; what cannot be printed becomes `?`. */
function layOut(result) {
  const lines = [`${result.source}: ${result.prov_id || "no proof"}`];
  for (const { number, name, outcome, detail } of result.checks) {
    lines.push(`${String(number).padStart(3)} ${name.padEnd(15)} ${outcome.padEnd(5)} ${detail}`);
  }
  if (result.expected_by_file) {
    lines.push(`note: expected as the file itself says: ${result.expected_by_file.join(", ")}`);
  }
  if (result.verdict === "UNSIGNED" && result.status >= 400) {
    lines.push(
      `note: the answer is a refusal with HTTP status ${result.status}; such a one is not ` +
        "signed if the caller is not known or nothing can be signed",
    );
  }
  const verdict = result.verdict + (result.events === undefined ? "" : ` (${result.events} events)`);
  if (!result.trusted) {
    lines.push(
      `note: ${verdict} by keys that came in the file, which whoever wrote it chose; --jwks names yours`,
    );
  }
  lines.push(result.trusted ? verdict : "NOT TRUSTED");
  return lines.map((line) => line.replace(/\p{C}|(?! )\p{Z}/gu, "?")).join("\n");
}

function print(line) {
  process.stdout.write(`${line}\n`);
}

function fail(error) {
  if (!(error instanceof UsageError || error instanceof Refused || error instanceof Unsupported)) throw error;
  const next =
    error instanceof ExchangeRefused ? "\nnext:  `verismo verify --url ... --save FILE` writes one." : "";
  process.stderr.write(`error: ${error.message}${next}\n`);
  return 2;
}

process.exitCode = await main(process.argv.slice(2)).catch(fail);

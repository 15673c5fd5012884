/**
 * Verifies answers of a Verismo gateway, in browsers and in Node, with nothing but WebCrypto.
 *
 * The format is docs/attestation-format.md and docs/ledger-format.md; the sections below stand in
 * the order in which an answer is verified. Verdicts and the numbers of failing checks are those of
 * the Python verifier (`verismo.attest.verify`); vectors/ holds both to that.
 *
 * What it does not prove: that the model's words are true, that the key set is the gateway's (get
 * it over TLS or by hand), or, without a nonce, that the answer is fresh.
 *
 * Octets are Uint8Array, times Unix milliseconds; verify.d.ts has the types. Nothing here reads a
 * clock, an environment or a page, but for `verifyingFetch` at the end, which says so.
 *
 * @module verify
 */

// 1. Checks, verdicts, refusals ------------------------------------------------------------------

export const CHECK_NAMES = Object.freeze({
  1: "proof",
  2: "profile",
  3: "key",
  4: "signature",
  5: "statement",
  6: "prov-id",
  7: "parties",
  8: "nonce",
  9: "time",
  10: "request",
  11: "response",
  12: "completeness",
  13: "graph",
  14: "content-digest",
  15: "ledger",
  16: "witnesses",
  17: "key-ring",
});

const NOT_GIVEN = {
  15: "no proof of the ledger was given",
  16: "no witness policy was given",
  17: "no key ring was given",
};

/** How far two clocks may differ. */
export const SKEW_MS_MAX = 60_000;

/** A document, key or proof that must not be used, and why. */
export class Refused extends Error {
  get name() {
    return this.constructor.name;
  }
}
export class HeadersRefused extends Refused {}
export class KeyRefused extends Refused {}
export class StatementRefused extends Refused {}
export class StreamRefused extends Refused {}
export class GraphRefused extends Refused {}
export class ExchangeRefused extends Refused {}
export class RecordRefused extends Refused {}
export class NoteRefused extends Refused {}
export class ProofRefused extends Refused {}
export class PolicyRefused extends Refused {}
export class KeyRingRefused extends Refused {}

/** A check that ends the verification. */
class CheckFailed extends Refused {
  constructor(number, detail) {
    super(detail);
    this.number = number;
  }
}

/** This place cannot verify: there is no WebCrypto, or it lacks Ed25519. Never a verdict. */
export class Unsupported extends Error {
  get name() {
    return "Unsupported";
  }
}

/** Runs a reading, also one that takes time; what it refuses becomes what `instead` returns. */
function attempt(read, instead) {
  const refused = (error) => {
    if (error instanceof Refused) return instead(error);
    throw error;
  };
  try {
    const value = read();
    return value instanceof Promise ? value.catch(refused) : value;
  } catch (error) {
    return refused(error);
  }
}

/** Runs a reading; what it refuses is refused by an error of the caller's. */
function refusing(make, read) {
  return attempt(read, (error) => {
    throw make(error.message);
  });
}

/** Collects the outcomes of one verification. */
class Findings {
  #found = new Map();

  get failed() {
    return [...this.#found.values()].some((check) => check.outcome === "fail");
  }

  get firstFailure() {
    return this.checks().find((check) => check.outcome === "fail");
  }

  #note(number, outcome, detail) {
    this.#found.set(number, { number, name: CHECK_NAMES[number], outcome, detail });
  }

  passes(number, detail) {
    this.#note(number, "pass", detail);
  }

  skips(number, detail) {
    this.#note(number, "skip", detail);
  }

  fails(number, detail) {
    this.#note(number, "fail", detail);
  }

  /** Notes a failure if there is a problem, else a pass. */
  judge(number, problem, detail) {
    this.#note(number, problem ? "fail" : "pass", problem || detail);
  }

  /** All checks in order; those that were not reached are skipped. */
  checks() {
    return Object.keys(CHECK_NAMES).map((key) => {
      const number = Number(key);
      const detail = NOT_GIVEN[number] ?? "not reached";
      return this.#found.get(number) ?? { number, name: CHECK_NAMES[number], outcome: "skip", detail };
    });
  }
}

function makeReport(verdict, events, findings, provId = "", statement = null, signed = null) {
  return Object.freeze({
    verdict,
    events,
    checks: findings.checks(),
    provId,
    statement,
    payload: signed === null ? new Uint8Array() : signed.payload,
    jws: signed === null ? "" : signed.jws,
  });
}

/** The report on something that was refused before the answer was looked at. */
function refusedReport(verdict, number, detail, events = null, provId = "") {
  const findings = new Findings();
  findings.fails(number, detail);
  return makeReport(verdict, events, findings, provId);
}

/** The first characters of a text, between quotes. */
function quoted(text, charactersMax = 64) {
  const cut = [...text.slice(0, 2 * charactersMax)].slice(0, charactersMax).join("");
  const mark = cut.includes("'") && !cut.includes('"') ? '"' : "'";
  const escaped = cut
    .replaceAll("\\", "\\\\")
    .replace(/[\u0000-\u001f\u007f]/g, (one) => `\\x${hexadecimal(one.charCodeAt(0), 2)}`);
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark;
}

/** Spells a time for people, UTC to the millisecond. */
function moment(timeMs) {
  const date = new Date(Number(timeMs));
  if (Number.isNaN(date.getTime()) || date.getUTCFullYear() > 9999) return `${timeMs} ms after 1970`;
  return date.toISOString().replace("T", " ");
}

// 2. Octets --------------------------------------------------------------------------------------

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL = BASE64.replace("+/", "-_");
const encoder = new TextEncoder();

function octetsOf(text) {
  return encoder.encode(text);
}

/** Takes octets or text; whatever else is given is a mistake of the caller. */
function asOctets(value, what) {
  if (typeof value === "string") return octetsOf(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  throw new TypeError(`${what} is given as octets or as text`);
}

/** Decodes UTF-8; a byte order mark stays a character and every malformed octet is refused. */
function textOf(octets) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    throw new Refused("not UTF-8");
  }
}

/** Takes blanks off both ends. A pattern for it would take quadratic time on many in the middle. */
function stripped(text) {
  const isBlank = (character) => character === " " || character === "\t";
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text[start])) start += 1;
  while (end > start && isBlank(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

/** Maps each octet to the character of its number: for formats in which others are opaque. */
function latinOf(octets) {
  const parts = [];
  for (let at = 0; at < octets.length; at += 8192) {
    parts.push(String.fromCharCode(...octets.subarray(at, at + 8192)));
  }
  return parts.join("");
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function sameOctets(one, other) {
  return one.length === other.length && one.every((octet, at) => octet === other[at]);
}

function hexadecimal(number, digits) {
  return number.toString(16).padStart(digits, "0");
}

function hexOf(octets) {
  return Array.from(octets, (octet) => hexadecimal(octet, 2)).join("");
}

function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function encodeBase64(octets, alphabet = BASE64) {
  const parts = [];
  for (let at = 0; at < octets.length; at += 3) {
    const kept = Math.min(3, octets.length - at);
    const group = (octets[at] << 16) | ((octets[at + 1] ?? 0) << 8) | (octets[at + 2] ?? 0);
    for (let place = 0; place <= kept; place++) parts.push(alphabet[(group >> (18 - 6 * place)) & 63]);
    if (alphabet === BASE64) parts.push("=".repeat(3 - kept));
  }
  return parts.join("");
}

function valuesOf(alphabet) {
  const values = new Int8Array(128).fill(-1);
  for (let at = 0; at < alphabet.length; at++) values[alphabet.charCodeAt(at)] = at;
  return values;
}

const BASE64_VALUES = valuesOf(BASE64);
const BASE64URL_VALUES = valuesOf(BASE64URL);

/** Decodes characters of an alphabet without padding; each value has one spelling if `strict`. */
function decodeGroups(text, values, strict) {
  const rest = text.length % 4;
  if (rest === 1) throw new Refused("not base64");
  const octets = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const value = values[text.charCodeAt(at)] ?? -1;
    if (value < 0) throw new Refused("not base64");
    bits = ((bits << 6) | value) & 0xffffff;
    // Of the 4 characters of a group the second, third and fourth each complete an octet.
    if (at % 4 !== 0) octets[length++] = (bits >> (6 - 2 * (at % 4))) & 255;
  }
  const stray = rest === 2 ? bits & 15 : rest === 3 ? bits & 3 : 0;
  if (strict && stray !== 0) throw new Refused("not the canonical base64 spelling");
  return octets;
}

/** Decodes base64url without padding, in its one spelling (RFC 7515, section 2). */
function decodeBase64url(text) {
  return decodeGroups(text, BASE64URL_VALUES, true);
}

/** Decodes base64 with its padding; in its one spelling unless that does not matter. */
function decodeBase64(text, strict = true) {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  if (text.length % 4 !== 0) throw new Refused("not base64");
  return decodeGroups(text.slice(0, text.length - padding), BASE64_VALUES, strict);
}

/** Decodes an RFC 9651 byte sequence in its canonical spelling, without parameters. */
function decodeByteSequence(text) {
  if (text.length < 2 || !text.startsWith(":") || !text.endsWith(":")) {
    throw new Refused("not a byte sequence between colons");
  }
  return decodeBase64(text.slice(1, -1));
}

// 3. JSON ----------------------------------------------------------------------------------------

const DEPTH_MAX = 16;
/** Documents that nobody signed may nest deeper, in members that are not looked at. */
const UNSIGNED_DEPTH_MAX = 900;
const ESCAPED = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** A number that is no integer below 2^53 in magnitude; no member that is read may have one. */
class OtherNumber {
  constructor(text) {
    this.text = text;
  }
}

/**
 * Reads JSON (RFC 8259) as it stands. JSON.parse would round large integers, take the last of two
 * members of one name, and not say what a member's exact text was.
 */
class JsonReader {
  #text;
  #at = 0;
  #depthMax;
  #distinct;
  #raw;

  /**
   * @param {string} text
   * @param {{depthMax?: number, distinct?: boolean, raw?: string[]}} rules nesting; whether a
   *   member that stands twice is refused (else the last counts); members kept as their own text.
   */
  constructor(text, { depthMax = UNSIGNED_DEPTH_MAX, distinct = false, raw = [] } = {}) {
    this.#text = text;
    this.#depthMax = depthMax;
    this.#distinct = distinct;
    this.#raw = raw;
  }

  whole() {
    const value = this.#value(0);
    this.#match(/[ \t\n\r]*/y);
    if (this.#at !== this.#text.length) throw new Refused("JSON with something after it");
    return value;
  }

  #match(pattern) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) throw new Refused(`malformed JSON at character ${this.#at}`);
    this.#at = pattern.lastIndex;
    return found[0];
  }

  /** Takes a character, after white space, if it is there. */
  #takes(character) {
    this.#match(/[ \t\n\r]*/y);
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #demand(character) {
    if (!this.#takes(character)) throw new Refused(`malformed JSON at character ${this.#at}`);
  }

  #value(depth) {
    if (depth > this.#depthMax) throw new Refused(`nesting deeper than ${this.#depthMax}`);
    if (this.#takes("{")) return this.#object(depth);
    if (this.#takes("[")) return this.#array(depth);
    if (this.#takes('"')) return this.#string();
    const word = this.#match(/true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y);
    if (word === "null") return null;
    if (word === "true" || word === "false") return word === "true";
    const isInteger = /^-?[0-9]+$/.test(word) && Number.isSafeInteger(Number(word));
    // What is added makes 0 of minus zero, as which Python reads it.
    return isInteger ? Number(word) + 0 : new OtherNumber(word);
  }

  #array(depth) {
    const items = [];
    if (this.#takes("]")) return items;
    do items.push(this.#value(depth + 1));
    while (this.#takes(","));
    this.#demand("]");
    return items;
  }

  #object(depth) {
    const members = Object.create(null);
    if (this.#takes("}")) return members;
    do {
      this.#demand('"');
      const name = this.#string();
      this.#demand(":");
      if (this.#distinct && Object.hasOwn(members, name)) {
        throw new Refused("a member stands twice");
      }
      this.#match(/[ \t\n\r]*/y);
      const begin = this.#at;
      const value = this.#value(depth + 1);
      members[name] = this.#raw.includes(name) ? this.#text.slice(begin, this.#at) : value;
    } while (this.#takes(","));
    this.#demand("}");
    return members;
  }

  /** Reads a string, behind its opening quotation mark. */
  #string() {
    let text = this.#match(/[^"\\\u0000-\u001f]*/y);
    while (this.#text[this.#at] === "\\") {
      this.#at += 1;
      text += this.#escape() + this.#match(/[^"\\\u0000-\u001f]*/y);
    }
    if (this.#text[this.#at] !== '"') throw new Refused("a JSON string without its end");
    this.#at += 1;
    if (/\p{Surrogate}/u.test(text)) throw new Refused("half a surrogate pair");
    return text;
  }

  #escape() {
    const letter = this.#text[this.#at];
    if (letter === "u") {
      return String.fromCharCode(Number.parseInt(this.#match(/u[0-9a-fA-F]{4}/y).slice(1), 16));
    }
    if (letter === undefined || !Object.hasOwn(ESCAPED, letter)) throw new Refused("an unknown escape");
    this.#at += 1;
    return ESCAPED[letter];
  }
}

function isObject(value) {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof OtherNumber)
  );
}

/** Spells a value of the signed domain as RFC 8785 JSON. */
function canonical(value, depth = 0) {
  if (value === null || typeof value === "boolean" || typeof value === "string") {
    return JSON.stringify(value);
  }
  if (Number.isSafeInteger(value)) return String(value);
  if (typeof value !== "object" || value instanceof OtherNumber) {
    throw new Refused("a number that is no integer below 2^53");
  }
  if (depth >= DEPTH_MAX) throw new Refused(`nesting deeper than ${DEPTH_MAX}`);
  if (Array.isArray(value)) return `[${value.map((one) => canonical(one, depth + 1)).join(",")}]`;
  const names = Object.keys(value).sort();
  if (!names.every(isAscii)) throw new Refused("key that is not ASCII text");
  const members = names.map((name) => `${JSON.stringify(name)}:${canonical(value[name], depth + 1)}`);
  return `{${members.join(",")}}`;
}

function isAscii(text) {
  return /^[\u0000-\u007f]*$/.test(text);
}

/**
 * Reads canonical JSON and refuses every other spelling of it: this one comparison refuses
 * duplicate members, white space, needless escapes, unsorted members and floats alike.
 */
function readCanonical(octets, shape) {
  const text = textOf(octets);
  const value = fit(new JsonReader(text, { depthMax: DEPTH_MAX }).whole(), shape);
  if (canonical(value) !== text) {
    throw new Refused("the bytes are not the canonical spelling of their value");
  }
  return value;
}

const isText = (value) => typeof value === "string";
const isInteger = (value) => Number.isSafeInteger(value);
const isBoolean = (value) => typeof value === "boolean";
const isTextOrNull = (value) => value === null || isText(value);
const isIntegerOrNull = (value) => value === null || isInteger(value);
const oneOf =
  (...texts) =>
  (value) =>
    isText(value) && texts.includes(value);
const arrayOf = (shape) => [shape];

/**
 * Refuses a value that has not the shape: a test, an array of one shape, or an object of shapes by
 * member, where a question mark behind the name lets the member be absent. Others are refused.
 * Returns the value.
 */
function fit(value, shape, where = "") {
  const what = where || "the document";
  if (typeof shape === "function") {
    if (!shape(value)) throw new Refused(`${what} is not what it has to be`);
    return value;
  }
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) throw new Refused(`${what} is no array`);
    value.forEach((one, at) => fit(one, shape[0], `${where}[${at}]`));
    return value;
  }
  if (!isObject(value)) throw new Refused(`${what} is no object`);
  const known = new Set(Object.keys(shape).map((key) => key.replace("?", "")));
  for (const name of Object.keys(value)) {
    if (!known.has(name)) {
      throw new Refused(`${what} has the unknown member ${quoted(name)}`);
    }
  }
  for (const [key, inner] of Object.entries(shape)) {
    const name = key.endsWith("?") ? key.slice(0, -1) : key;
    const place = where ? `${where}.${name}` : name;
    if (Object.hasOwn(value, name)) fit(value[name], inner, place);
    else if (name === key) throw new Refused(`${place} is missing`);
  }
  return value;
}

function isDigest(text) {
  return /^[0-9a-f]{64}$/.test(text) && text.length === 64;
}

function isProvId(text) {
  return (
    text.length === 36 && /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(text)
  );
}

// 4. WebCrypto: digests and commitments ----------------------------------------------------------

const SALT_BYTES = 32;

function subtle() {
  const found = globalThis.crypto?.subtle;
  if (!found) {
    throw new Unsupported(
      "WebCrypto is missing: browsers offer it to pages that came over https or from this machine only",
    );
  }
  return found;
}

async function sha256(octets) {
  return new Uint8Array(await subtle().digest("SHA-256", octets));
}

/** A salted commitment to exact octets; format, section 3. */
async function commit(kind, salt, octets) {
  if (salt.length !== SALT_BYTES) throw new Refused(`a salt has exactly ${SALT_BYTES} bytes`);
  return hexOf(await sha256(joined(octetsOf(`attest/v1/${kind}\0`), salt, octets)));
}

/** Refuses to read what is to be trusted where nothing can be verified: not even UNSIGNED is said. */
async function requireSupport() {
  const key = new PublicKey("", "Ed25519", "token", decodeBase64url(GENERATOR));
  await key.verify(joined(key.raw, new Uint8Array(32)), new Uint8Array());
}

/**
 * Says whether answers can be verified here; if not, why.
 *
 * @returns {Promise<{ok: boolean, reason: string}>}
 */
export async function support() {
  try {
    await requireSupport();
    return { ok: true, reason: "" };
  } catch (error) {
    if (error instanceof Unsupported) return { ok: false, reason: error.message };
    throw error;
  }
}

// 5. Keys (format, section 6) --------------------------------------------------------------------

/** A public key that surely is one: the generator of RFC 8032, section 5.1. */
const GENERATOR = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY";
const KEYS_MAX = 64;
const ROLES = ["token", "log", "witness", "rollup", "evidence", "plan"];
const isRole = oneOf(...ROLES);
const isAlgorithm = oneOf("Ed25519", "EdDSA");

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const ALL_BUT_SIGN = 2n ** 255n - 1n;
const D = modulo(-121665n * power(121666n, P - 2n));
const SQRT_MINUS_1 = power(2n, (P - 1n) / 4n);
const LOW_ORDER_Y = [
  0n,
  1n,
  P - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
];

function modulo(value) {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}

function power(base, exponent) {
  let result = 1n;
  for (let square = base; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

function littleEndian(octets) {
  return BigInt(`0x${hexOf(Uint8Array.from(octets).reverse())}`);
}

/** RFC 8032, 5.1.3, refusing non-canonical y and the non-canonical zero x; null if no point. */
function decompress(raw) {
  const value = littleEndian(raw);
  const sign = value >> 255n;
  const y = value & ALL_BUT_SIGN;
  if (y >= P) return null;
  const u = modulo(y * y - 1n);
  const v = modulo(D * y * y + 1n);
  let x = modulo(u * power(v, 3n) * power(modulo(u * power(v, 7n)), (P - 5n) / 8n));
  if (modulo(v * x * x) === modulo(-u)) x = modulo(x * SQRT_MINUS_1);
  if (modulo(v * x * x) !== u || (x === 0n && sign === 1n)) return null;
  return { x: (x & 1n) === sign ? x : P - x, y };
}

/** Adds two points in extended coordinates (RFC 8032, 5.1.4). */
function addPoints([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const f = (y1 - x1) * (y2 - x2);
  const g = (y1 + x1) * (y2 + x2);
  const c = modulo(2n * t1 * t2) * D;
  const d = 2n * z1 * z2;
  const [e, h, m, n] = [modulo(g - f), modulo(g + f), modulo(d - c), modulo(d + c)];
  return [(e * m) % P, (h * n) % P, (m * n) % P, (e * h) % P];
}

function hasPrimeOrder({ x, y }) {
  let base = [x, y, 1n, (x * y) % P];
  let result = [0n, 1n, 1n, 0n];
  for (let scalar = L; scalar > 0n; scalar >>= 1n) {
    if (scalar & 1n) result = addPoints(result, base);
    base = addPoints(base, base);
  }
  return result[0] === 0n && result[1] === result[2];
}

/** Says whether R is canonical and not of low order: else verifiers without cofactor may differ. */
function hasAgreedR(signature) {
  const y = littleEndian(signature.subarray(0, 32)) & ALL_BUT_SIGN;
  return y < P && !LOW_ORDER_Y.includes(y);
}

/** An Ed25519 public key with its role; made by `importKey`, which checks its point. */
class PublicKey {
  #loaded = null;

  constructor(kid, alg, role, raw) {
    this.kid = kid;
    this.alg = alg;
    this.role = role;
    this.raw = raw;
  }

  /**
   * Says whether a signature is of this key over a message, by the equation without cofactor.
   *
   * @throws {Unsupported} there is no Ed25519 here.
   */
  async verify(signature, message) {
    if (signature.length !== 64 || !hasAgreedR(signature)) return false;
    if (littleEndian(signature.subarray(32)) >= L) return false;
    try {
      this.#loaded ??= await subtle().importKey("raw", this.raw, "Ed25519", false, ["verify"]);
      return await subtle().verify("Ed25519", this.#loaded, signature, message);
    } catch (error) {
      if (error instanceof Unsupported) throw error;
      // The point was checked before: what fails here is the place, not the key.
      throw new Unsupported(`this browser's WebCrypto cannot verify Ed25519 (${error.name})`);
    }
  }
}

async function thumbprint(raw) {
  const required = canonical({ crv: "Ed25519", kty: "OKP", x: encodeBase64(raw, BASE64URL) });
  return encodeBase64(await sha256(octetsOf(required)), BASE64URL);
}

async function importKey(raw, role, alg = "Ed25519") {
  if (raw.length !== 32) throw new KeyRefused("an Ed25519 public key has 32 bytes");
  const point = decompress(raw);
  if (point === null) {
    throw new KeyRefused("the key is not the canonical encoding of a point on the curve");
  }
  if (LOW_ORDER_Y.includes(point.y) || !hasPrimeOrder(point)) {
    throw new KeyRefused("the key is of low or mixed order");
  }
  return new PublicKey(await thumbprint(raw), alg, role, raw);
}

/**
 * Reads a key set (RFC 7517) and returns its Ed25519 keys by kid.
 *
 * @param {Uint8Array|ArrayBuffer|string} document as it was served; a parsed one would hide members
 *   that stand twice.
 * @returns {Promise<Map<string, PublicKey>>}
 * @throws {KeyRefused} the whole set is to be refused.
 */
export async function readJwks(document) {
  await requireSupport();
  const octets = asOctets(document, "a key set");
  const set = refusing(
    (reason) => new KeyRefused(`not a JSON Web Key Set: ${reason}`),
    () => new JsonReader(textOf(octets), { distinct: true }).whole(),
  );
  if (!isObject(set) || !Array.isArray(set.keys) || !set.keys.every(isEntry)) {
    throw new KeyRefused("not a JSON Web Key Set");
  }
  if (set.keys.length > KEYS_MAX) throw new KeyRefused(`a key set of more than ${KEYS_MAX} keys`);
  const keys = new Map();
  for (const entry of set.keys) {
    if (entry.kty !== "OKP" || entry.crv !== "Ed25519") continue;
    const key = await readKey(entry);
    if (keys.has(key.kid)) throw new KeyRefused(`the kid ${key.kid} stands twice in the key set`);
    keys.set(key.kid, key);
  }
  return keys;
}

function isEntry(entry) {
  const names = ["crv", "x", "kid", "alg", "attest_role"];
  const isAbsentOrText = (name) => !Object.hasOwn(entry, name) || isText(entry[name]);
  return isObject(entry) && isText(entry.kty) && names.every(isAbsentOrText);
}

async function readKey(entry) {
  if (Object.hasOwn(entry, "d")) {
    throw new KeyRefused("the key set holds a private key: revoke that key and publish no `d`");
  }
  const name = quoted(entry.kid ?? "");
  if (!isRole(entry.attest_role) || !isAlgorithm(entry.alg)) {
    throw new KeyRefused(`the key ${name} is malformed: no known role or alg`);
  }
  const raw = refusing(
    (reason) => new KeyRefused(`the key ${name} is malformed: ${reason}`),
    () => decodeBase64url(entry.x ?? ""),
  );
  const key = await importKey(raw, entry.attest_role, entry.alg);
  if (key.kid !== entry.kid) throw new KeyRefused(`the kid ${name} is not the thumbprint of its key`);
  return key;
}

// 6. Detached JWS: checks 2 to 4 (format, section 6) ---------------------------------------------

const TYPE_STATEMENT = "attest+jws";
const TYPE_HEAD = "attest-head+jws";
const TYPE_VOID = "attest-void+jws";
const TYPE_KEYRING = "attest-keyring+jws";
const HEADER_CHARS_MAX = 256;
const SIGNATURE_CHARS = 86;
const HEADER = {
  alg: isAlgorithm,
  kid: isText,
  typ: oneOf(TYPE_STATEMENT, TYPE_HEAD, TYPE_VOID, TYPE_KEYRING),
};

/** Parses `header..signature`, whatever it signs. */
function parseJws(text) {
  const parts = text.split(".");
  if (parts.length !== 3) throw new Refused("a detached JWS has two dots");
  const [protectedHeader, payload, signature] = parts;
  if (payload) throw new Refused("the payload is embedded; it must travel beside the signature");
  if (protectedHeader.length > HEADER_CHARS_MAX) throw new Refused("the header is too long");
  if (signature.length !== SIGNATURE_CHARS) throw new Refused("an Ed25519 signature has 64 bytes");
  return refusing(
    (reason) => new Refused(`the JWS is outside the profile: ${reason}`),
    () => {
      const header = readCanonical(decodeBase64url(protectedHeader), HEADER);
      return { header, protectedHeader, signature: decodeBase64url(signature) };
    },
  );
}

/** Parses a JWS that came with an answer; makes the first half of check 2. */
function readJws(text) {
  return refusing(
    (reason) => new CheckFailed(2, reason),
    () => parseJws(text),
  );
}

/** What is signed: `BASE64URL(header) . BASE64URL(payload)` (RFC 7515, section 5.1). */
function signingInput(protectedHeader, payload) {
  return octetsOf(`${protectedHeader}.${encodeBase64(payload, BASE64URL)}`);
}

/** Verifies a detached JWS over received octets, before anything in them is parsed. */
async function verifyJws(keys, text, payload, typ, findings) {
  const { header, protectedHeader, signature } = readJws(text);
  if (header.typ !== typ) {
    throw new CheckFailed(2, `the signature is for ${header.typ}, not for ${typ}`);
  }
  findings.passes(2, `detached JWS of type ${typ}`);
  if (keys.size === 0) {
    throw new CheckFailed(3, "the key set is empty, so nothing can be verified");
  }
  const key = keys.get(header.kid);
  if (key === undefined) throw new CheckFailed(3, `the key ${quoted(header.kid)} is not in the key set`);
  if (key.role !== "token") throw new CheckFailed(3, `the key has the role ${key.role}, not token`);
  if (key.alg !== header.alg) {
    throw new CheckFailed(3, `the key is for ${key.alg}, the token says ${header.alg}`);
  }
  findings.passes(3, `token key ${header.kid}`);
  if (!hasAgreedR(signature)) {
    throw new CheckFailed(4, "R is not canonical or of low order; verifiers would disagree");
  }
  if (!(await key.verify(signature, signingInput(protectedHeader, payload)))) {
    throw new CheckFailed(4, "the signature is not of this key over these bytes");
  }
  findings.passes(4, "Ed25519 signature over the received bytes");
}

// 7. Statement and head: check 5 (format, sections 5 and 7) --------------------------------------

const STATEMENT_BYTES_MAX = 2_048;
const STATEMENT = {
  v: isInteger,
  iss: isText,
  prov_id: isText,
  iat: isInteger,
  "nonce?": isText,
  aud: isText,
  region: isText,
  op: isText,
  req: {
    method: isText,
    path: isText,
    commit: isText,
    len: isInteger,
    "query?": isText,
    "doc?": isText,
  },
  res: {
    status: isInteger,
    media: isText,
    mode: oneOf("body", "sse"),
    commit: isText,
    len: isInteger,
    fin: isBoolean,
    "events?": isInteger,
  },
  dag: { root: isText, nodes: isInteger },
  "model?": { provider: isText, id: isText },
  "usage?": { in: isInteger, out: isInteger },
  "cost_usd_micros?": isInteger,
  policy: { bundle: isText, decision: oneOf("allow", "deny", "none") },
  cache: oneOf("off", "miss", "hit"),
  plan: isText,
  seq: { signer: isText, n: isInteger },
};
const HEAD = {
  v: isInteger,
  iss: isText,
  prov_id: isText,
  iat: isInteger,
  "nonce?": isText,
  aud: isText,
  n: isInteger,
  head: isText,
};

function readSigned(octets, shape) {
  if (octets.length > STATEMENT_BYTES_MAX) {
    throw new StatementRefused(`longer than ${STATEMENT_BYTES_MAX} bytes`);
  }
  const value = readCanonical(octets, shape);
  if (value.v !== 1) {
    throw new StatementRefused(`version ${value.v} is not known here; update the verifier`);
  }
  if (!isProvId(value.prov_id)) throw new StatementRefused("prov_id is not a canonical UUIDv7");
  if (value.nonce !== undefined && !isNonce(value.nonce)) {
    throw new StatementRefused("the nonce is not base64url of at most 64 bytes");
  }
  return value;
}

function isNonce(text) {
  return text.length <= 86 && /^[A-Za-z0-9_-]+$/.test(text) && !text.includes("\n");
}

function readStatement(octets) {
  const statement = readSigned(octets, STATEMENT);
  const { req, res, dag, plan } = statement;
  const digests = { "req.commit": req.commit, "res.commit": res.commit, "dag.root": dag.root, plan };
  if (req.query !== undefined) digests["req.query"] = req.query;
  requireDigests(digests);
  if ((res.mode === "sse") !== (res.events !== undefined)) {
    throw new StatementRefused("`events` belongs to mode sse, and to no other");
  }
  const { usage, cost_usd_micros: cost, seq, iat } = statement;
  const counts = [req.len, res.len, dag.nodes, seq.n, iat, res.events ?? 0, cost ?? 0];
  if (Math.min(...counts, usage?.in ?? 0, usage?.out ?? 0) < 0) {
    throw new StatementRefused("a count is negative");
  }
  if (res.status < 100 || res.status > 599) {
    throw new StatementRefused("the status is not one of HTTP");
  }
  return statement;
}

function readHead(octets) {
  const head = readSigned(octets, HEAD);
  requireDigests({ head: head.head });
  if (head.n < 0 || head.iat < 0) throw new StatementRefused("a count is negative");
  return head;
}

function requireDigests(digests) {
  for (const [name, value] of Object.entries(digests)) {
    if (!isDigest(value)) throw new StatementRefused(`${name} is not a SHA-256 in lower-case hex`);
  }
}

/** Makes check 5. */
function readVerified(octets, read) {
  return refusing(
    (reason) => new CheckFailed(5, reason),
    () => read(octets),
  );
}

// 8. Proof headers: check 1 (format, section 2) --------------------------------------------------

/** Returns headers by lower-case name; values of one name are joined by a comma (RFC 9110, 5.3). */
function foldHeaders(pairs) {
  const headers = new Map();
  for (const [name, value] of pairs) {
    const key = name.toLowerCase();
    headers.set(key, headers.has(key) ? `${headers.get(key)}, ${value}` : value);
  }
  return headers;
}

/**
 * Reads the proof from response headers.
 *
 * @param {Iterable<[string, string]>} pairs names and values, such as a `Headers` object
 * @returns {{provId: string, salt: Uint8Array, statement: Uint8Array, jws: string} | null} null if
 *   the answer carries none at all; without statement and signature if it is a stream's.
 * @throws {HeadersRefused} INVALID by check 1.
 */
export function readProofHeaders(pairs) {
  const headers = foldHeaders(pairs);
  if (headers.get("attest-version") !== "1") {
    if (![...headers.keys()].some((name) => name.startsWith("attest-"))) return null;
    throw new HeadersRefused("Attest-Version is not 1; update the verifier");
  }
  for (const name of ["attest-prov-id", "attest-salt"]) {
    if (!headers.has(name)) throw new HeadersRefused(`the header ${name} is missing`);
  }
  const provId = headers.get("attest-prov-id");
  const salt = readByteHeader(headers, "attest-salt");
  const statement = readByteHeader(headers, "attest-statement");
  const jws = headers.get("attest-signature") ?? "";
  if (!isProvId(provId)) throw new HeadersRefused("Attest-Prov-Id is not a canonical UUIDv7");
  if (salt.length !== SALT_BYTES) {
    throw new HeadersRefused(`Attest-Salt has not exactly ${SALT_BYTES} bytes`);
  }
  if (statement.length > 0 !== (jws !== "")) {
    throw new HeadersRefused("one of Attest-Statement and Attest-Signature is missing");
  }
  return { provId, salt, statement, jws };
}

function readByteHeader(headers, name) {
  if (!headers.has(name)) return new Uint8Array();
  return refusing(
    (reason) => new HeadersRefused(`a proof header is malformed: ${reason}`),
    () => decodeByteSequence(headers.get(name)),
  );
}

/** Says whether a `Content-Type` is that of a stream, whatever its parameters. */
function isStreamMedia(media) {
  if (media.includes(",")) return false;
  return stripped(media.split(";", 1)[0]).toLowerCase() === "text/event-stream";
}

// 9. What was signed is what was seen and expected: checks 6 to 11 and 14 ------------------------

const NOTHING_EXPECTED = Object.freeze({
  issuer: null,
  audience: null,
  nonce: null,
  nowMs: null,
  ageMsMax: null,
  skewMsMax: SKEW_MS_MAX,
});

function expecting(given) {
  const known = Object.entries(given ?? {}).filter(([, value]) => value !== undefined);
  return { ...NOTHING_EXPECTED, ...Object.fromEntries(known) };
}

/** Makes checks 6 to 9 on a statement or head: prov_id, parties, nonce, time. */
function checkExpected(signed, provId, expected, findings) {
  findings.judge(
    6,
    signed.prov_id === provId ? "" : "the header and the signed bytes name two answers",
    `the header names the answer that was signed, ${signed.prov_id}`,
  );
  if (expected.issuer === null && expected.audience === null) {
    findings.skips(7, `no issuer or audience is expected; signed by ${signed.iss}`);
  } else {
    findings.judge(7, wrongParty(signed, expected), `issuer ${signed.iss}`);
  }
  if (expected.nonce === null) {
    findings.skips(8, "no nonce was sent: an old answer to the same request would pass");
  } else {
    const problem = signed.nonce === expected.nonce ? "" : "the nonce is not the one that was sent";
    findings.judge(8, problem, "the nonce that was sent");
  }
  if (expected.nowMs === null) {
    findings.skips(9, `no time was given; signed at ${moment(signed.iat)}`);
  } else {
    const agoMs = expected.nowMs - signed.iat;
    findings.judge(9, wrongTime(agoMs, expected), `signed ${agoMs} ms ago`);
  }
}

function wrongParty(signed, { issuer, audience }) {
  if (issuer !== null && signed.iss !== issuer) {
    return `issued by ${quoted(signed.iss, 256)}, expected ${quoted(issuer, 256)}`;
  }
  if (audience !== null && signed.aud !== audience) {
    return `issued for ${quoted(signed.aud, 256)}, expected ${quoted(audience, 256)}`;
  }
  return "";
}

function wrongTime(agoMs, { ageMsMax, skewMsMax }) {
  if (-agoMs > skewMsMax) return `signed ${-agoMs} ms in the future`;
  if (ageMsMax !== null && agoMs > ageMsMax + skewMsMax) {
    return `signed ${agoMs} ms ago, at most ${ageMsMax} ms are allowed`;
  }
  return "";
}

/** Check 10: method, path, query and body are those of the statement. */
async function wrongRequest({ req }, salt, request) {
  if (req.method !== request.method) {
    return `the statement is about ${quoted(req.method, 16)}, sent was ${quoted(request.method)}`;
  }
  if (req.path !== request.path) {
    return `the statement is about ${quoted(req.path, 256)}, sent was ${quoted(request.path, 256)}`;
  }
  if ((req.query !== undefined) !== request.query.length > 0) {
    return "one of statement and request has a query string, the other has none";
  }
  if (req.query !== undefined && req.query !== (await commit("query", salt, request.query))) {
    return "the query string is not the one that was committed to";
  }
  if (req.len !== request.body.length) {
    return `the request had ${req.len} octets, sent were ${request.body.length}`;
  }
  if (req.commit !== (await commit("req", salt, request.body))) {
    return "the request body is not the one that was committed to";
  }
  return "";
}

/** First half of check 11: status and media type are those of the statement. */
function wrongHeadLine({ res }, response) {
  if (res.status !== response.status) {
    return `the statement is about status ${res.status}, seen was ${response.status}`;
  }
  if (res.media !== response.media) {
    return `the statement is about ${quoted(res.media, 128)}, seen was ${quoted(response.media, 128)}`;
  }
  return "";
}

/** Check 11 for a whole body: status, media type, length and commitment. */
async function wrongBody(statement, salt, response) {
  const problem = wrongHeadLine(statement, response);
  if (problem) return problem;
  const { res } = statement;
  if (res.len !== response.body.length) {
    return `the answer had ${res.len} octets, seen were ${response.body.length}`;
  }
  if (res.commit !== (await commit("res", salt, response.body))) {
    return "the response body is not the one that was committed to";
  }
  return "";
}

/** Makes check 14: a `Content-Digest` with SHA-256 fits the body (RFC 9530, section 2). */
async function checkContentDigest(response, findings) {
  if (response === null || response.contentDigest === null) {
    findings.skips(14, "no Content-Digest");
    return;
  }
  const members = response.contentDigest.split(",").map(stripped);
  const values = members.filter((one) => one.split("=", 1)[0] === "sha-256").map((one) => one.slice(8));
  if (values.length === 0) {
    findings.skips(14, "the Content-Digest has no sha-256");
    return;
  }
  const problem = values.length > 1 ? "sha-256 stands twice" : await wrongDigest(values[0], response.body);
  findings.judge(14, problem, "sha-256 of the body");
}

async function wrongDigest(value, body) {
  const digest = await sha256(body);
  return attempt(
    () => (sameOctets(decodeByteSequence(value), digest) ? "" : "sha-256 is not that of the body"),
    (error) => `sha-256 is ${error.message}`,
  );
}

// 10. The provenance graph: check 13 (format, section 8) -----------------------------------------

const NODES_MAX = 1_000;
const GRAPH_BYTES_MAX = 1_048_576;
const PARENTS_MAX = 64;
const ATTRIBUTES_MAX = 32;
const ATTRIBUTE_CHARS_MAX = 512;
const HOP_KINDS =
  "request policy budget cache route retrieval source tool model transform approval response".split(" ");
const NODE = {
  v: isInteger,
  kind: oneOf(...HOP_KINDS),
  in: arrayOf(isText),
  attrs: (value) => isObject(value) && Object.values(value).every(isAttribute),
  t0: isInteger,
  t1: isInteger,
  "commit?": isText,
};
const GRAPH = { v: isInteger, prov_id: isText, nodes: arrayOf(NODE) };

function isAttribute(value) {
  return isText(value) || isInteger(value) || isBoolean(value);
}

/**
 * Reads a provenance graph strictly and recomputes every id.
 *
 * @param {Uint8Array|ArrayBuffer|string} document canonical JSON, at most 1 MiB.
 * @returns {Promise<{graph: {v: number, prov_id: string, nodes: object[]}, root: string, ids: string[]}>}
 *   the graph, the id of its last node and the ids of all, in their order.
 * @throws {GraphRefused}
 */
export async function readGraph(document) {
  const octets = asOctets(document, "a graph");
  if (octets.length > GRAPH_BYTES_MAX) throw new GraphRefused(`longer than ${GRAPH_BYTES_MAX} bytes`);
  const graph = refusing(
    (reason) => new GraphRefused(reason),
    () => readCanonical(octets, GRAPH),
  );
  const { nodes } = graph;
  if (graph.v !== 1 || nodes.some((node) => node.v !== 1)) {
    throw new GraphRefused("a version that is not known here; update the verifier");
  }
  if (!isProvId(graph.prov_id)) throw new GraphRefused("prov_id is not a canonical UUIDv7");
  if (nodes.length === 0 || nodes.length > NODES_MAX) {
    throw new GraphRefused(`a graph has 1 to ${NODES_MAX} nodes`);
  }
  checkShape(graph);
  nodes.forEach(checkNode);
  const ids = await Promise.all(nodes.map(nodeId));
  checkLinks(nodes, ids);
  return { graph, root: ids[ids.length - 1], ids };
}

/** The answer's request stands first, its response last; others belong to the calls of an agent. */
function checkShape({ nodes, prov_id: provId }) {
  if (nodes[0].kind !== "request" || nodes[nodes.length - 1].kind !== "response") {
    throw new GraphRefused("a graph begins with the request and ends with the response");
  }
  const [own, ...calls] = nodes.filter((node) => node.kind === "request");
  if (nodes.filter((node) => node.kind === "response").length !== calls.length + 1) {
    throw new GraphRefused("a graph has as many requests as responses");
  }
  if ((own.attrs.prov_id ?? provId) !== provId) {
    throw new GraphRefused("the request is that of another answer");
  }
  const names = new Set([provId]);
  for (const request of calls) {
    const name = request.attrs.prov_id;
    if (!isText(name) || !isProvId(name) || names.has(name)) {
      throw new GraphRefused("the request of a call does not name an answer of its own");
    }
    if (request.in.length > 0) throw new GraphRefused("the request of a call has inputs");
    names.add(name);
  }
}

function checkNode(node) {
  if (node.t0 < 0 || node.t1 < 0) throw new GraphRefused("a node's time is negative");
  if (node.commit !== undefined && !isDigest(node.commit)) {
    throw new GraphRefused("a commitment is not a SHA-256 in lower-case hex");
  }
  if (node.in.length > PARENTS_MAX || new Set(node.in).size !== node.in.length) {
    throw new GraphRefused(`a node has at most ${PARENTS_MAX} inputs, each once`);
  }
  const values = Object.values(node.attrs);
  if (values.length > ATTRIBUTES_MAX) {
    throw new GraphRefused(`a node has at most ${ATTRIBUTES_MAX} attributes`);
  }
  for (const value of values) {
    if (isText(value) && value.length > ATTRIBUTE_CHARS_MAX && [...value].length > ATTRIBUTE_CHARS_MAX) {
      throw new GraphRefused(`an attribute is longer than ${ATTRIBUTE_CHARS_MAX} characters`);
    }
  }
}

async function nodeId(node) {
  return hexOf(await sha256(octetsOf(`attest/v1/node\0${canonical(node)}`)));
}

/** Every input must stand earlier, so there is no cycle; the root must reach every node. */
function checkLinks(nodes, ids) {
  const seen = new Set();
  const used = new Set([ids[ids.length - 1]]);
  nodes.forEach((node, at) => {
    if (seen.has(ids[at])) throw new GraphRefused("a node stands twice");
    if (!node.in.every((id) => seen.has(id))) {
      throw new GraphRefused("a node names an input that is not an earlier node");
    }
    node.in.forEach((id) => used.add(id));
    seen.add(ids[at]);
  });
  const unreached = ids.filter((id) => !used.has(id)).length;
  if (unreached > 0) throw new GraphRefused(`${unreached} nodes are not reached from the root`);
}

async function checkGraph(statement, document, findings) {
  if (document === null) {
    findings.skips(13, "no graph was given");
    return;
  }
  const read = async () => {
    const { graph, root } = await readGraph(document);
    findings.judge(13, wrongGraph(statement, graph, root), `${graph.nodes.length} nodes`);
  };
  await attempt(read, (error) => findings.fails(13, error.message));
}

function wrongGraph({ dag, prov_id: provId, req, res }, graph, root) {
  const { nodes } = graph;
  if (root !== dag.root) return "the graph's root is not the signed one";
  if (nodes.length !== dag.nodes) return `the graph has ${nodes.length} nodes, signed were ${dag.nodes}`;
  if (graph.prov_id !== provId) return "the graph belongs to another answer";
  if (nodes[0].commit !== req.commit) return "the graph's request is not the signed one";
  if (nodes[nodes.length - 1].commit !== res.commit) {
    return "the graph's response is not the signed one";
  }
  return "";
}

// 11. Streams (format, section 7) ----------------------------------------------------------------

const LINE_END = 10;
const CARRIAGE_RETURN = 13;
const COLON = 58;
const EVENT_BYTES_MAX = 1_048_576;
/** As many octets may wait for a head. */
const HELD_BYTES_MAX = 33_554_432;
/** As many digests are under way at once: each call takes long, many at a time do not. */
const DIGESTS_MAX = 256;
const DONE_EVENT = octetsOf("data: [DONE]\n\n");
const SIGNED_PREFIX = octetsOf(": attest ");
const ONE = new Uint8Array([1]);

/** The running hash of one stream: H(i) = SHA-256(01 || H(i-1) || SHA-256(event i)). */
class Chain {
  events = 0;
  octets = 0;
  #head;

  /** @param {Promise<string>|string} requestCommit `req.commit`, hex */
  constructor(salt, provId, requestCommit) {
    this.#follow(this.#begin(salt, provId, requestCommit));
  }

  async #begin(salt, provId, requestCommit) {
    const answer = fromHex(provId.replaceAll("-", ""));
    const seed = [octetsOf("attest/v1/sse\0"), salt, answer, fromHex(await requestCommit)];
    return sha256(joined(...seed));
  }

  /** Whoever asks for the head is told why there is none; until then nobody has to be. */
  #follow(head) {
    head.catch(() => undefined);
    this.#head = head;
  }

  /** Appends one event. Its digest begins at once; those before it need not be there yet. */
  add(event) {
    this.events += 1;
    this.octets += event.length;
    this.#follow(this.#after(event));
  }

  async #after(event) {
    const [head, digest] = await Promise.all([this.#head, sha256(event)]);
    return sha256(joined(ONE, head, digest));
  }

  /** The chain after the events so far, hex. */
  async head() {
    return hexOf(await this.#head);
  }

  /** What the head would be after one more event. */
  async peek(event) {
    return hexOf(await this.#after(event));
  }
}

/** Cuts received octets into blocks, each with its blank line, however they arrive. */
class BlockSplitter {
  #octets = new Uint8Array(4096);
  #length = 0;

  /** Octets after the last blank line. */
  get pending() {
    return this.#octets.slice(0, this.#length);
  }

  /** Yields the blocks that data completes, everything before a refused octet first. */
  *blocks(data) {
    const cut = data.indexOf(CARRIAGE_RETURN);
    let search = Math.max(0, this.#length - 1);
    this.#append(cut < 0 ? data : data.subarray(0, cut));
    let start = 0;
    for (let end = this.#blankLine(search); end >= 0; end = this.#blankLine(start)) {
      const block = this.#octets.slice(start, end);
      this.#check(block, block.length);
      start = end;
      yield block;
    }
    this.#octets.copyWithin(0, start, this.#length);
    this.#length -= start;
    this.#check(this.#octets, this.#length);
    if (cut >= 0) throw new StreamRefused("a carriage return; the stream has been rewritten on its way");
  }

  #append(data) {
    const length = this.#length + data.length;
    if (length > this.#octets.length) {
      const larger = new Uint8Array(2 * length);
      larger.set(this.#octets.subarray(0, this.#length));
      this.#octets = larger;
    }
    this.#octets.set(data, this.#length);
    this.#length = length;
  }

  /** Where the next blank line ends; -1 if there is none yet. */
  #blankLine(from) {
    for (let at = this.#octets.indexOf(LINE_END, from); ; at = this.#octets.indexOf(LINE_END, at + 1)) {
      if (at < 0 || at + 1 >= this.#length) return -1;
      if (this.#octets[at + 1] === LINE_END) return at + 2;
    }
  }

  #check(block, length) {
    if (length > 0 && block[0] === LINE_END) {
      throw new StreamRefused("an empty block; the stream has been rewritten on its way");
    }
    if (length > EVENT_BYTES_MAX) {
      throw new StreamRefused(`an event is longer than ${EVENT_BYTES_MAX} bytes`);
    }
  }
}

/** Says whether each line begins with a colon; the octets have no line end at their end. */
function hasCommentsOnly(lines) {
  if (lines[0] !== COLON) return false;
  for (let at = lines.indexOf(LINE_END); at >= 0; at = lines.indexOf(LINE_END, at + 1)) {
    if (lines[at + 1] !== COLON) return false;
  }
  return true;
}

function isComment(block) {
  return hasCommentsOnly(block.subarray(0, -2));
}

/** Says whether octets without their blank line are comment lines alone, or nothing at all. */
function isCutComment(rest) {
  if (rest.length === 0) return true;
  return hasCommentsOnly(rest[rest.length - 1] === LINE_END ? rest.subarray(0, -1) : rest);
}

/** Reads a comment block that carries a signature; null if it is some other comment. */
function readSignedComment(block) {
  if (!sameOctets(block.subarray(0, SIGNED_PREFIX.length), SIGNED_PREFIX)) return null;
  const line = block.subarray(SIGNED_PREFIX.length, -2);
  if (line.includes(LINE_END)) throw new StreamRefused("an attest comment of more than one line");
  const words = latinOf(line).split(" ");
  const malformed = () => new StreamRefused("a malformed attest comment");
  if (words.length !== 2 || !isAscii(words[1])) throw malformed();
  return { payload: refusing(malformed, () => decodeBase64url(words[0])), jws: words[1] };
}

/**
 * Verifies one stream while it arrives: an event is released once a verified head covers it. What
 * is accepted does not depend on how the network cut the octets.
 */
export class StreamVerifier {
  #keys;
  #proof;
  #request;
  #response;
  #expected;
  #headExpected;
  #releaseEarly;
  #findings = new Findings();
  #splitter = new BlockSplitter();
  #chain = null;
  #held = [];
  #heldOctets = 0;
  #head = null;
  #statement = null;
  #signed = null;
  #trusted = 0;
  /** @type {Promise<any>} */
  #turn = Promise.resolve();

  /**
   * @param {object} stream
   * @param {Map<string, PublicKey>} stream.keys as `readJwks` returns them
   * @param {object|null} stream.proof as `readProofHeaders` returns it; null without one
   * @param {SeenRequest} stream.request
   * @param {{status: number, media: string}} stream.response
   * @param {object} [stream.expected] see `verifyAnswer`
   * @param {boolean} [stream.releaseEarly] hand on all octets as they come: nothing is trusted
   *   before `finish`, and those of an invalid stream have been used by then
   */
  constructor({ keys, proof, request, response, expected, releaseEarly = false }) {
    this.#keys = keys;
    this.#proof = proof;
    this.#request = seenRequest(request);
    this.#response = response;
    this.#expected = expecting(expected);
    this.#headExpected = { ...this.#expected, ageMsMax: null };
    this.#releaseEarly = releaseEarly;
    this.#open();
  }

  /** Whether octets are handed on before they are proven. */
  get releasesEarly() {
    return this.#releaseEarly;
  }

  /** Whether something contradicts the proof; nothing is trusted from here on. */
  get failed() {
    return this.#findings.failed;
  }

  /** How many events are proven so far. */
  get trustedEvents() {
    return this.#trusted;
  }

  /**
   * Takes received octets and returns the events that may be used now, in order.
   *
   * @param {Uint8Array} data octets of the body as they come, without content coding.
   * @param {number|null} [nowMs] the present; give it for a live stream, whose heads are fresh.
   *   Without it the stream is a recorded one: only its end's age is limited.
   * @returns {Promise<Uint8Array[]>} exact octets, comments left out; nothing after a failure.
   */
  feed(data, nowMs = null) {
    this.#turn = this.#turn.then(() => this.#feed(data, nowMs));
    return this.#turn;
  }

  /**
   * Judges the stream; call it once the body has ended, however it ended.
   *
   * @param {Uint8Array|string|null} [graph] the provenance graph, if it was fetched.
   * @returns {Promise<Report>}
   */
  finish(graph = null) {
    this.#turn = this.#turn.then(() => this.#finish(graph));
    return this.#turn;
  }

  /** Makes check 1 and begins the chain. */
  #open() {
    const proof = this.#proof;
    if (proof === null) return;
    if (proof.statement.length > 0 || proof.jws) {
      this.#findings.fails(1, "a stream carries its statement inside, not in headers");
    } else if (proof.salt.length !== SALT_BYTES || !isProvId(proof.provId)) {
      this.#findings.fails(1, "the salt or the prov_id is missing or malformed");
    } else if (!isStreamMedia(this.#response.media)) {
      this.#findings.fails(1, "the content type is not that of a stream");
    } else {
      this.#findings.passes(1, "proof headers of a stream");
      const requestCommit = commit("req", proof.salt, this.#request.body);
      this.#chain = new Chain(proof.salt, proof.provId, requestCommit);
    }
  }

  async #feed(data, nowMs) {
    if (nowMs !== null) {
      this.#expected = { ...this.#expected, nowMs };
      this.#headExpected = this.#expected;
    }
    const released = [];
    if (this.#chain !== null && !this.failed) {
      try {
        for (const block of this.#splitter.blocks(data)) released.push(...(await this.#take(block)));
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        const number = error instanceof CheckFailed ? error.number : 11;
        this.#findings.fails(number, error.message);
      }
    }
    if (this.#releaseEarly) return data.length > 0 ? [data] : [];
    return released;
  }

  /** Takes one block and returns the events that it makes trusted. */
  async #take(block) {
    if (isComment(block)) {
      const comment = readSignedComment(block);
      return comment === null ? [] : this.#takeSigned(comment);
    }
    if (this.#statement !== null) return this.#takeDone(block);
    if (sameOctets(block, DONE_EVENT)) {
      throw new CheckFailed(12, "[DONE] without a final statement before it");
    }
    this.#chain.add(block);
    if (this.#chain.events % DIGESTS_MAX === 0) await this.#chain.head();
    this.#heldOctets += block.length;
    if (this.#heldOctets > HELD_BYTES_MAX) {
      throw new CheckFailed(11, `no signed head for ${HELD_BYTES_MAX} octets`);
    }
    if (!this.#releaseEarly) this.#held.push(block);
    return [];
  }

  /** After the final statement only the `[DONE]` that it covers may come, once. */
  #takeDone(block) {
    if (!sameOctets(block, DONE_EVENT) || this.#statement.res.events !== this.#chain.events + 1) {
      throw new CheckFailed(11, "an event that the final statement does not cover");
    }
    this.#chain.add(block);
    this.#trusted = this.#chain.events;
    return [block];
  }

  async #takeSigned(comment) {
    if (this.#statement !== null) {
      throw new CheckFailed(11, "a signature after the final statement");
    }
    const { typ } = readJws(comment.jws).header;
    if (typ !== TYPE_HEAD && typ !== TYPE_STATEMENT) {
      throw new CheckFailed(2, `a signature of type ${typ} has no place in a stream`);
    }
    await verifyJws(this.#keys, comment.jws, comment.payload, typ, this.#findings);
    if (typ === TYPE_HEAD) await this.#takeHead(readVerified(comment.payload, readHead));
    else await this.#takeStatement(readVerified(comment.payload, readStatement));
    this.#signed = comment;
    const released = this.#held;
    this.#held = [];
    this.#heldOctets = 0;
    this.#trusted = this.#chain.events;
    return released;
  }

  async #takeHead(head) {
    this.#findings.passes(5, `head of version ${head.v} over ${head.n} events`);
    this.#checkExpected(head, this.#headExpected);
    if (head.n !== this.#chain.events) {
      throw new CheckFailed(11, `a head over ${head.n} events stands after ${this.#chain.events}`);
    }
    if (head.head !== (await this.#chain.head())) {
      throw new CheckFailed(11, `the first ${head.n} events are not the signed ones`);
    }
    this.#head = head;
  }

  async #takeStatement(statement) {
    this.#findings.passes(5, `statement of version ${statement.v}`);
    this.#checkExpected(statement, this.#expected);
    const wrong = await wrongRequest(statement, this.#proof.salt, this.#request);
    this.#findings.judge(10, wrong, "method, path, query and body");
    const problem = wrongHeadLine(statement, this.#response) || (await wrongEnd(statement.res, this.#chain));
    this.#findings.judge(11, problem, `chain over ${statement.res.events} events`);
    this.#refuseFailed();
    if (statement.res.events !== this.#chain.events && !statement.res.fin) {
      throw new CheckFailed(12, "[DONE] is signed for a stream that is called incomplete");
    }
    this.#statement = statement;
  }

  /** Makes checks 6 to 9, and holds every signature to what the head before it said. */
  #checkExpected(signed, expected) {
    checkExpected(signed, this.#proof.provId, expected, this.#findings);
    this.#refuseFailed();
    const before = this.#head;
    if (before === null) return;
    if (before.iss !== signed.iss || before.aud !== signed.aud) {
      throw new CheckFailed(7, "two signatures of one stream name different parties");
    }
    if (before.nonce !== signed.nonce) {
      throw new CheckFailed(8, "two signatures of one stream carry different nonces");
    }
  }

  #refuseFailed() {
    const failure = this.#findings.firstFailure;
    if (failure !== undefined) throw new CheckFailed(failure.number, failure.detail);
  }

  async #finish(graph) {
    if (this.#proof === null) {
      this.#findings.fails(1, "no proof headers");
      return this.#report("UNSIGNED");
    }
    if (this.failed) return this.#report("INVALID");
    if (this.#statement !== null) return this.#judgeEnd(this.#statement, graph);
    if (this.#head !== null) return this.#judgeCut(this.#head);
    this.#findings.fails(1, "nothing that arrived is signed");
    return this.#report("UNSIGNED");
  }

  #judgeCut(head) {
    checkExpected(head, this.#proof.provId, this.#expected, this.#findings);
    if (this.failed) return this.#report("INVALID");
    this.#findings.skips(14, "a stream has no Content-Digest");
    this.#findings.skips(10, "only the body is bound so far, by the chain's beginning");
    this.#findings.passes(11, `the first ${head.n} events are in the signed chain`);
    this.#findings.skips(13, "the final statement, which names the graph, did not arrive");
    this.#findings.fails(12, `cut after ${head.n} proven events`);
    return this.#report("VERIFIED_PREFIX");
  }

  async #judgeEnd(statement, graph) {
    const { res } = statement;
    this.#findings.skips(14, "a stream has no Content-Digest");
    await checkGraph(statement, graph, this.#findings);
    const arrived = res.events === this.#trusted;
    if (arrived && !isCutComment(this.#splitter.pending)) {
      this.#findings.fails(11, "octets after the end");
    }
    if (this.failed) return this.#report("INVALID");
    if (res.fin && arrived) {
      this.#findings.passes(12, `final statement over all ${this.#trusted} events`);
      return this.#report("VERIFIED");
    }
    const early = "the gateway says that the stream ended early";
    this.#findings.fails(12, res.fin ? "cut before [DONE]" : early);
    return this.#report("VERIFIED_PREFIX");
  }

  #report(verdict) {
    const events = verdict === "UNSIGNED" ? null : this.#trusted;
    const provId = this.#proof === null ? "" : this.#proof.provId;
    return makeReport(verdict, events, this.#findings, provId, this.#statement, this.#signed);
  }
}

/**
 * Says what is wrong with a final statement that stands after the chain's events. Where the
 * protocol has a `[DONE]`, a whole stream's statement also covers the one that follows.
 */
async function wrongEnd(res, chain) {
  if (res.mode !== "sse") return "the statement is about a whole body";
  const coversDone = res.events === chain.events + 1;
  if (!coversDone && res.events !== chain.events) {
    return `a final statement over ${res.events} events stands after ${chain.events}`;
  }
  const head = coversDone ? await chain.peek(DONE_EVENT) : await chain.head();
  if (res.commit !== head) return "the events are not the signed ones";
  const octets = chain.octets + (coversDone ? DONE_EVENT.length : 0);
  return res.len === octets ? "" : `${res.len} octets are signed, seen were ${octets}`;
}

// 12. A whole answer: checks 1 to 14 -------------------------------------------------------------

/** Returns a request with its optional members, as octets. */
function seenRequest({ method, path, query = "", body = "" }) {
  return { method, path, query: asOctets(query, "a query"), body: asOctets(body, "a body") };
}

/**
 * Verifies one answer that is there as a whole; a stream too, as its recorded octets.
 *
 * @param {object} answer
 * @param {number} answer.status
 * @param {Iterable<[string, string]>} answer.headers pairs of name and value
 * @param {Uint8Array|string} answer.body octets without content coding
 * @param {SeenRequest|null} [answer.request] what was sent: method in upper case, path as sent
 *   without the query; null skips check 10
 * @param {Uint8Array|string|null} [answer.graph] the provenance graph as served; null skips check 13
 * @param {Uint8Array|string|null} [answer.proof] the ledger's proof file
 * @param {object|Trust} trust what the caller trusts, see `openTrust`; never taken from the answer
 * @param {Expectation} [expected] what else the caller knows; null leaves the check out
 * @returns {Promise<Report>}
 * @throws {Unsupported} nothing can be verified here.
 */
export async function verifyAnswer(answer, trust, expected = {}) {
  const opened = await openOrReport(trust);
  if (!(opened instanceof Trust)) return opened;
  const report = await verifyOctets(answer, opened.keys, expecting(expected));
  return withProof(report, answer.proof ?? null, opened);
}

async function withProof(report, proof, trust) {
  return proof === null && !trust.hasLedger ? report : verifyLedger(report, proof, trust);
}

async function verifyOctets(answer, keys, expected) {
  const headers = foldHeaders(answer.headers);
  const refused = (error) => ({ refusal: error.message });
  const proof = attempt(() => readProofHeaders(headers), refused);
  if (proof === null) return refusedReport("UNSIGNED", 1, "no proof headers");
  if (proof.refusal !== undefined) return refusedReport("INVALID", 1, proof.refusal);
  const request = answer.request ? seenRequest(answer.request) : null;
  const response = {
    status: answer.status,
    media: headers.get("content-type") ?? "",
    body: asOctets(answer.body, "a body"),
    contentDigest: headers.get("content-digest") ?? null,
  };
  const graph = answer.graph ?? null;
  if (proof.statement.length === 0 && proof.jws === "" && isStreamMedia(response.media)) {
    return verifyRecordedStream({ keys, proof, request, response, expected }, graph);
  }
  return verifyWhole({ keys, proof, request, response, expected }, graph);
}

async function verifyRecordedStream(stream, graph) {
  if (stream.request === null) {
    const detail = "a stream's chain begins with its request; give the request too";
    return refusedReport("INVALID", 10, detail, 0, stream.proof.provId);
  }
  const verifier = new StreamVerifier(stream);
  await verifier.feed(stream.response.body);
  return verifier.finish(graph);
}

async function verifyWhole({ keys, proof, request, response, expected }, graph) {
  const findings = new Findings();
  let statement;
  try {
    if (proof.statement.length === 0 || proof.jws === "") {
      throw new CheckFailed(1, "the statement or the signature is missing");
    }
    findings.passes(1, proof.salt ? "statement, signature and salt" : "statement and signature");
    await verifyJws(keys, proof.jws, proof.statement, TYPE_STATEMENT, findings);
    statement = readVerified(proof.statement, readStatement);
  } catch (error) {
    if (!(error instanceof CheckFailed)) throw error;
    findings.fails(error.number, error.message);
    return makeReport("INVALID", null, findings, proof.provId);
  }
  findings.passes(5, `statement of version ${statement.v}`);
  checkExpected(statement, proof.provId, expected, findings);
  await checkSeen(statement, proof.salt, request, response, findings);
  await checkGraph(statement, graph, findings);
  await checkContentDigest(response, findings);
  const verdict = judgeWhole(statement.res, findings);
  const events = verdict === "INVALID" ? 0 : statement.res.events;
  const signed = { payload: proof.statement, jws: proof.jws };
  const count = statement.res.events === undefined ? null : events;
  return makeReport(verdict, count, findings, proof.provId, statement, signed);
}

/** Makes checks 10 and 11. */
async function checkSeen(statement, salt, request, response, findings) {
  if (request === null) {
    findings.skips(10, "no request was given");
  } else {
    findings.judge(10, await wrongRequest(statement, salt, request), "method, path, query and body");
  }
  if (response === null) {
    findings.skips(11, "no response was given");
  } else if (statement.res.mode === "sse") {
    const problem = wrongHeadLine(statement, response) || (await wrongEvents(statement, salt, response.body));
    findings.judge(11, problem, `chain over ${statement.res.events} events`);
  } else {
    const detail = `${statement.res.len} octets, status and media type`;
    findings.judge(11, await wrongBody(statement, salt, response), detail);
  }
}

/** Makes check 12; a stream that its gateway ended early is a proven prefix. */
function judgeWhole(res, findings) {
  const sound = !findings.failed;
  if (res.fin) {
    findings.passes(12, "the answer is complete");
    return sound ? "VERIFIED" : "INVALID";
  }
  findings.fails(12, "the gateway says that the answer is not complete");
  return sound && res.mode === "sse" ? "VERIFIED_PREFIX" : "INVALID";
}

/** Says what is wrong with a recorded stream whose final statement was taken out of it. */
async function wrongEvents({ req, res, prov_id: provId }, salt, body) {
  const chain = new Chain(salt, provId, req.commit);
  const splitter = new BlockSplitter();
  let lastIsDone = false;
  try {
    for (const block of splitter.blocks(body)) {
      if (isComment(block)) continue;
      if (lastIsDone) return "an event after [DONE]";
      lastIsDone = sameOctets(block, DONE_EVENT);
      chain.add(block);
      if (chain.events % DIGESTS_MAX === 0) await chain.head();
    }
  } catch (error) {
    if (error instanceof StreamRefused) return error.message;
    throw error;
  }
  if (lastIsDone && !res.fin) return "[DONE] in a stream that its gateway calls incomplete";
  if (!isCutComment(splitter.pending)) return "the stream was cut within an event";
  if (res.events !== chain.events || res.len !== chain.octets) {
    return `${res.events} events are signed, seen were ${chain.events}`;
  }
  return res.commit === (await chain.head()) ? "" : "the events are not the signed ones";
}

// 13. Notes, checkpoints, cosignatures (ledger format, sections 6 to 8) --------------------------

const NOTE_BYTES_MAX = 1_048_576;
const SIGNATURES_MAX = 100;
const KEY_HASH_BYTES = 4;
const NAME_CHARS_MAX = 255;
const ALGORITHM_LOG = 1;
const ALGORITHM_WITNESS = 4;
const SIZE_MAX = 2n ** 63n - 1n;
const DASH = "\u2014 ";
/** What C2SP takes for spaces: Unicode's, to which a byte order mark does not belong. */
const SPACES = /[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

function decodeNoteBase64(text, what) {
  return refusing(
    (reason) => new NoteRefused(`the ${what} is ${reason}`),
    () => decodeBase64(text),
  );
}

function checkKeyName(name) {
  const length = [...name].length;
  if (length === 0 || length > NAME_CHARS_MAX) {
    throw new NoteRefused(`a key name has 1 to ${NAME_CHARS_MAX} characters, not ${length}`);
  }
  if (/[\u0000-\u0020+]/.test(name) || SPACES.test(name) || /\p{Surrogate}/u.test(name)) {
    throw new NoteRefused(`a space, plus or control character in the key name ${quoted(name)}`);
  }
}

async function keyHash(name, algorithm, raw) {
  const content = joined(octetsOf(`${name}\n`), new Uint8Array([algorithm]), raw);
  return hexOf((await sha256(content)).subarray(0, KEY_HASH_BYTES));
}

/** Returns the key of a log or a witness: name, hash in hex, algorithm and public key. */
async function verifierKey(name, raw, algorithm = ALGORITHM_LOG) {
  checkKeyName(name);
  const role = algorithm === ALGORITHM_LOG ? "log" : "witness";
  const key = await refusing(
    (reason) => new NoteRefused(`the key ${quoted(name)} is refused: ${reason}`),
    () => importKey(raw, role),
  );
  return { name, hash: await keyHash(name, algorithm, raw), algorithm, key };
}

/**
 * Reads a verifier key, `name+hash+key`, in its one spelling.
 *
 * @param {string} text
 * @throws {NoteRefused}
 */
export async function readVerifierKey(text) {
  const [name, hash, ...rest] = text.split("+");
  if (rest.length === 0) throw new NoteRefused("a verifier key is name+hash+key");
  const decoded = decodeNoteBase64(rest.join("+"), "verifier key");
  if (decoded.length === 0) throw new NoteRefused("the verifier key is empty");
  const [algorithm] = decoded;
  if (algorithm !== ALGORITHM_LOG && algorithm !== ALGORITHM_WITNESS) {
    throw new NoteRefused(`the key ${quoted(name)} is of the unknown algorithm ${algorithm}`);
  }
  checkKeyName(name);
  const expected = await keyHash(name, algorithm, decoded.subarray(1));
  if (expected !== hash) throw new NoteRefused(`the hash of the key ${quoted(name)} is ${expected}`);
  return verifierKey(name, decoded.subarray(1), algorithm);
}

/** Reads a signed note; nothing is verified yet. */
function readNote(octets) {
  if (octets.length > NOTE_BYTES_MAX) {
    throw new NoteRefused(`a note of more than ${NOTE_BYTES_MAX} octets`);
  }
  const whole = noteText(octets);
  const end = whole.lastIndexOf("\n\n");
  if (end < 0) throw new NoteRefused("the note has no empty line before its signatures");
  const lines = whole.slice(end + 2);
  if (!lines.endsWith("\n")) {
    throw new NoteRefused("the last signature line has no line end, or there is none");
  }
  const signatures = lines.slice(0, -1).split("\n");
  if (signatures.length > SIGNATURES_MAX) {
    throw new NoteRefused(`a note of more than ${SIGNATURES_MAX} signatures`);
  }
  return { text: whole.slice(0, end + 1), signatures: signatures.map(readSignatureLine) };
}

function noteText(octets) {
  if (octets.some((one) => one < 32 && one !== LINE_END)) {
    throw new NoteRefused("a control character in the note");
  }
  return refusing(
    () => new NoteRefused("the note is not UTF-8"),
    () => textOf(octets),
  );
}

function readSignatureLine(line) {
  if (!line.startsWith(DASH)) throw new NoteRefused("a line after the text is no signature");
  const space = line.indexOf(" ", DASH.length);
  if (space < 0) throw new NoteRefused("a signature line is a dash, a name and a signature");
  const name = line.slice(DASH.length, space);
  checkKeyName(name);
  const decoded = decodeNoteBase64(line.slice(space + 1), "signature");
  if (decoded.length <= KEY_HASH_BYTES) throw new NoteRefused("a signature without octets");
  const hash = hexOf(decoded.subarray(0, KEY_HASH_BYTES));
  return { name, hash, signature: decoded.subarray(KEY_HASH_BYTES) };
}

/** Returns the signature lines that name a known key, with that key; nothing is verified yet. */
function knownSignatures(note, keys) {
  return note.signatures.flatMap((line) => {
    const known = keys.filter((key) => key.name === line.name && key.hash === line.hash);
    if (known.length > 1) {
      throw new NoteRefused(`two keys are called ${quoted(line.name)} and have one hash`);
    }
    return known.map((key) => ({ line, key }));
  });
}

async function verifyNoteSignature({ name, key }, signature, message) {
  if (!(await key.verify(signature, octetsOf(message)))) {
    throw new NoteRefused(`the signature of ${quoted(name)} is not of this key over this text`);
  }
}

/** Reads a signed checkpoint and verifies that its log signed it; cosignatures are not yet. */
async function openCheckpoint(octets, logKey) {
  const note = readNote(octets);
  const own = knownSignatures(note, [logKey]);
  if (logKey.algorithm !== ALGORITHM_LOG && own.length > 0) {
    throw new NoteRefused(`the key ${quoted(logKey.name)} signs no notes, only cosignatures`);
  }
  for (const { line } of own) await verifyNoteSignature(logKey, line.signature, note.text);
  if (own.length === 0) throw new NoteRefused("no known key has signed the note");
  const checkpoint = await readCheckpoint(note.text);
  if (checkpoint.origin !== logKey.name) {
    throw new NoteRefused(`a checkpoint of ${quoted(checkpoint.origin)}, signed by ${quoted(logKey.name)}`);
  }
  return { ...checkpoint, note };
}

async function readCheckpoint(text) {
  const lines = text.slice(0, -1).split("\n");
  if (lines.length < 3 || lines.includes("")) {
    throw new NoteRefused("a checkpoint has three lines at least, and none is empty");
  }
  const size = readDecimal(lines[1]);
  const root = readHash(lines[2]);
  if (size === 0n && !sameOctets(root, await sha256(new Uint8Array()))) {
    throw new NoteRefused("a checkpoint without leaves has another root");
  }
  return { origin: lines[0], size, root };
}

function readDecimal(text) {
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text) || BigInt(text) > SIZE_MAX) {
    throw new NoteRefused(`not a decimal from 0 to ${SIZE_MAX}: ${quoted(text, 32)}`);
  }
  return BigInt(text);
}

function readHash(text) {
  const octets = decodeNoteBase64(text, "hash");
  if (octets.length !== 32) throw new NoteRefused(`a hash has 32 octets, not ${octets.length}`);
  return octets;
}

/** Verifies that a witness cosigned a checkpoint, and returns when, Unix seconds. */
async function verifyCosignature(witness, checkpointText, signature) {
  if (signature.length !== 72) {
    throw new NoteRefused(`the cosignature of ${quoted(witness.name)} has another length`);
  }
  const atS = BigInt(`0x${hexOf(signature.subarray(0, 8))}`);
  if (atS > SIZE_MAX) throw new NoteRefused(`a cosignature's time is from 0 to ${SIZE_MAX} s`);
  const message = `cosignature/v1\ntime ${atS}\n${checkpointText}`;
  await verifyNoteSignature(witness, signature.subarray(8), message);
  return atS;
}

// 14. The witness policy (ledger format, section 9) ----------------------------------------------

const POLICY_BYTES_MAX = 131_072;
const POLICY_ENTRIES_MAX = 64;
const NO_QUORUM = "none";

/**
 * Reads a policy file.
 *
 * @param {Uint8Array|ArrayBuffer|string} document
 * @throws {PolicyRefused} names the line and what is wrong with it.
 */
export async function readPolicy(document) {
  const octets = asOctets(document, "a policy");
  if (octets.length > POLICY_BYTES_MAX) {
    throw new PolicyRefused(`a policy of more than ${POLICY_BYTES_MAX} octets`);
  }
  if (octets.some((one) => (one < 32 && one !== 9 && one !== LINE_END) || one === 127)) {
    throw new PolicyRefused("a control character in the policy");
  }
  if (octets[octets.length - 1] !== LINE_END) {
    throw new PolicyRefused("the last line of the policy has no line end");
  }
  const policy = new WitnessPolicy();
  // Octets beyond ASCII are opaque, so that two names stay apart which differ in any of them.
  for (const [at, line] of latinOf(octets).split("\n").entries()) {
    const words = line.split(/[ \t]/).filter((word) => word !== "");
    if (words.length === 0 || words[0].startsWith("#")) continue;
    await refusing(
      (reason) => new PolicyRefused(`line ${at + 1} of the policy: ${reason}`),
      () => policy.take(words[0], words.slice(1)),
    );
  }
  if (policy.quorum === null) throw new PolicyRefused("the policy has no quorum line");
  return policy;
}

/** Which logs count, and which witnesses have to have seen a checkpoint. */
class WitnessPolicy {
  logs = [];
  witnesses = [];
  groups = [];
  quorum = null;
  #members = new Set();

  /** Takes one line of the file. */
  async take(keyword, words) {
    const count = words.length;
    if (keyword === "log" && count >= 1 && count <= 2) {
      this.#add(this.logs, { key: await this.#key(words[0], ALGORITHM_LOG, this.logs) });
    } else if (keyword === "witness" && count >= 2 && count <= 3) {
      const key = await this.#key(words[1], ALGORITHM_WITNESS, this.witnesses);
      this.#refuseTaken(words[0]);
      this.#add(this.witnesses, { name: words[0], key });
    } else if (keyword === "group" && count >= 3) {
      this.#takeGroup(words[0], words[1], words.slice(2));
    } else if (keyword === "quorum" && count === 1) {
      if (this.quorum !== null) throw new PolicyRefused("a second quorum line");
      if (words[0] !== NO_QUORUM) this.#checkDefined(words[0]);
      this.quorum = words[0];
    } else {
      throw new PolicyRefused(`${quoted(keyword, 32)} with ${count} words after it`);
    }
  }

  async #key(word, algorithm, others) {
    const text = textOf(Uint8Array.from(word, (one) => one.charCodeAt(0)));
    const key = await readVerifierKey(text);
    if (key.algorithm !== algorithm) {
      throw new PolicyRefused(`a key of algorithm ${key.algorithm}; this line takes ${algorithm}`);
    }
    if (others.some((one) => sameOctets(one.key.key.raw, key.key.raw))) {
      throw new PolicyRefused("a second line with the same key");
    }
    return key;
  }

  #takeGroup(name, threshold, members) {
    this.#refuseTaken(name);
    for (const member of members) {
      this.#checkDefined(member);
      if (this.#members.has(member)) {
        throw new PolicyRefused(`${quoted(member)} is the member of a group twice`);
      }
      this.#members.add(member);
    }
    let count = /^[1-9][0-9]{0,2}$/.test(threshold) ? Number(threshold) : 0;
    if (threshold === "all") count = members.length;
    if (threshold === "any") count = 1;
    if (count < 1 || count > members.length) {
      throw new PolicyRefused(`a group asks for 1 to ${members.length}, any or all of its members`);
    }
    this.#add(this.groups, { name, threshold: count, members });
  }

  #add(list, entry) {
    if (list.length === POLICY_ENTRIES_MAX) {
      throw new PolicyRefused(`more than ${POLICY_ENTRIES_MAX} lines of one kind`);
    }
    list.push(entry);
  }

  #isDefined(name) {
    return [...this.witnesses, ...this.groups].some((one) => one.name === name);
  }

  #checkDefined(name) {
    if (!this.#isDefined(name)) {
      throw new PolicyRefused(`no witness or group before this line is called ${quoted(name)}`);
    }
  }

  #refuseTaken(name) {
    if (name === NO_QUORUM || this.#isDefined(name)) {
      throw new PolicyRefused(`the name ${quoted(name)} is taken`);
    }
  }

  /** Says whether these witnesses, by name, are together the quorum. */
  isQuorum(names) {
    if (this.quorum === NO_QUORUM) return true;
    const witnessed = new Set(names);
    for (const group of this.groups) {
      const present = group.members.filter((member) => witnessed.has(member)).length;
      if (present >= group.threshold) witnessed.add(group.name);
    }
    return witnessed.has(this.quorum);
  }

  /**
   * Verifies the witnesses' cosignatures on a checkpoint.
   *
   * @returns {Promise<{met: boolean, names: string[], quorumAtS: bigint|null}>} whether they are
   *   enough, who they are, and when a quorum had seen it.
   */
  async quorumMet(note) {
    const seen = new Map();
    const keys = this.witnesses.map((one) => one.key);
    for (const { line, key } of knownSignatures(note, keys)) {
      const atS = await verifyCosignature(key, note.text, line.signature);
      const { name } = this.witnesses.find((one) => one.key === key);
      if (!seen.has(name) || atS < seen.get(name)) seen.set(name, atS);
    }
    const names = this.witnesses.map((one) => one.name).filter((name) => seen.has(name));
    return { met: this.isQuorum(names), names, quorumAtS: this.#quorumAtS(seen) };
  }

  #quorumAtS(seen) {
    if (this.quorum === NO_QUORUM) return null;
    const inOrder = [...seen].sort(([, one], [, other]) => (one < other ? -1 : Number(one > other)));
    const names = [];
    for (const [name, atS] of inOrder) {
      names.push(name);
      // Several may have seen it in one second: it is the earliest at which they suffice.
      if (this.isQuorum(names)) return atS;
    }
    return null;
  }
}

// 15. Proof files (ledger format, sections 2, 4 and 10) ------------------------------------------

const PROOF_BYTES_MAX = NOTE_BYTES_MAX + 131_072;
const EXTRA_BYTES_MAX = 65_536;
const INCLUSION_HASHES_MAX = 63;
const PROOF_FIRST_LINE = "c2sp.org/tlog-proof@v1";
const LEAF_ANSWER = new Uint8Array([1]);

/**
 * Reads a proof file; nothing in it is verified.
 *
 * @param {Uint8Array|ArrayBuffer|string} document
 * @returns {{index: bigint, hashes: Uint8Array[], checkpoint: Uint8Array}}
 * @throws {ProofRefused}
 */
export function readProof(document) {
  const octets = asOctets(document, "a proof");
  if (octets.length > PROOF_BYTES_MAX) {
    throw new ProofRefused(`a proof file of more than ${PROOF_BYTES_MAX} octets`);
  }
  const whole = latinOf(octets);
  const end = whole.indexOf("\n\n");
  if (end < 0) throw new ProofRefused("the proof file has no empty line before the checkpoint");
  const lines = whole.slice(0, end).split("\n");
  if (!isAscii(whole.slice(0, end)) || lines.shift() !== PROOF_FIRST_LINE) {
    throw new ProofRefused(`the proof file does not begin with ${PROOF_FIRST_LINE} and ASCII`);
  }
  const read = () => {
    if (lines[0]?.startsWith("extra ")) skipExtra(lines.shift().slice(6));
    if (!lines[0]?.startsWith("index ")) throw new NoteRefused("the proof file has no index line");
    const index = readDecimal(lines[0].slice(6));
    const hashes = lines.slice(1).map(readHash);
    if (index >= SIZE_MAX) throw new NoteRefused(`there is no index ${index} in any log`);
    if (hashes.length > INCLUSION_HASHES_MAX) {
      throw new NoteRefused(`a path of more than ${INCLUSION_HASHES_MAX} hashes`);
    }
    return { index, hashes, checkpoint: octets.slice(end + 2) };
  };
  return refusing((reason) => new ProofRefused(`the proof file is malformed: ${reason}`), read);
}

/** Nothing in the extra line is authenticated: it is checked for its form and dropped. */
function skipExtra(text) {
  const extra = decodeNoteBase64(text, "extra data");
  if (extra.length === 0 || extra.length > EXTRA_BYTES_MAX) {
    throw new NoteRefused(`extra data of ${extra.length} octets`);
  }
}

/** The entry of the ledger for an answer: 33 octets (section 2). */
async function leafEntry(statement, jws) {
  const length = fromHex(hexadecimal(statement.length, 8));
  const content = joined(octetsOf("attest/v1/leaf\0"), length, statement, octetsOf(jws));
  return joined(LEAF_ANSWER, await sha256(content));
}

/** Verifies that a tree includes a leaf at an index (RFC 9162, section 2.1.3.2). */
async function verifyInclusion(entry, { index, hashes }, { size, root }) {
  if (index >= size) throw new ProofRefused(`there is no leaf ${index} in a tree of ${size} leaves`);
  let hashed = await sha256(joined(new Uint8Array([0]), entry));
  let [first, last] = [index, size - 1n];
  for (const step of hashes) {
    if (last === 0n) throw new ProofRefused("the inclusion proof is too long");
    if (first & 1n || first === last) {
      hashed = await sha256(joined(ONE, step, hashed));
      while (!(first & 1n) && first) [first, last] = [first >> 1n, last >> 1n];
    } else {
      hashed = await sha256(joined(ONE, hashed, step));
    }
    [first, last] = [first >> 1n, last >> 1n];
  }
  if (last) throw new ProofRefused("the inclusion proof is too short");
  if (!sameOctets(hashed, root)) throw new ProofRefused("the inclusion proof leads to another root");
}

/** Verifies that a log holds an entry, and returns the checkpoint that says so. */
async function verifyProof(proof, entry, logKey) {
  const refused = (reason) => new ProofRefused(`the checkpoint is refused: ${reason}`);
  const checkpoint = await refusing(refused, () => openCheckpoint(proof.checkpoint, logKey));
  await verifyInclusion(entry, proof, checkpoint);
  return checkpoint;
}

/** Verifies that a policy's witnesses have seen a proven checkpoint, and returns who did. */
async function verifyWitnesses(policy, checkpoint, logKey) {
  const named = policy.logs.map((one) => one.key);
  if (named.length > 0 && !named.some((key) => isSameKey(key, logKey))) {
    throw new ProofRefused(`the policy does not name the log ${quoted(checkpoint.origin)}`);
  }
  if (policy.witnesses.some((one) => sameOctets(one.key.key.raw, logKey.key.raw))) {
    throw new ProofRefused("a witness of the policy has the key of the log: it vouches for itself");
  }
  const refused = (reason) => new ProofRefused(`the checkpoint is refused: ${reason}`);
  const cosigned = await refusing(refused, () => policy.quorumMet(checkpoint.note));
  if (!cosigned.met) {
    const names = cosigned.names.map((name) => quoted(name)).join(", ") || "nobody";
    throw new ProofRefused(`the checkpoint lacks the quorum ${quoted(policy.quorum)}: ${names} cosigned`);
  }
  return cosigned;
}

function isSameKey(one, other) {
  return (
    one.name === other.name && one.algorithm === other.algorithm && sameOctets(one.key.raw, other.key.raw)
  );
}

// 16. The key ring (format, section 6) -----------------------------------------------------------

const NO_VERSION = "0".repeat(64);
const RING_BYTES_MAX = 1_048_576;
const VERSIONS_MAX = 10_000;
const FOR_EVER_MS = Number.MAX_SAFE_INTEGER;
const ENTRY = {
  kid: isText,
  x: isText,
  alg: isAlgorithm,
  role: isRole,
  created_ms: isInteger,
  not_before_ms: isInteger,
  not_after_ms: isInteger,
  retired_ms: isInteger,
  revoked_ms: isInteger,
  reason: isText,
  emergency: isText,
};
const RING = { v: isInteger, version: isInteger, prev: isText, iat: isInteger, keys: arrayOf(ENTRY) };
const RING_DOCUMENT = { v: isInteger, versions: arrayOf({ statement: isText, signature: isText }) };

/**
 * Reads a key ring with its whole history and checks it against what was seen before.
 *
 * @param {Uint8Array|ArrayBuffer|string} document as `/.well-known/attest/keyring.json` serves it
 * @param {{version: number, sha256: string}|null} [seen] what was remembered; null at first
 * @returns {Promise<{ring: object, remember: {version: number, sha256: string}}>} the newest
 *   version, and what to remember before anything is believed by it.
 * @throws {KeyRingRefused} believe none of it.
 */
export async function readKeyRing(document, seen = null) {
  await requireSupport();
  const octets = asOctets(document, "a key ring");
  const found = refusing(
    (reason) => new KeyRingRefused(`not a key ring document: ${reason}`),
    () => fit(new JsonReader(textOf(octets), { distinct: true }).whole(), RING_DOCUMENT),
  );
  if (found.v !== 1) {
    throw new KeyRingRefused(`key ring document ${found.v} is not known; update the verifier`);
  }
  const history = [];
  for (const { statement, signature } of found.versions)
    history.push(await readVersion(statement, signature));
  return { ring: history.at(-1)?.ring, remember: await checkHistory(history, seen) };
}

async function readVersion(encoded, signature) {
  const refused = (reason) => new KeyRingRefused(`not a key ring: ${reason}`);
  const statement = refusing(refused, () => decodeBase64url(encoded));
  if (statement.length > RING_BYTES_MAX) throw refused(`longer than ${RING_BYTES_MAX} bytes`);
  const ring = refusing(refused, () => readCanonical(statement, RING));
  if (ring.v !== 1) {
    throw new KeyRingRefused(`key ring format ${ring.v} is not known here; update the verifier`);
  }
  if (ring.version < 1 || ring.iat < 0) {
    throw new KeyRingRefused("the version or the time of the key ring is negative");
  }
  if (new Set(ring.keys.map((entry) => entry.kid)).size !== ring.keys.length) {
    throw new KeyRingRefused("one key stands twice in the ring: no key may have two roles");
  }
  ring.keys.forEach(checkEntry);
  return { ring, statement, signature, sha256: hexOf(await sha256(statement)) };
}

function checkEntry(entry) {
  const name = `the key ${quoted(entry.kid)}`;
  const { created_ms: madeMs, not_before_ms: beginsMs, not_after_ms: endsMs } = entry;
  if (Math.min(madeMs, beginsMs, endsMs, entry.retired_ms, entry.revoked_ms) < 0) {
    throw new KeyRingRefused(`${name} has a negative time`);
  }
  if (beginsMs < madeMs) throw new KeyRingRefused(`${name} is used before it was made`);
  if (endMs(entry) <= beginsMs) throw new KeyRingRefused(`${name} ends before it begins`);
  if ((entry.revoked_ms !== 0) !== (entry.reason !== "")) {
    throw new KeyRingRefused(`${name} needs a reason if, and only if, it is revoked`);
  }
}

/** When a key stops to sign by retirement; far away if that is not set. */
function endMs(entry) {
  return Math.min(entry.not_after_ms || FOR_EVER_MS, entry.retired_ms || FOR_EVER_MS);
}

/** When a key stops to sign for whatever reason. */
function windowEndMs(entry) {
  return Math.min(endMs(entry), entry.revoked_ms || FOR_EVER_MS);
}

/** The state of a key at a time; a time that has come counts. */
function stateAt(entry, nowMs) {
  if (entry.revoked_ms && entry.revoked_ms <= nowMs) return "revoked";
  if (endMs(entry) <= nowMs) return "retired";
  return entry.not_before_ms <= nowMs ? "active" : "pending";
}

/** Checks a whole history, and returns what to remember from now on. */
async function checkHistory(history, seen) {
  if (history.length === 0) {
    throw new KeyRingRefused("an empty history: a gateway has a ring from its first start");
  }
  if (history.length > VERSIONS_MAX) {
    throw new KeyRingRefused(`a history of more than ${VERSIONS_MAX} versions`);
  }
  let previous = null;
  for (const offered of history) {
    await checkGrowth(previous, offered.ring);
    await checkRingSignature((previous ?? offered).ring, offered);
    previous = offered;
  }
  if (seen === null) return { version: previous.ring.version, sha256: previous.sha256 };
  if (seen.version < 1) {
    throw new KeyRingRefused(`what was remembered names version ${seen.version}, which no ring has`);
  }
  if (history.length < seen.version) {
    throw new KeyRingRefused(`rollback: version ${history.length} is offered, but ${seen.version} was seen`);
  }
  if (history[seen.version - 1].sha256 !== seen.sha256) {
    throw new KeyRingRefused(`fork: version ${seen.version} is not the one that was seen`);
  }
  return { version: previous.ring.version, sha256: previous.sha256 };
}

/** Checks that a version adds to the one before and changes nothing that is past. */
async function checkGrowth(previous, ring) {
  if (previous === null) {
    if (ring.version !== 1 || ring.prev !== NO_VERSION) {
      throw new KeyRingRefused("the history does not begin with version 1");
    }
    for (const entry of ring.keys) await checkPoint(entry);
    return;
  }
  const before = previous.ring;
  const name = `version ${ring.version}`;
  if (ring.version !== before.version + 1) {
    throw new KeyRingRefused(`${name} stands after version ${before.version}`);
  }
  if (ring.prev !== previous.sha256) throw new KeyRingRefused(`${name} is not linked to the one before`);
  if (ring.iat < before.iat) throw new KeyRingRefused(`${name} is older than the one before`);
  if (ring.keys.length < before.keys.length) throw new KeyRingRefused(`${name} drops a key`);
  before.keys.forEach((was, at) => checkChange(was, ring.keys[at], ring.iat));
  for (const entry of ring.keys.slice(before.keys.length)) {
    await checkPoint(entry);
    if (entry.not_before_ms < ring.iat || entry.retired_ms || entry.revoked_ms) {
      throw new KeyRingRefused(`${name} gives the new key ${entry.kid} a past`);
    }
  }
}

/** Allows an entry to be retired sooner than planned, or revoked; nothing else. */
function checkChange(was, entry, iatMs) {
  const { retired_ms: retiredMs, revoked_ms: revokedMs, reason } = entry;
  const allowed = { ...was, retired_ms: retiredMs, revoked_ms: revokedMs, reason };
  if (canonical(entry) !== canonical(allowed)) {
    throw new KeyRingRefused(`the key ${was.kid} is not the one of the version before`);
  }
  const state = stateAt(was, iatMs);
  if (retiredMs !== was.retired_ms) {
    if (state !== "active") throw new KeyRingRefused(`a key that is ${state} cannot retire`);
    if (retiredMs < iatMs || retiredMs >= endMs(was)) {
      throw new KeyRingRefused(`the key ${was.kid} may be retired sooner, but not in the past`);
    }
  }
  if (revokedMs === was.revoked_ms && reason === was.reason) return;
  if (was.revoked_ms !== 0 && !(revokedMs > 0 && revokedMs < was.revoked_ms)) {
    throw new KeyRingRefused(`the revocation of ${was.kid} may be set earlier, but not undone`);
  }
}

/** Checks the public key itself; once for each entry, in the version that brings it. */
async function checkPoint(entry) {
  const name = quoted(entry.kid);
  const key = await refusing(
    (reason) => new KeyRingRefused(`the key ${name} must not be used: ${reason}`),
    () => importKey(decodeBase64url(entry.x), entry.role, entry.alg),
  );
  if (key.kid !== entry.kid) {
    throw new KeyRingRefused(`the kid ${name} is not the thumbprint of its key`);
  }
}

/** The key of an entry whose point was checked. */
function keyOf(entry) {
  return new PublicKey(entry.kid, entry.alg, entry.role, decodeBase64url(entry.x));
}

async function checkRingSignature(trusted, offered) {
  const name = `version ${offered.ring.version}`;
  const refused = (reason) => new KeyRingRefused(`${name} is not signed as a key ring is: ${reason}`);
  const { header, protectedHeader, signature } = refusing(refused, () => parseJws(offered.signature));
  if (header.typ !== TYPE_KEYRING) throw refused(`the signature is for ${header.typ}`);
  const entry = trusted.keys.find((one) => one.kid === header.kid);
  if (entry === undefined || entry.role !== "evidence" || entry.alg !== header.alg) {
    throw new KeyRingRefused(`${name} is not signed by an evidence key of the version before`);
  }
  if (stateAt(entry, offered.ring.iat) !== "active") {
    throw new KeyRingRefused(`${name} is signed by an evidence key that is not active then`);
  }
  if (!hasAgreedR(signature)) {
    throw new KeyRingRefused(`${name} has a signature that verifiers would disagree on`);
  }
  if (!(await keyOf(entry).verify(signature, signingInput(protectedHeader, offered.statement)))) {
    throw new KeyRingRefused(`the signature of ${name} is not of its key`);
  }
}

/** Says what speaks against a signature by this key; empty if nothing does. */
function judgeKey(entry, iatMs, witnessedMs) {
  const signed = `signed at ${moment(iatMs)}`;
  if (iatMs < entry.not_before_ms - SKEW_MS_MAX) {
    return `${signed}, before its key counts (${moment(entry.not_before_ms)})`;
  }
  const lastMs = windowEndMs(entry);
  if (iatMs > lastMs + SKEW_MS_MAX) {
    const what = entry.revoked_ms === lastMs ? "its key was revoked" : "its key's end";
    return `${signed}, after ${what} (${moment(lastMs)})`;
  }
  if (!entry.revoked_ms) return "";
  const revoked = `its key was revoked at ${moment(entry.revoked_ms)} (${entry.reason})`;
  if (witnessedMs === null) return `${revoked}, and no witness shows that it is older`;
  if (witnessedMs < BigInt(entry.revoked_ms)) return "";
  return `${revoked}, and it was witnessed only at ${moment(witnessedMs)}`;
}

// 17. The ledger: checks 15 to 17 (format, section 10) -------------------------------------------

/** What the one who verifies trusts, read and checked; made by `openTrust`. */
export class Trust {
  /** @hidden */
  constructor({ keys, logKeys, policy, ring, remember, hasLedger }) {
    this.keys = keys;
    this.logKeys = logKeys;
    this.policy = policy;
    this.ring = ring;
    this.remember = remember;
    this.hasLedger = hasLedger;
    Object.freeze(this);
  }

  /** The keys of logs that were named one by one. */
  get namedKeys() {
    return [...this.logKeys, ...(this.policy?.logs ?? []).map((one) => one.key)];
  }

  /** Whether an answer without a proof is INVALID. */
  get demandsProof() {
    return this.logKeys.length > 0 || this.policy !== null;
  }
}

/**
 * Reads what the caller trusts, once for many answers.
 *
 * @param {object} trust
 * @param {Uint8Array|string|null} [trust.jwks] a key set; without one the token keys of the ring
 * @param {Uint8Array|string|null} [trust.keyring] a key ring with its whole history
 * @param {{version: number, sha256: string}|null} [trust.remembered] what was seen of it before
 * @param {string[]} [trust.logKeys] keys of logs, `name+hash+key`; naming one demands a proof
 * @param {Uint8Array|string|null} [trust.witnessPolicy] a policy file; naming one demands a proof
 * @returns {Promise<Trust>} its `remember` is to be stored before anything is believed by the ring.
 * @throws {KeyRefused|KeyRingRefused|NoteRefused|PolicyRefused}
 */
export async function openTrust(trust) {
  const { jwks = null, keyring = null, remembered = null, logKeys = [], witnessPolicy = null } = trust;
  if (jwks === null && keyring === null) {
    throw new TypeError("name a key set or a key ring to trust: `jwks` or `keyring`");
  }
  const published = jwks === null ? null : await readJwks(jwks);
  const noRing = { ring: null, remember: null };
  const { ring, remember } = keyring === null ? noRing : await readKeyRing(keyring, remembered);
  const read = [];
  for (const text of logKeys) read.push(await readVerifierKey(text));
  const policy = witnessPolicy === null ? null : await readPolicy(witnessPolicy);
  const keys = published ?? tokenKeys(ring);
  const hasLedger = ring !== null || policy !== null || read.length > 0;
  return new Trust({ keys, logKeys: read, policy, ring, remember, hasLedger });
}

/** The token keys of every time; check 17 says when each counted. */
function tokenKeys(ring) {
  const tokens = ring.keys.filter((entry) => entry.role === "token");
  return new Map(tokens.map((entry) => [entry.kid, keyOf(entry)]));
}

/** Opens a trust; a key set or ring that is refused makes the report instead. */
async function openOrReport(trust) {
  if (trust instanceof Trust) return trust;
  try {
    return await openTrust(trust);
  } catch (error) {
    if (error instanceof KeyRefused) return refusedReport("INVALID", 3, error.message);
    if (error instanceof KeyRingRefused) return refusedReport("INVALID", 17, error.message);
    throw error;
  }
}

/**
 * Makes checks 15 to 17 on the report of checks 1 to 14.
 *
 * @param {Report} report
 * @param {Uint8Array|string|null} proof the proof file; null if there is none
 * @param {Trust} trust
 * @returns {Promise<Report>}
 */
export async function verifyLedger(report, proof, trust) {
  const findings = new Findings();
  let cosigned = null;
  if (report.jws === "") {
    for (const number of [15, 16, 17]) findings.skips(number, "not reached");
    return withLedger(report, findings);
  }
  if (report.statement === null) {
    findings.skips(15, "the final statement, which the ledger holds, did not arrive");
    findings.skips(16, "not reached");
  } else if (proof === null) {
    judgeMissing(trust, findings);
  } else {
    cosigned = await checkProof(asOctets(proof, "a proof"), report, trust, findings);
  }
  if (trust.ring !== null) checkKeyInForce(report, trust.ring, cosigned, findings);
  return withLedger(report, findings);
}

function withLedger(report, findings) {
  const kept = report.checks.filter((check) => check.number < 15);
  const made = findings.checks().filter((check) => check.number >= 15);
  const checks = [...kept, ...made];
  if (!findings.failed) return Object.freeze({ ...report, checks });
  const events = report.events === null ? null : 0;
  return Object.freeze({ ...report, verdict: "INVALID", events, checks });
}

function judgeMissing(trust, findings) {
  if (trust.demandsProof) {
    findings.fails(15, "a proof of the ledger is demanded, and none came with the answer");
  }
  if (trust.policy !== null) findings.skips(16, "not reached");
}

/** Makes checks 15 and 16, and returns who witnessed the proven checkpoint. */
async function checkProof(document, report, trust, findings) {
  if (trust.policy !== null) findings.skips(16, "not reached");
  if (trust.ring === null && !trust.demandsProof) {
    findings.skips(15, "a proof came along, but nobody named the key of the log");
    return null;
  }
  const prove = async () => {
    const entry = await leafEntry(report.payload, report.jws);
    const keys = await logKeysFor(originOf(report.statement), trust);
    return include(readProof(document), entry, keys);
  };
  const proven = await attempt(prove, (error) => findings.fails(15, error.message));
  if (proven === undefined) return null;
  const { key, index, checkpoint } = proven;
  const cosigned = await checkWitnesses(checkpoint, key, trust.policy, findings);
  const problem = revokedLog(key, trust.ring, cosigned);
  findings.judge(15, problem, `entry ${index} of ${checkpoint.size} in ${checkpoint.origin}`);
  return cosigned;
}

/** The log that a statement belongs in (ledger format, section 3). */
function originOf({ iss, region, iat }) {
  const host = iss.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\//, "").replace(/\/+$/, "");
  const year = iat >= Date.UTC(9999, 0, 1) ? 9999 : new Date(iat).getUTCFullYear();
  return `${host}/log/${region}/${String(year).padStart(4, "0")}`;
}

/** The keys that may sign for a log. */
async function logKeysFor(origin, trust) {
  const named = trust.namedKeys;
  if (named.length > 0) {
    const found = named.filter((key) => key.name === origin);
    if (found.length > 0) return found;
    throw new ProofRefused(
      `the statement belongs in the log ${quoted(origin, 256)}; the named keys are of others`,
    );
  }
  if (trust.ring === null) throw new ProofRefused("nobody named the key of the log");
  // A log's key has no window: nothing but a witness says when a checkpoint was signed.
  const entries = trust.ring.keys.filter((entry) => entry.role === "log" && !entry.revoked_ms);
  return Promise.all(entries.map((entry) => verifierKey(origin, keyOf(entry).raw)));
}

/** Verifies the proof under one of the keys; refuses as the last one did. */
async function include(proof, entry, keys) {
  let refusal = new ProofRefused("the key ring has no key of a log in force");
  for (const key of keys) {
    try {
      return { key, index: proof.index, checkpoint: await verifyProof(proof, entry, key) };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

async function checkWitnesses(checkpoint, key, policy, findings) {
  if (policy === null) return null;
  const judge = () => verifyWitnesses(policy, checkpoint, key);
  const cosigned = await attempt(judge, (error) => findings.fails(16, error.message));
  if (cosigned === undefined) return null;
  if (cosigned.quorumAtS === null) {
    findings.skips(16, "the policy asks for no quorum");
    return null;
  }
  const names = cosigned.names.map((name) => quoted(name)).join(", ");
  const at = moment(cosigned.quorumAtS * 1_000n);
  findings.passes(16, `${names} cosigned the checkpoint; a quorum at ${at}`);
  return cosigned;
}

/** Until when a quorum had surely seen the checkpoint: a witness states whole seconds. */
function witnessedMs(cosigned) {
  return cosigned === null ? null : cosigned.quorumAtS * 1_000n + 999n;
}

/** Says what the ring has against a log's key, though it was named; empty for nothing. */
function revokedLog(key, ring, cosigned) {
  const entries = ring === null ? [] : ring.keys;
  for (const entry of entries.filter((one) => one.role === "log" && one.revoked_ms)) {
    const isLate = (witnessedMs(cosigned) ?? BigInt(FOR_EVER_MS)) >= BigInt(entry.revoked_ms);
    if (isLate && sameOctets(keyOf(entry).raw, key.key.raw)) {
      const revoked = `revoked at ${entry.revoked_ms} (${entry.reason})`;
      return `the key of the log was ${revoked}, and no quorum has seen the checkpoint before`;
    }
  }
  return "";
}

/** Makes check 17: the signing key was in force. */
function checkKeyInForce(report, ring, cosigned, findings) {
  const { header } = parseJws(report.jws);
  const entry = ring.keys.find((one) => one.kid === header.kid);
  if (entry === undefined) {
    findings.fails(17, `version ${ring.version} of the key ring does not hold the key`);
    return;
  }
  const lastMs = windowEndMs(entry);
  const until = lastMs === FOR_EVER_MS ? "" : ` to ${moment(lastMs)}`;
  const inForce = `version ${ring.version}: the key counts from ${moment(entry.not_before_ms)}${until}`;
  findings.judge(17, wrongKey(entry, header.alg, report, witnessedMs(cosigned)), inForce);
}

function wrongKey(entry, alg, report, seenMs) {
  if (entry.role !== "token") return `the key ring gives the key the role ${entry.role}, not token`;
  if (entry.alg !== alg) {
    return `the key ring gives the key the algorithm ${entry.alg}, the token says ${alg}`;
  }
  const signed = report.statement ?? readHead(report.payload);
  return judgeKey(entry, signed.iat, seenMs);
}

// 18. Saved exchanges (format, section 9) --------------------------------------------------------

const EXCHANGE = {
  v: isInteger,
  response: {
    status: isInteger,
    headers: arrayOf((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isText)),
    "body_base64?": isText,
    "body_text?": isText,
  },
  "request?": (value) => value === null || isObject(value),
  "nonce?": isTextOrNull,
  "issuer?": isTextOrNull,
  "audience?": isTextOrNull,
  "now_ms?": isIntegerOrNull,
  "age_ms_max?": isIntegerOrNull,
  "jwks?": isText,
  "graph?": isTextOrNull,
  "proof?": isTextOrNull,
};
const EXCHANGE_REQUEST = {
  method: isText,
  path: isText,
  "query?": isText,
  "body_base64?": isText,
  "body_text?": isText,
};

/**
 * Reads a saved exchange.
 *
 * @param {Uint8Array|ArrayBuffer|string} document
 * @returns {Exchange} with its bodies as octets; `jwks` is the exact text of the key set in it.
 * @throws {ExchangeRefused}
 */
export function readExchange(document) {
  const octets = asOctets(document, "an exchange");
  return refusing(
    (reason) => new ExchangeRefused(`not a saved exchange: ${reason}`),
    () => exchangeOf(new JsonReader(textOf(octets), { distinct: true, raw: ["jwks"] }).whole()),
  );
}

function exchangeOf(saved) {
  const { response, request = null, graph = null, proof = null, jwks = null } = fit(saved, EXCHANGE);
  if (request !== null) fit(request, EXCHANGE_REQUEST, "request");
  if (saved.v !== 1) throw new Refused(`version ${saved.v} is not known here; update the verifier`);
  return {
    answer: {
      status: response.status,
      headers: response.headers,
      body: bodyOf(response),
      request: request === null ? null : { ...request, body: bodyOf(request) },
      graph,
      proof,
    },
    expected: {
      issuer: saved.issuer ?? null,
      audience: saved.audience ?? null,
      nonce: saved.nonce ?? null,
      nowMs: saved.now_ms ?? null,
      ageMsMax: saved.age_ms_max ?? null,
    },
    jwks,
  };
}

function bodyOf({ body_base64: encoded = "", body_text: text = "" }) {
  if (encoded && text) throw new Refused("a body is given as body_base64 or as body_text, not both");
  return encoded ? decodeBase64(encoded, false) : octetsOf(text);
}

/**
 * Reads a record as `/v1/prov/{prov_id}` serves it.
 *
 * @param {Uint8Array|ArrayBuffer|string} document
 * @returns {ProofRecord} `graph` is the graph's exact text.
 * @throws {RecordRefused}
 */
export function readRecord(document) {
  const octets = asOctets(document, "a record");
  return refusing(
    (reason) => new RecordRefused(`not a record: ${reason}`),
    () => {
      const record = new JsonReader(textOf(octets), { raw: ["graph"] }).whole();
      const names = ["prov_id", "statement", "signature", "graph"];
      if (!isObject(record) || !names.every((name) => isText(record[name]))) {
        throw new Refused("prov_id, statement, signature or graph is missing");
      }
      const { prov_id: provId, statement, signature, graph } = record;
      return { provId, statement: decodeBase64url(statement), signature, graph };
    },
  );
}

/**
 * Verifies a record: who signed what, and its graph. Of the content it says nothing: the salt that
 * links it to the record went to the client alone.
 *
 * @param {Uint8Array|ArrayBuffer|string|ProofRecord} record a document, or as `readRecord` read it
 * @param {object|Trust} trust what the caller trusts, see `openTrust`
 * @param {object} [expected] see `verifyAnswer`
 * @param {Uint8Array|string|null} [proof] the ledger's proof file
 * @returns {Promise<Report>}
 * @throws {RecordRefused} not a record.
 */
export async function verifyRecord(record, trust, expected = {}, proof = null) {
  const { provId, statement, signature, graph } =
    isObject(record) && isText(record.graph) ? record : readRecord(record);
  const opened = await openOrReport(trust);
  if (!(opened instanceof Trust)) return opened;
  const seen = { proof: { provId, salt: null, statement, jws: signature }, request: null, response: null };
  const report = await verifyWhole({ ...seen, keys: opened.keys, expected: expecting(expected) }, graph);
  return withProof(report, proof, opened);
}

/**
 * Verifies a saved exchange.
 *
 * @param {Uint8Array|ArrayBuffer|string|Exchange} exchange a document, or as `readExchange` read it
 * @param {object|Trust} trust what the caller trusts, see `openTrust`; whoever wrote the exchange
 *   chose the key set in it, so that one counts only for who wrote it himself
 * @param {object} [expected] overrules what the exchange says of itself, see `verifyAnswer`
 * @returns {Promise<Report>}
 * @throws {ExchangeRefused} not an exchange.
 * @throws {Unsupported} nothing can be verified here.
 */
export async function verifyExchange(exchange, trust, expected = {}) {
  const isRead = isObject(exchange) && isObject(exchange.answer);
  const read = isRead ? exchange : readExchange(exchange);
  const given = Object.entries(expected).filter(([, value]) => value !== undefined && value !== null);
  return verifyAnswer(read.answer, trust, { ...read.expected, ...Object.fromEntries(given) });
}

/**
 * Verifies a test vector (vectors/README.md).
 *
 * @param {Uint8Array|ArrayBuffer|string} document
 * @returns {Promise<{name: string, report: Report, asExpected: boolean}>}
 */
export async function verifyVector(document) {
  const text = textOf(asOctets(document, "a vector"));
  const vector = new JsonReader(text, { raw: ["jwks", "keyring"] }).whole();
  const { log_keys: logKeys, witness_policy: witnessPolicy, keyring, remembered } = vector.ledger ?? {};
  const trust = { jwks: vector.jwks, keyring, remembered, logKeys, witnessPolicy };
  const report = await verifyExchange(exchangeOf(vector.exchange), trust);
  const fails = report.checks.filter((check) => check.outcome === "fail").map((check) => check.number);
  const asExpected =
    report.verdict === vector.verdict &&
    report.events === vector.events &&
    String(fails) === String(vector.fails);
  return { name: vector.name, report, asExpected };
}

// 19. A fetch that verifies: the one part that reads a clock, draws nonces and uses the network --

const JWKS_PATH = "/.well-known/attest/jwks.json";
const READS = ["/", "/healthz", "/readyz", "/verify", JWKS_PATH, "/.well-known/attest/keyring.json"];
/** What is posted and yet runs no operation. */
const UNSIGNED_POSTS = ["/v1/attest/verify", "/v1/traces"];
const KEYS_BYTES_MAX = 262_144;
const KEYS_TIMEOUT_MS = 10_000;
/** The first signed head has at most 2 KiB of JSON; a longer first block is none. */
const OPENING_BYTES_MAX = 8_192;
const NULL_BODY_STATUS = [101, 204, 205, 304];
const POLICIES = {
  strict: {
    prefix: "refuse",
    invalid: "refuse",
    unsigned: "refuse",
    unsignedRefusal: "pass",
    elsewhere: "refuse",
  },
  report: { prefix: "pass", invalid: "pass", unsigned: "pass", unsignedRefusal: "pass", elsewhere: "pass" },
};

/** The root of what `verifyingFetch` throws of its own. */
export class ClientError extends Error {
  get name() {
    return this.constructor.name;
  }
}
/** An answer that must not be used; `report` says why. */
export class VerificationFailed extends ClientError {
  constructor(report) {
    const failed = report.checks.filter((check) => check.outcome === "fail");
    const found = failed.map((one) => `check ${one.number} (${one.name}): ${one.detail}`).join("; ");
    super(`${report.verdict}: ${found}`);
    this.report = report;
  }
}
/** Something contradicts the answer's proof. */
export class AnswerInvalid extends VerificationFailed {}
/** The answer has no proof and should have one. */
export class AnswerUnsigned extends VerificationFailed {}
/** A stream that ended early; what was handed on is proven. */
export class StreamCut extends VerificationFailed {}
/** The gateway's key set cannot be had or read; nothing was sent. */
export class KeysUnavailable extends ClientError {}
/** The request is not for the gateway, so its answer could not be verified; it was not sent. */
export class ForeignAddress extends ClientError {}

/**
 * Returns a `fetch` that verifies the answers of one gateway while they arrive. Its responses have
 * a promise `attest` of the report; their bodies yield proven events only.
 *
 * @param {object} settings
 * @param {string} settings.baseUrl the gateway's address without `/v1`; a path is where a proxy
 *   mounts it
 * @param {Uint8Array|string|{url?: string, cooldownMs?: number, ageMs?: number, ageMsMax?: number}} settings.keys
 *   its key set, pinned (best), or how to fetch it: as trustworthy as the TLS connection
 * @param {string|null} [settings.issuer] the `iss` that must stand in each statement
 * @param {string|null} [settings.audience] the `aud` that must stand there
 * @param {"strict"|"report"} [settings.policy] `strict` throws for what is not VERIFIED; `report`
 *   hands everything on as it comes and only reports
 * @param {object} [settings.onVerdict] exceptions from the policy: `prefix`, `invalid`, `unsigned`,
 *   `unsignedRefusal`, `elsewhere`, each `refuse` or `pass`
 * @param {number} [settings.bodyBytesMax] a whole answer over this is refused
 * @param {number|null} [settings.skewMsMax] how far clocks may differ; null leaves time out
 * @param {(report: Report, url: string) => void} [settings.onReport] told each verdict once
 * @param {typeof fetch} [settings.fetch] what sends
 * @param {() => number} [settings.clockMs] the present, Unix ms
 * @param {() => string} [settings.nonces] a fresh nonce for each request
 * @returns {(input: RequestInfo|URL, init?: RequestInit) => Promise<Response>}
 * @throws {TypeError} a setting that cannot be used.
 */
export function verifyingFetch(settings) {
  const gateway = {
    issuer: null,
    audience: null,
    bodyBytesMax: 33_554_432,
    skewMsMax: SKEW_MS_MAX,
    onReport: () => undefined,
    fetch: globalThis.fetch.bind(globalThis),
    clockMs: () => Date.now(),
    nonces: freshNonce,
    ...settings,
  };
  const policy = POLICIES[gateway.policy ?? "strict"];
  if (policy === undefined) throw new TypeError(`the policy is strict or report, not ${gateway.policy}`);
  gateway.onVerdict = { ...policy, ...gateway.onVerdict };
  const site = new Site(gateway.baseUrl);
  const keys = new KeySource(gateway, site.jwksUrl);
  return (input, init) => converse(gateway, site, keys, new Request(input, init));
}

function freshNonce() {
  return encodeBase64(crypto.getRandomValues(new Uint8Array(32)), BASE64URL);
}

/** Sends a request and returns its answer, verified or to be verified as it is read. */
async function converse(gateway, site, keys, request) {
  const place = site.place(request.method, new URL(request.url));
  if (place.kind === "elsewhere" && gateway.onVerdict.elsewhere === "refuse") {
    throw new ForeignAddress(`${request.url.split("?", 1)[0]} is not the gateway`);
  }
  if (place.kind !== "proven") return gateway.fetch(request);
  await requireSupport();
  const hasBody = request.method !== "GET" && request.method !== "HEAD";
  const body = hasBody ? new Uint8Array(await request.arrayBuffer()) : new Uint8Array();
  await keys.renewDue(); // before sending: an answer that nobody can verify costs money
  const nonce = gateway.nonces();
  const headers = new Headers(request.headers);
  headers.set("attest-nonce", nonce);
  const url = request.url;
  const sent = new Request(url, {
    method: request.method,
    headers,
    body: hasBody ? body : undefined,
    signal: request.signal,
    credentials: request.credentials,
    cache: "no-store",
    redirect: "manual",
  });
  const response = await gateway.fetch(sent);
  const session = new Session(gateway, { ...place, method: request.method, body }, nonce, response, url);
  return session.answer(keys);
}

/** The verification of one answer. */
class Session {
  #gateway;
  #request;
  #nonce;
  #response;
  #url;
  #headers;
  #isStream = false;

  constructor(gateway, request, nonce, response, url) {
    this.#gateway = gateway;
    this.#request = request;
    this.#nonce = nonce;
    this.#response = response;
    this.#url = url;
    this.#headers = foldHeaders(response.headers);
  }

  /** Reads and judges the answer as far as is needed before the caller may have it. */
  async answer(keys) {
    const refused = (error) => ({ refusal: error.message });
    const proof = attempt(() => readProofHeaders(this.#headers), refused);
    if (proof?.refusal !== undefined) {
      return this.#settle(refusedReport("INVALID", 1, proof.refusal), this.#response.body);
    }
    const { status, type } = this.#response;
    const isRedirect =
      type === "opaqueredirect" || (status >= 300 && status < 400 && this.#headers.has("location"));
    if (isRedirect) return this.#refuse(proof, "a redirect: its Location is not signed");
    if (proof === null) {
      return this.#settle(refusedReport("UNSIGNED", 1, "no proof headers"), this.#response.body);
    }
    const media = this.#headers.get("content-type") ?? "";
    if (proof.statement.length > 0 || !isStreamMedia(media)) return this.#whole(keys, proof);
    if (status !== 200) return this.#refuse(proof, `a stream of status ${status}: the gateway's have 200`);
    this.#isStream = true;
    return this.#stream(keys, proof, media);
  }

  #refuse(proof, detail) {
    const report = refusedReport("INVALID", 11, detail, null, proof === null ? "" : proof.provId);
    return this.#settle(report, this.#response.body);
  }

  async #whole(keys, proof) {
    const body = await readWhole(this.#response.body, this.#gateway.bodyBytesMax);
    if (body === null) {
      // The rest was not read, so it cannot be passed on either.
      const detail = `longer than ${this.#gateway.bodyBytesMax} octets`;
      const report = refusedReport("INVALID", 11, detail, null, proof.provId);
      this.#gateway.onReport(report, this.#url);
      throw new AnswerInvalid(report);
    }
    await keys.renewFor(kidOf(proof.jws));
    const answer = {
      status: this.#response.status,
      headers: this.#headers,
      body,
      request: this.#request,
    };
    return this.#settle(await verifyOctets(answer, keys.keys, this.#expected()), body);
  }

  /** Waits for the first signed head, which a gateway sends at once: it names the key. */
  async #stream(keys, proof, media) {
    const reader = this.#response.body.getReader();
    let opening = new Uint8Array();
    while (openingKid(opening) === null) {
      const { done, value } = await reader.read();
      if (done) break;
      opening = joined(opening, value);
    }
    await keys.renewFor(openingKid(opening) ?? "");
    const verifier = new StreamVerifier({
      keys: keys.keys,
      proof,
      request: this.#request,
      response: { status: this.#response.status, media },
      expected: this.#expected(),
      releaseEarly: this.#gateway.onVerdict.invalid === "pass",
    });
    const body = new VerifiedBody(reader, opening, verifier, {
      nowMs: () => this.#nowMs(),
      settle: (report) => {
        this.#gateway.onReport(report, this.#url);
        return this.#refusal(report);
      },
    });
    return this.#answered(new ReadableStream(body, { highWaterMark: 0 }), body.report);
  }

  /** Reports a verdict, and hands the answer on or refuses it. */
  #settle(report, body) {
    this.#gateway.onReport(report, this.#url);
    const refusal = this.#refusal(report);
    if (refusal !== null) {
      if (body === this.#response.body) void body?.cancel().catch(() => undefined);
      throw refusal;
    }
    return this.#answered(body, Promise.resolve(report));
  }

  /** The error that the caller gets instead of the answer, or of its end; null for none. */
  #refusal(report) {
    const rules = this.#gateway.onVerdict;
    if (report.verdict === "VERIFIED") return null;
    if (report.verdict === "INVALID") return rules.invalid === "refuse" ? new AnswerInvalid(report) : null;
    if (report.verdict === "VERIFIED_PREFIX") return rules.prefix === "refuse" ? new StreamCut(report) : null;
    let action = this.#response.status >= 400 ? rules.unsignedRefusal : rules.unsigned;
    if (this.#isStream) action = rules.prefix; // it announced a proof and was cut before the first head
    return action === "refuse" ? new AnswerUnsigned(report) : null;
  }

  #expected() {
    const { issuer, audience, skewMsMax } = this.#gateway;
    const nowMs = this.#nowMs();
    return expecting({ issuer, audience, nonce: this.#nonce, nowMs, skewMsMax: skewMsMax ?? 0 });
  }

  #nowMs() {
    return this.#gateway.skewMsMax === null ? null : this.#gateway.clockMs();
  }

  /** The answer as the caller gets it, with the promise of its report. */
  #answered(body, attest) {
    const { status, statusText, type } = this.#response;
    if (type === "opaqueredirect" || status < 200) {
      return Object.defineProperty(this.#response, "attest", { value: attest });
    }
    const headers = new Headers(this.#response.headers);
    // The body is decoded: what says how it was coded is no longer true.
    for (const name of ["content-encoding", "content-length", "transfer-encoding"]) headers.delete(name);
    const content = NULL_BODY_STATUS.includes(status) ? null : body;
    const answer = new Response(content, { status, statusText, headers });
    Object.defineProperty(answer, "url", { value: this.#response.url });
    return Object.defineProperty(answer, "attest", { value: attest });
  }
}

/** What a verified stream is read from: proven events as they arrive, then the verdict. */
class VerifiedBody {
  #reader;
  #opening;
  #verifier;
  #rules;
  #judged = null;
  #tell;

  /**
   * @param {ReadableStreamDefaultReader<Uint8Array>} reader the rest of the body
   * @param {Uint8Array} opening what was read of it already
   * @param {StreamVerifier} verifier
   * @param {{nowMs: () => number|null, settle: (report: Report) => Error|null}} rules
   */
  constructor(reader, opening, verifier, rules) {
    this.#reader = reader;
    this.#opening = opening;
    this.#verifier = verifier;
    this.#rules = rules;
    /** @type {Promise<Report>} */
    this.report = new Promise((resolve) => {
      this.#tell = resolve;
    });
  }

  /** Reads until there are proven events, and hands them on. */
  async pull(controller) {
    try {
      for (;;) {
        const { done, value } = await this.#next();
        if (done) break;
        const released = await this.#verifier.feed(value, this.#rules.nowMs());
        if (released.length > 0) controller.enqueue(joined(...released));
        if (this.#verifier.failed && !this.#verifier.releasesEarly) break;
        if (released.length > 0) return;
      }
    } catch (error) {
      // A gateway that cannot seal the end breaks the connection off: a cut.
      await this.#end(controller, error);
      return;
    }
    await this.#end(controller, null);
  }

  /** A stream that was left early is judged by what was seen. */
  async cancel(reason) {
    await this.#judge();
    await this.#reader.cancel(reason);
  }

  async #next() {
    const value = this.#opening;
    this.#opening = new Uint8Array();
    return value.length > 0 ? { done: false, value } : this.#reader.read();
  }

  async #end(controller, error) {
    const refusal = error instanceof Unsupported ? error : ((await this.#judge()) ?? error);
    if (refusal === null) controller.close();
    else controller.error(refusal);
    await this.#reader.cancel().catch(() => undefined);
  }

  /** Judges and reports, once. */
  #judge() {
    this.#judged ??= this.#verifier.finish().then((report) => {
      this.#tell(report);
      return this.#rules.settle(report);
    });
    return this.#judged;
  }
}

/** Reads a body to its end; null if it is over the limit. */
async function readWhole(body, octetsMax) {
  if (body === null) return new Uint8Array();
  const reader = body.getReader();
  const parts = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return joined(...parts);
    parts.push(value);
    length += value.length;
    if (length > octetsMax) {
      await reader.cancel();
      return null;
    }
  }
}

/** Which key a signature names; empty if it cannot be read. */
function kidOf(jws) {
  return attempt(
    () => parseJws(jws).header.kid,
    () => "",
  );
}

/** Which key a stream's first signed head names; empty if none, null if more is needed. */
function openingKid(octets) {
  const text = latinOf(octets.subarray(0, OPENING_BYTES_MAX));
  const end = text.indexOf("\n\n");
  if (end < 0) return octets.length <= OPENING_BYTES_MAX ? null : "";
  const comment = attempt(
    () => readSignedComment(octets.subarray(0, end + 2)),
    () => null,
  );
  return comment === null ? "" : kidOf(comment.jws);
}

/** The address of one gateway: which requests are its, and which of them carry a proof. */
class Site {
  #origin;
  #mount;

  constructor(baseUrl) {
    const url = new URL(baseUrl);
    if (!/^https?:$/.test(url.protocol) || url.search || url.hash || url.username || url.password) {
      throw new TypeError("baseUrl is an address like https://gate.example, without anything else");
    }
    this.#origin = url.origin;
    this.#mount = url.pathname.replace(/\/+$/, "");
    if (this.#mount.endsWith("/v1")) throw new TypeError("baseUrl ends in /v1; leave it out");
  }

  get jwksUrl() {
    return this.#origin + this.#mount + JWKS_PATH;
  }

  place(method, url) {
    if (url.origin !== this.#origin || !url.pathname.startsWith(`${this.#mount}/`)) {
      return { kind: "elsewhere", path: url.pathname, query: url.search.slice(1) };
    }
    const path = url.pathname.slice(this.#mount.length);
    const isRecord = /^\/(?:v1\/prov|log)\//.test(path) || /^\/v1\/attest\/[^/]+\/proof$/.test(path);
    const isRead = method === "GET" && (READS.includes(path) || isRecord);
    const isUnsigned = method === "POST" && UNSIGNED_POSTS.includes(path);
    return { kind: isRead || isUnsigned ? "read" : "proven", path, query: url.search.slice(1) };
  }
}

/** The keys that answers are verified with: pinned, or fetched and renewed. */
class KeySource {
  #gateway;
  #rules;
  #url;
  #pinned = null;
  #fetchedMs = 0;
  #expiresMs = 0;
  #triedMs = null;
  #renewal = null;

  constructor(gateway, ownUrl) {
    const given = gateway.keys;
    this.#gateway = gateway;
    this.keys = new Map();
    if (typeof given === "string" || ArrayBuffer.isView(given) || given instanceof ArrayBuffer) {
      this.#pinned = given;
      return;
    }
    if (!isObject(given)) throw new TypeError("`keys` is a key set's octets, or {} to fetch it");
    this.#rules = { cooldownMs: 30_000, ageMs: 300_000, ageMsMax: 86_400_000, ...given };
    this.#url = given.url ?? ownUrl;
    const { protocol, hostname } = new URL(this.#url);
    if (protocol !== "https:" && !["127.0.0.1", "[::1]", "localhost"].includes(hostname)) {
      throw new TypeError(`keys would be fetched from ${this.#url} without TLS: use https or pin them`);
    }
  }

  /** Has a set before anything is sent. */
  async renewDue() {
    if (this.#pinned !== null) {
      if (this.keys.size === 0) this.#use(await readJwks(this.#pinned));
      return;
    }
    const nowMs = this.#gateway.clockMs();
    if (this.keys.size > 0 && this.#fetchedMs <= nowMs && nowMs < this.#expiresMs) return;
    await this.#renew();
  }

  /** Fetches the set again for a key that it lacks, if the cooldown lets it. */
  async renewFor(kid) {
    if (kid === "" || this.#pinned !== null || this.keys.has(kid)) return;
    const nowMs = this.#gateway.clockMs();
    const tried = this.#triedMs;
    if (this.#renewal === null) {
      if (tried !== null && tried <= nowMs && nowMs < tried + this.#rules.cooldownMs) return;
      this.#triedMs = nowMs;
    }
    // The answer is here and was paid for: if no set can be had it is INVALID by check 3.
    await this.#renew().catch(() => undefined);
  }

  /** Lets one renewal run at a time; the others wait for it. */
  #renew() {
    this.#renewal ??= this.#fetch().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #fetch() {
    const nowMs = this.#gateway.clockMs();
    const unavailable = (reason) => new KeysUnavailable(`${this.#url}: ${reason}`);
    let response, document;
    try {
      const signal = AbortSignal.timeout(KEYS_TIMEOUT_MS);
      response = await this.#gateway.fetch(this.#url, {
        cache: "no-store",
        credentials: "omit",
        redirect: "error", // it could lead to an address without TLS
        signal,
      });
      document = await readWhole(response.body, KEYS_BYTES_MAX);
    } catch (error) {
      throw unavailable(error.message);
    }
    if (response.status !== 200 || document === null) {
      throw unavailable(
        document === null ? `longer than ${KEYS_BYTES_MAX} octets` : `answers ${response.status}`,
      );
    }
    this.#use(await refusing(unavailable, () => readJwks(document)));
    const control = (response.headers.get("cache-control") ?? "").toLowerCase();
    const stated = /(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])/.exec(control);
    this.#fetchedMs = nowMs;
    this.#expiresMs =
      nowMs + Math.min(stated ? Number(stated[1]) * 1_000 : this.#rules.ageMs, this.#rules.ageMsMax);
  }

  #use(keys) {
    if (keys.size === 0) throw new KeysUnavailable("the key set holds no Ed25519 key");
    this.keys = keys;
  }
}

/** Types of verify.js: verifies answers of a Verismo gateway with nothing but WebCrypto. */

export type Octets = Uint8Array | ArrayBuffer | string;
export type Verdict = "VERIFIED" | "VERIFIED_PREFIX" | "INVALID" | "UNSIGNED";
export type Outcome = "pass" | "fail" | "skip";
export type CheckNumber = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17;
export type Role = "token" | "log" | "witness" | "rollup" | "evidence" | "plan";
export type HopKind =
  | "request"
  | "policy"
  | "budget"
  | "cache"
  | "route"
  | "retrieval"
  | "source"
  | "tool"
  | "model"
  | "transform"
  | "approval"
  | "response";

/** The names of the numbered checks (docs/attestation-format.md, section 10). */
export const CHECK_NAMES: Readonly<Record<CheckNumber, string>>;
/** How far two clocks may differ. */
export const SKEW_MS_MAX: number;

export interface Check {
  readonly number: CheckNumber;
  readonly name: string;
  readonly outcome: Outcome;
  readonly detail: string;
}

/** What was signed for an answer (docs/attestation-format.md, section 5). */
export interface Statement {
  readonly v: number;
  readonly iss: string;
  readonly prov_id: string;
  readonly iat: number;
  readonly nonce?: string;
  readonly aud: string;
  readonly region: string;
  readonly op: string;
  readonly req: {
    readonly method: string;
    readonly path: string;
    readonly commit: string;
    readonly len: number;
    readonly query?: string;
    readonly doc?: string;
  };
  readonly res: {
    readonly status: number;
    readonly media: string;
    readonly mode: "body" | "sse";
    readonly commit: string;
    readonly len: number;
    readonly fin: boolean;
    readonly events?: number;
  };
  readonly dag: { readonly root: string; readonly nodes: number };
  readonly model?: { readonly provider: string; readonly id: string };
  readonly usage?: { readonly in: number; readonly out: number };
  readonly cost_usd_micros?: number;
  readonly policy: { readonly bundle: string; readonly decision: "allow" | "deny" | "none" };
  readonly cache: "off" | "miss" | "hit";
  readonly plan: string;
  readonly seq: { readonly signer: string; readonly n: number };
}

export interface Report {
  readonly verdict: Verdict;
  /** For streams how many events are proven; null for a body. */
  readonly events: number | null;
  /** All seventeen, in order. */
  readonly checks: readonly Check[];
  /** Empty if there is no proof. */
  readonly provId: string;
  /** Null unless its signature verified. */
  readonly statement: Statement | null;
  /** The verified octets that the verdict rests on, and their signature. */
  readonly payload: Uint8Array;
  readonly jws: string;
}

/** What the caller knows besides the answer; null leaves the check out. */
export interface Expectation {
  issuer?: string | null;
  audience?: string | null;
  nonce?: string | null;
  /** The present, Unix ms. */
  nowMs?: number | null;
  ageMsMax?: number | null;
  skewMsMax?: number;
}

export interface SeenRequest {
  /** Upper case. */
  method: string;
  /** As sent, percent-encoding kept, without the query. */
  path: string;
  /** Without the question mark. */
  query?: Octets;
  body?: Octets;
}

export interface Answer {
  status: number;
  headers: Iterable<readonly [string, string]>;
  /** Without content coding. */
  body: Octets;
  request?: SeenRequest | null;
  graph?: Octets | null;
  /** The proof file of the ledger. */
  proof?: Octets | null;
}

export interface Remembered {
  readonly version: number;
  readonly sha256: string;
}

/** What the caller trusts; never taken from an answer. */
export interface TrustSource {
  jwks?: Octets | null;
  keyring?: Octets | null;
  remembered?: Remembered | null;
  logKeys?: readonly string[];
  witnessPolicy?: Octets | null;
}

export interface PublicKey {
  readonly kid: string;
  readonly alg: "Ed25519" | "EdDSA";
  readonly role: Role;
  readonly raw: Uint8Array;
  verify(signature: Uint8Array, message: Uint8Array): Promise<boolean>;
}

export interface VerifierKey {
  readonly name: string;
  readonly hash: string;
  readonly algorithm: 1 | 4;
  readonly key: PublicKey;
}

export interface WitnessPolicy {
  readonly logs: readonly { readonly key: VerifierKey }[];
  readonly witnesses: readonly { readonly name: string; readonly key: VerifierKey }[];
  readonly groups: readonly {
    readonly name: string;
    readonly threshold: number;
    readonly members: readonly string[];
  }[];
  readonly quorum: string | null;
}

export interface KeyEntry {
  readonly kid: string;
  readonly x: string;
  readonly alg: "Ed25519" | "EdDSA";
  readonly role: Role;
  readonly created_ms: number;
  readonly not_before_ms: number;
  readonly not_after_ms: number;
  readonly retired_ms: number;
  readonly revoked_ms: number;
  readonly reason: string;
  readonly emergency: string;
}

export interface KeyRing {
  readonly v: number;
  readonly version: number;
  readonly prev: string;
  readonly iat: number;
  readonly keys: readonly KeyEntry[];
}

/** What was read by `openTrust`. */
export class Trust {
  private constructor();
  readonly keys: ReadonlyMap<string, PublicKey>;
  readonly logKeys: readonly VerifierKey[];
  readonly policy: WitnessPolicy | null;
  readonly ring: KeyRing | null;
  /** To be stored before anything is believed by the ring. */
  readonly remember: Remembered | null;
  readonly hasLedger: boolean;
  readonly namedKeys: readonly VerifierKey[];
  readonly demandsProof: boolean;
}

export interface Node {
  readonly v: number;
  readonly kind: HopKind;
  readonly in: readonly string[];
  readonly attrs: Readonly<Record<string, string | number | boolean>>;
  readonly t0: number;
  readonly t1: number;
  readonly commit?: string;
}

export interface Graph {
  readonly v: number;
  readonly prov_id: string;
  readonly nodes: readonly Node[];
}

/** A saved exchange as it was read. */
export interface Exchange {
  readonly answer: Answer;
  readonly expected: Expectation;
  /** The exact text of the key set in it; whoever wrote the file chose it. */
  readonly jwks: string | null;
}

/** A record of `/v1/prov/{prov_id}` as it was read. */
export interface ProofRecord {
  readonly provId: string;
  readonly statement: Uint8Array;
  readonly signature: string;
  /** The graph's exact text. */
  readonly graph: string;
}

export interface ProofHeaders {
  readonly provId: string;
  readonly salt: Uint8Array;
  /** Empty for a stream. */
  readonly statement: Uint8Array;
  readonly jws: string;
}

export interface LedgerProof {
  readonly index: bigint;
  readonly hashes: readonly Uint8Array[];
  readonly checkpoint: Uint8Array;
}

/** A document, key or proof that must not be used, and why. */
export class Refused extends Error {}
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
/** This place cannot verify: there is no WebCrypto, or it lacks Ed25519. Never a verdict. */
export class Unsupported extends Error {}

export function support(): Promise<{ ok: boolean; reason: string }>;
export function readJwks(document: Octets): Promise<Map<string, PublicKey>>;
export function readKeyRing(
  document: Octets,
  seen?: Remembered | null,
): Promise<{ ring: KeyRing; remember: Remembered }>;
export function readGraph(document: Octets): Promise<{ graph: Graph; root: string; ids: readonly string[] }>;
export function readProof(document: Octets): LedgerProof;
export function readProofHeaders(pairs: Iterable<readonly [string, string]>): ProofHeaders | null;
export function readVerifierKey(text: string): Promise<VerifierKey>;
export function readPolicy(document: Octets): Promise<WitnessPolicy>;
export function readExchange(document: Octets): Exchange;
/** Reads a record as `/v1/prov/{prov_id}` serves it. */
export function readRecord(document: Octets): ProofRecord;
export function openTrust(trust: TrustSource): Promise<Trust>;
export function verifyAnswer(
  answer: Answer,
  trust: TrustSource | Trust,
  expected?: Expectation,
): Promise<Report>;
export function verifyExchange(
  exchange: Octets | Exchange,
  trust: TrustSource | Trust,
  expected?: Expectation,
): Promise<Report>;
/** Verifies who signed what, and the graph; content is not linked to a record without its salt. */
export function verifyRecord(
  record: Octets | ProofRecord,
  trust: TrustSource | Trust,
  expected?: Expectation,
  proof?: Octets | null,
): Promise<Report>;
export function verifyLedger(report: Report, proof: Octets | null, trust: Trust): Promise<Report>;
export function verifyVector(
  document: Octets,
): Promise<{ name: string; report: Report; asExpected: boolean }>;

/** Verifies one stream while it arrives. */
export class StreamVerifier {
  constructor(stream: {
    keys: ReadonlyMap<string, PublicKey>;
    proof: ProofHeaders | null;
    request: SeenRequest;
    response: { status: number; media: string };
    expected?: Expectation;
    releaseEarly?: boolean;
  });
  readonly failed: boolean;
  readonly releasesEarly: boolean;
  readonly trustedEvents: number;
  /** Returns the events that may be used now. */
  feed(data: Uint8Array, nowMs?: number | null): Promise<Uint8Array[]>;
  /** Judges the stream once its body has ended, however it ended. */
  finish(graph?: Octets | null): Promise<Report>;
}

export type Action = "refuse" | "pass";

export interface OnVerdict {
  prefix?: Action;
  invalid?: Action;
  unsigned?: Action;
  unsignedRefusal?: Action;
  elsewhere?: Action;
}

export interface FetchedKeys {
  url?: string;
  cooldownMs?: number;
  ageMs?: number;
  ageMsMax?: number;
}

export interface GatewaySettings {
  baseUrl: string;
  keys: Octets | FetchedKeys;
  issuer?: string | null;
  audience?: string | null;
  policy?: "strict" | "report";
  onVerdict?: OnVerdict;
  bodyBytesMax?: number;
  skewMsMax?: number | null;
  onReport?: (report: Report, url: string) => void;
  fetch?: typeof fetch;
  clockMs?: () => number;
  nonces?: () => string;
}

/** An answer of the gateway; its body yields proven events only. */
export interface AttestedResponse extends Response {
  /** Of a stream: once its body was read or left. Missing where nothing carries a proof. */
  readonly attest?: Promise<Report>;
}

/** The root of what `verifyingFetch` throws of its own. */
export class ClientError extends Error {}
export class VerificationFailed extends ClientError {
  constructor(report: Report);
  readonly report: Report;
}
export class AnswerInvalid extends VerificationFailed {}
export class AnswerUnsigned extends VerificationFailed {}
export class StreamCut extends VerificationFailed {}
export class KeysUnavailable extends ClientError {}
export class ForeignAddress extends ClientError {}

export function verifyingFetch(
  settings: GatewaySettings,
): (input: RequestInfo | URL, init?: RequestInit) => Promise<AttestedResponse>;

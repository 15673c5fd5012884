/** Uses verify.js as TypeScript sees it; compiled by a test where a compiler is at hand. */

import * as again from "../../services/provenance/jws.js";
import {
  CHECK_NAMES,
  type GatewaySettings,
  type Report,
  StreamCut,
  StreamVerifier,
  openTrust,
  readExchange,
  readGraph,
  readJwks,
  readProofHeaders,
  readRecord,
  support,
  verifyAnswer,
  verifyExchange,
  verifyRecord,
  verifyingFetch,
} from "../../verify-js/verify.js";

const settings: GatewaySettings = {
  baseUrl: "https://gate.example",
  keys: {},
  policy: "strict",
  onVerdict: { prefix: "pass" },
};

export async function use(): Promise<Report> {
  const found: { ok: boolean; reason: string } = await support();
  const response = await verifyingFetch(settings)("https://gate.example/v1/models");
  const report = await response.attest;
  if (report !== undefined && found.ok) return report;
  const trust = await again.openTrust({ jwks: "{}" });
  const stream = new StreamVerifier({
    keys: await readJwks("{}"),
    proof: readProofHeaders(response.headers),
    request: { method: "POST", path: "/" },
    response: { status: 200, media: "text/event-stream" },
  });
  const events: Uint8Array[] = await stream.feed(new Uint8Array());
  const name: string = CHECK_NAMES[1];
  // @ts-expect-error: a verdict is one of four
  const isGood: boolean = (await stream.finish()).verdict === "GOOD";
  // @ts-expect-error: a check is numbered from 1 to 17
  const missing = CHECK_NAMES[18];
  const { graph, root, ids } = await readGraph("{}");
  // @ts-expect-error: what was signed is not changed
  graph.nodes[0].kind = "response";
  try {
    await verifyAnswer({ status: 200, headers: [], body: "" }, await openTrust({ jwks: "{}" }));
    await verifyRecord(readRecord("{}"), trust);
  } catch (error) {
    if (error instanceof StreamCut) return error.report;
  }
  const given = { nonce: null, seen: [events, name, isGood, missing, root, ids].length };
  return verifyExchange(readExchange("{}"), { jwks: "{}", logKeys: [] }, { nonce: given.nonce });
}

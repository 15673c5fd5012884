/** Verifies a vector where WebCrypto is missing, or lacks Ed25519. */

import { readFileSync } from "node:fs";

import { support, verifyVector } from "../../verify-js/verify.js";

const [, , lack, path] = process.argv;
const { subtle } = globalThis.crypto;
const refuse = async () => {
  throw new DOMException("Unrecognized algorithm name", "NotSupportedError");
};
const crypto = {
  all: undefined,
  subtle: {},
  ed25519: { subtle: { digest: subtle.digest.bind(subtle), importKey: refuse } },
}[lack];
Object.defineProperty(globalThis, "crypto", { value: crypto });

const found = await support();
const outcome = await verifyVector(readFileSync(path)).then(
  ({ report }) => ({ verdict: report.verdict }),
  (error) => ({ error: error.name, message: error.message }),
);
process.stdout.write(JSON.stringify({ ...found, ...outcome }));

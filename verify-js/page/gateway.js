/**
 * Asks the one gateway that this page may connect to, and only when its user says so. Everything is
 * read, nothing is sent but the question itself and, for records, the API key.
 */

const WAIT_MS = 20_000;
const DOCUMENTS = {
  keyring: () => "/.well-known/attest/keyring.json",
  record: (provId) => `/v1/prov/${provId}`,
  proof: (provId) => `/v1/attest/${provId}/proof`,
};
const PROBLEMS = {
  401: "the API key is missing, unknown or no longer in force",
  403: "this key may not read it",
  404: "it has no such record, or the record belongs to another tenant",
  409: "the record is not in the ledger yet; try again in a moment",
  410: "the record was erased",
  429: "too many questions; try again in a moment",
};

/** Nothing could be read from the gateway, and what to do. */
export class NotFetched extends Error {}

/**
 * Fetches one document.
 *
 * @param {string} origin of the gateway.
 * @param {"keyring"|"record"|"proof"} kind
 * @param {{provId?: string, apiKey?: string}} asked the key goes into this one request and is not
 *   kept.
 * @returns {Promise<Uint8Array>}
 * @throws {NotFetched}
 */
export async function fetchDocument(origin, kind, { provId = "", apiKey = "" } = {}) {
  const url = origin + DOCUMENTS[kind](encodeURIComponent(provId));
  const headers = apiKey === "" ? {} : { authorization: `Bearer ${apiKey}` };
  let response;
  try {
    response = await fetch(url, {
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(WAIT_MS),
    });
    if (response.ok) {
      return new Uint8Array(await response.arrayBuffer());
    }
  } catch (error) {
    throw new NotFetched(
      error.name === "TimeoutError"
        ? `${origin} did not answer within ${WAIT_MS / 1_000} seconds.`
        : `${origin} gave no answer that this page may read. Either it cannot be reached, or it does not ` +
            `allow this page (cors_origins in its configuration). Its own page may always: ${origin}/verify`,
    );
  }
  const problem = PROBLEMS[response.status] ?? `it answered with HTTP status ${response.status}`;
  throw new NotFetched(`${origin} did not give the ${NAMES[kind]}: ${problem}.`);
}

const NAMES = { keyring: "key ring", record: "record", proof: "ledger proof" };

/**
 * Closes the doors of this page before it reads anything: a further Content-Security-Policy that
 * allows connections to one gateway at most. A page's policies can only be tightened, so nothing
 * that runs here afterwards can open one again; naming another gateway loads the page anew.
 *
 * Opened from disk, the page may connect to nobody unless its address names a gateway. Served by a
 * gateway, it may connect to that one.
 */

const ORIGIN = /^https?:\/\/(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/;
const LOCAL_NAMES = new Set(["localhost", "127.0.0.1"]);
export const GATEWAY_PARAMETER = "gateway";

/**
 * Reads the address of a gateway as people type it.
 *
 * @param {string} text with or without scheme and path.
 * @returns {{origin: string, problem: string}} one of them empty.
 */
export function readGateway(text) {
  const typed = text.trim();
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(typed) ? typed : `https://${typed}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : null;
  if (url === null || !ORIGIN.test(url.origin)) {
    return {
      origin: "",
      problem: "This is no address of a gateway. It looks like https://gate.example.",
    };
  }
  if (url.protocol === "http:" && !LOCAL_NAMES.has(url.hostname)) {
    return {
      origin: "",
      problem: "Over plain http your API key and the record could be read on the way. Use https.",
    };
  }
  return { origin: url.origin, problem: "" };
}

/**
 * Tightens the policy of a page and says what it still allows.
 *
 * @param {Document} page
 * @param {Location} place
 * @returns {{origin: string, served: boolean, problem: string}} the one gateway that may be asked,
 *   empty for none; whether the page came from a server; what was wrong with its address.
 */
export function closeDoors(page, place) {
  const served = place.protocol === "https:" || place.protocol === "http:";
  const named = new URLSearchParams(place.search).get(GATEWAY_PARAMETER);
  let door = { origin: served ? place.origin : "", problem: "" };
  if (named !== null && named !== place.origin) {
    door = readGateway(named);
  }
  const meta = page.createElement("meta");
  meta.httpEquiv = "Content-Security-Policy";
  meta.content = `connect-src ${door.origin || "'none'"}`;
  page.head.append(meta);
  return { ...door, served };
}

/** The controls beside the drop zone: what was given, and the gateway that may be asked. */

import { GATEWAY_PARAMETER, readGateway } from "./doors.js";
import { el } from "./dom.js";
import { many } from "./moments.js";
import { KINDS } from "./parts.js";

const BODIES = ["response", "request"];

/**
 * Says in words which connections the browser still allows.
 *
 * @param {{origin: string}} doors as `closeDoors` returns it.
 */
export function doorWords({ origin }) {
  return origin === ""
    ? [el("strong", {}, "Closed."), " Your browser lets this page connect to nobody."]
    : [
        el("strong", {}, "Closed but for one."),
        " Your browser lets this page connect to ",
        el("span.origin", {}, origin),
        " only.",
      ];
}

/** Returns the rows of what was given, each with a button that takes it away again. */
export function partRows(given, does) {
  return given.map((part) =>
    el(
      "li",
      { "data-kind": part.kind },
      BODIES.includes(part.kind) ? roleChoice(part, does) : el("span.kind", {}, KINDS[part.kind]),
      el("span.name", {}, part.name),
      el("span.size", {}, many(part.octets.length, "byte")),
      el(
        "button.link",
        {
          type: "button",
          "aria-label": `Remove ${KINDS[part.kind]} ${part.name}`,
          onclick: () => does.remove(part),
        },
        "Remove",
      ),
    ),
  );
}

/** A body does not say whose it is: its owner does. */
function roleChoice(part, does) {
  return el(
    "select",
    {
      "aria-label": `What ${part.name} is`,
      onchange: (event) => does.relabel(part, event.target.value),
    },
    ...BODIES.map((kind) =>
      el("option", { value: kind, selected: part.kind === kind }, KINDS[kind]),
    ),
  );
}

/** Returns the fields that say to which request a kept answer belongs; curl does not keep them. */
export function requestFields(does, { method, target }) {
  const options = ["POST", "GET"].map((name) => el("option", { selected: name === method }, name));
  return el(
    "div.fields.request-line",
    {},
    el(
      "div",
      {},
      el("label", { for: "request-method" }, "The request’s method"),
      el(
        "select",
        {
          id: "request-method",
          onchange: (event) => does.requested({ method: event.target.value }),
        },
        ...options,
      ),
    ),
    el(
      "div",
      {},
      el("label", { for: "request-target" }, "Its path"),
      el("input", {
        id: "request-target",
        type: "text",
        value: target,
        spellcheck: "false",
        autocomplete: "off",
        onchange: (event) => does.requested({ target: event.target.value }),
      }),
    ),
  );
}

/**
 * Returns the panel of the gateway: to name one, or to ask the one that was named.
 *
 * @param {{origin: string, served: boolean}} doors
 * @param {{ask: Function}} does
 */
export function gatewayPanel(doors, does) {
  return doors.origin === "" ? namingForm() : askingForm(doors, does);
}

function namingForm() {
  const problem = el("p.problem", { id: "gateway-problem", role: "alert" });
  const input = el("input", {
    id: "gateway-url",
    name: GATEWAY_PARAMETER,
    type: "text",
    placeholder: "https://gate.example",
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": "gateway-hint gateway-problem",
  });
  return el(
    "form",
    {
      id: "gateway-form",
      onsubmit: (event) => {
        event.preventDefault();
        const named = readGateway(input.value);
        problem.textContent = named.problem;
        if (named.problem === "") {
          location.search = new URLSearchParams({ [GATEWAY_PARAMETER]: named.origin });
        }
      },
    },
    el(
      "p.hint",
      { id: "gateway-hint" },
      "This page is closed. Name the gateway, and the page loads anew with that one connection allowed; " +
        "what you have given has to be given again.",
    ),
    el(
      "div.fields",
      {},
      el("div", {}, el("label", { for: "gateway-url" }, "Address of the gateway"), input),
    ),
    problem,
    el("button.button", { type: "submit" }, "Allow this gateway"),
  );
}

function askingForm(doors, does) {
  const field = (id, label, attributes) =>
    el(
      "div",
      {},
      el("label", { for: id }, label),
      el("input", { id, spellcheck: "false", autocomplete: "off", ...attributes }),
    );
  const problem = el("p.problem", { id: "gateway-problem", role: "alert" });
  const press = async (kinds, event) => {
    event.preventDefault();
    problem.textContent = "";
    const apiKey = document.getElementById("gateway-key").value.trim();
    const provId = document.getElementById("gateway-prov-id").value.trim();
    problem.textContent = await does.ask(kinds, { apiKey, provId });
  };
  return el(
    "form",
    { id: "gateway-form", onsubmit: (event) => press(["record", "proof"], event) },
    el(
      "p.hint",
      {},
      `Questions go to ${doors.origin} and nowhere else, and only when you press a button. `,
      doors.served
        ? "Its keys are worth as much as the address of this page."
        : "Its keys are worth as much as that address.",
    ),
    el(
      "button.button",
      { type: "button", id: "fetch-keys", onclick: (event) => press(["keyring"], event) },
      "Fetch its keys",
    ),
    el(
      "div.fields",
      {},
      field("gateway-prov-id", "prov_id of the answer", { type: "text", placeholder: "01890…" }),
      field("gateway-key", "API key of its tenant, or an auditor’s", {
        type: "password",
        placeholder: "vk_…",
        "aria-describedby": "key-hint",
      }),
    ),
    el(
      "p.hint",
      { id: "key-hint" },
      "The key stays in this page’s memory until you close it, and goes to the gateway only.",
    ),
    problem,
    el(
      "button.button",
      { type: "submit", id: "fetch-record" },
      "Fetch the record and its ledger proof",
    ),
  );
}

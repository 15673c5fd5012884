/** What the steps of a provenance graph are called, and which of them form an embedded call. */

import { count, dollars, many } from "./moments.js";

/** For each kind: its name, and which family it belongs to (the gateway's own, content, outside). */
export const STEP_KINDS = {
  request: { name: "Request", family: "content" },
  policy: { name: "Policy", family: "gate" },
  budget: { name: "Budget", family: "gate" },
  cache: { name: "Cache", family: "gate" },
  route: { name: "Route", family: "gate" },
  approval: { name: "Approval", family: "gate" },
  retrieval: { name: "Retrieval", family: "outside" },
  source: { name: "Source", family: "outside" },
  tool: { name: "Tool", family: "outside" },
  model: { name: "Model", family: "outside" },
  transform: { name: "Transform", family: "outside" },
  response: { name: "Answer", family: "content" },
};

const FAILED_STATUS = 400;

const TITLES = {
  request: (has) => has("operation") || join(has("method"), has("path")),
  policy: (has) => join(has("decision"), has("operation") && `for ${has("operation")}`),
  budget: (has) =>
    has("reserved_usd_micros") && `${dollars(Number(has("reserved_usd_micros")))} reserved`,
  cache: (has) => has("state"),
  route: (has) =>
    join(
      has("candidates") && many(Number(has("candidates")), "deployment"),
      has("arm") && `(${has("arm")})`,
    ),
  approval: (has) => join(has("decision"), has("by") && `by ${has("by")}`),
  retrieval: (has) => has("data_source") || has("name"),
  source: (has) => has("uri") || has("name"),
  tool: (has) => has("tool") || has("name") || has("deployment") || has("model") || has("agent"),
  model: (has) => has("answered_by") || has("model") || has("name"),
  transform: (has) =>
    has("gathers")
      ? `gathers ${has("gathers")}`
      : has("agent") ||
        has("workflow") ||
        has("name") ||
        (has("from") && `${has("from")} to ${has("to")}`),
  response: (has) => has("status") && `status ${has("status")}`,
};

/**
 * Returns what a step is about in a few words, from its own attributes.
 *
 * @param {{kind: string, attrs: object}} node
 */
export function titleOf(node) {
  const has = (name) =>
    Object.hasOwn(node.attrs, name) ? printable(String(node.attrs[name])) : "";
  const title = (TITLES[node.kind] ?? (() => ""))(has);
  return title || has("error") || has("name");
}

/** Says whether a step records a refusal, an error or a failed try. */
export function hasFailed({ attrs }) {
  return (
    attrs.decision === "deny" || Object.hasOwn(attrs, "error") || attrs.status >= FAILED_STATUS
  );
}

/** Replaces what does not print, or turns the direction of what stands around it. */
function printable(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\u2028\u2029]/gu, "?");
}

/** Returns an attribute's name as words; its unit goes with the value. */
export function attributeName(name) {
  return printable(name)
    .replace(/_(usd_micros|ms)$/, "")
    .replaceAll("_", " ");
}

/** Returns the text of an attribute's value with its unit. */
export function attributeText(name, value) {
  if (typeof value === "boolean") {
    return value ? "yes" : "no";
  }
  if (typeof value === "string") {
    return printable(value);
  }
  if (name.endsWith("_usd_micros")) {
    return dollars(value);
  }
  return name.endsWith("_ms") ? `${count(value)} ms` : count(value);
}

/**
 * Puts ids, numbers and embedded calls to the nodes of a graph.
 *
 * An embedded call is an answer within a run: its response, which is not the last node, and
 * everything that this one was made from. Nothing from outside leads into it.
 *
 * @param {Array<object>} nodes as in the graph, each after its inputs.
 * @param {string[]} ids of the nodes, in the same order.
 * @returns {{steps: Array<object>, calls: Array<object>}} outer calls before inner ones.
 */
export function readSteps(nodes, ids) {
  const at = new Map(ids.map((id, index) => [id, index]));
  const steps = nodes.map((node, index) => ({
    id: ids[index],
    number: index + 1,
    node,
    title: titleOf(node),
    frame: null,
  }));
  const calls = [];
  nodes.forEach((node, index) => {
    if (node.kind === "response" && index < nodes.length - 1) {
      calls.push({ members: reached(nodes, at, index) });
    }
  });
  const nested = nest(calls);
  nested.forEach((call, index) => {
    call.id = `call-${index + 1}`;
    call.title = callTitle(steps.filter((_, place) => call.members.has(place)));
    call.frame = call.outer === null ? null : call.outer.id;
    for (const member of call.members) {
      // Inner calls come later and take what is theirs.
      steps[member].frame = call.id;
    }
  });
  return { steps, calls: nested };
}

/** Names a call by the operation that it asked for, else by its request. */
function callTitle(inside) {
  const asked = inside.find((step) => Object.hasOwn(step.node.attrs, "operation"));
  const request = inside.find((step) => step.node.kind === "request");
  return String(asked?.node.attrs.operation ?? request?.title ?? "");
}

/** Returns the places of a node and of everything that it was made from. */
function reached(nodes, at, index) {
  const members = new Set([index]);
  const waiting = [index];
  while (waiting.length > 0) {
    for (const input of nodes[waiting.pop()].in) {
      const place = at.get(input);
      if (place !== undefined && !members.has(place)) {
        members.add(place);
        waiting.push(place);
      }
    }
  }
  return members;
}

/** Orders calls, larger first, and drops those that overlap another without lying in it. */
function nest(calls) {
  const kept = [];
  for (const call of [...calls].sort((one, other) => other.members.size - one.members.size)) {
    const members = [...call.members];
    const touching = kept.filter((one) => members.some((place) => one.members.has(place)));
    if (touching.every((one) => members.every((place) => one.members.has(place)))) {
      kept.push({ ...call, outer: touching.at(-1) ?? null });
    }
  }
  return kept;
}

function join(...words) {
  return words.filter((word) => word !== "").join(" ");
}

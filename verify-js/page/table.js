/** The steps of a provenance graph as a table: the twin of its drawing, with a line of time. */

import { el, svg } from "./dom.js";
import { count, duration } from "./moments.js";
import { STEP_KINDS, attributeName, attributeText } from "./steps.js";

/**
 * Returns the table, which scrolls within itself where it is wider than its place.
 *
 * @param {Array<object>} steps as `readSteps` returns them.
 */
export function stepsTable(steps) {
  const first = Math.min(...steps.map((step) => step.node.t0));
  const span = Math.max(1, Math.max(...steps.map((step) => step.node.t1)) - first);
  const numberOf = new Map(steps.map((step) => [step.id, step.number]));
  const rows = steps.map(({ node, number, title }) =>
    el(
      "tr",
      {},
      el("td.number", {}, String(number)),
      el(
        "th",
        { scope: "row" },
        STEP_KINDS[node.kind].name,
        el("span.title", {}, title),
        el("span.facts", {}, facts(node.attrs)),
      ),
      el("td", {}, `+${count(node.t0 - first)} ms`),
      el(
        "td",
        {},
        duration(node.t1 - node.t0),
        bar((node.t0 - first) / span, (node.t1 - node.t0) / span),
      ),
      el("td", {}, node.in.map((id) => numberOf.get(id)).join(", ") || "–"),
    ),
  );
  const heads = ["No.", "Step", "Began", "Took", "Made from"];
  return el(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": "Table of the steps" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...rows),
    ),
  );
}

function facts(attrs) {
  return Object.entries(attrs)
    .map(([name, value]) => `${attributeName(name)}: ${attributeText(name, value)}`)
    .join(" · ");
}

/** Returns a piece of a time line, as wide as its cell. */
function bar(start, share) {
  return svg(
    "svg.bar",
    { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect.track", { width: "100", height: "4" }),
    svg("rect.span", {
      x: String(Math.max(0, Math.min(98, start * 100))),
      width: String(Math.min(100, Math.max(2, share * 100))),
      height: "4",
    }),
  );
}

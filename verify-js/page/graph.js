/** Draws a provenance graph: layers as SVG, and beside them what is known of the chosen step. */

import { code, el, refill, svg, terms } from "./dom.js";
import { CARD, layOut } from "./layout.js";
import { duration, many, moment } from "./moments.js";
import { STEP_KINDS, attributeName, attributeText, hasFailed } from "./steps.js";
import { stepsTable } from "./table.js";

const COLUMNS = { min: 1, max: 6 };
const CARD_CHARS = 20;

/**
 * Returns the section of a graph; it lays itself out again when it gets another width.
 *
 * @param {{steps: Array<object>, calls: Array<object>}} read as `readSteps` returns it.
 */
export function graphSection({ steps, calls }) {
  const view = {
    steps,
    calls,
    byId: new Map(steps.map((step) => [step.id, step])),
    // The run first; what happened within a call is shown where somebody wants to see it.
    folded: new Set(calls.map((call) => call.id)),
    chosen: steps.at(-1).id,
    columns: 0,
    middle: 0,
    shown: [],
    canvas: el("div.canvas", {
      tabindex: "0",
      role: "group",
      "aria-label": "Drawing of the graph",
    }),
    detail: el("div.detail", { id: "step-detail", "aria-live": "polite" }),
  };
  redraw(view, COLUMNS.min);
  showDetail(view);
  new ResizeObserver(([entry]) => {
    const fitting = Math.floor((entry.contentRect.width - 24) / (CARD.width + 20));
    const columns = Math.min(COLUMNS.max, Math.max(COLUMNS.min, fitting));
    if (columns !== view.columns) {
      redraw(view, columns);
    }
    if (!view.canvas.contains(document.activeElement)) {
      // A drawing that is wider than its place shows its beginning, wherever that is.
      view.canvas.scrollLeft = view.middle - view.canvas.clientWidth / 2;
    }
  }).observe(view.canvas);
  return el(
    "div.graph",
    {},
    el("p.hint", {}, summary(steps, calls)),
    legend(steps, calls),
    calls.length === 0 ? null : allCalls(view),
    el("div.stage", {}, view.canvas, view.detail),
    el(
      "details.twin",
      {},
      el("summary", {}, `The same as a table (${many(steps.length, "step")})`),
      stepsTable(steps),
    ),
  );
}

function summary(steps, calls) {
  const reported = steps.filter((step) => step.node.attrs.reported === true).length;
  const first = Math.min(...steps.map((step) => step.node.t0));
  const last = Math.max(...steps.map((step) => step.node.t1));
  const parts = [`${many(steps.length, "step")} in ${duration(last - first)}`];
  if (calls.length > 0) {
    parts.push(`${many(calls.length, "call")} of a run embedded, each with its own signed record`);
  }
  if (reported > 0) {
    parts.push(`${many(reported, "step")} reported by the agent and not seen by the gateway`);
  }
  return `${parts.join("; ")}. Choose a step to read it; arrow keys go from step to step.`;
}

/** Explains what is drawn here, and nothing that is not. */
function legend(steps, calls) {
  const families = new Set(steps.map((step) => STEP_KINDS[step.node.kind].family));
  const entries = [
    [families.has("content"), "content", "request and answer"],
    [families.has("gate"), "gate", "the gateway’s own checks"],
    [families.has("outside"), "outside", "models, tools and sources"],
    [
      steps.some((step) => step.node.attrs.reported === true),
      "reported",
      "dashed: reported by the agent",
    ],
    [calls.length > 0, "call", "on top of each other: a call, to unfold"],
  ];
  return el(
    "ul.legend",
    { "aria-label": "How steps are drawn" },
    ...entries
      .filter(([drawn]) => drawn)
      .map(([, family, words]) => el("li", {}, el(`span.swatch.${family}`), words)),
  );
}

/** Unfolds or folds every call at once. */
function allCalls(view) {
  const words = () => (view.folded.size > 0 ? "Unfold every call" : "Fold every call");
  const all = () => (view.folded.size > 0 ? [] : view.calls.map((call) => call.id));
  const button = el("button.link.all-calls", { type: "button" }, words());
  button.addEventListener("click", () => {
    view.folded = new Set(all());
    button.textContent = words();
    redraw(view, view.columns);
  });
  return button;
}

function redraw(view, columns) {
  view.columns = columns;
  const leaves = view.steps.map((step) => ({
    id: step.id,
    inputs: step.node.in,
    frame: step.frame,
  }));
  const frames = view.calls.map((call) => ({
    id: call.id,
    frame: call.frame,
    folded: view.folded.has(call.id),
  }));
  const laid = layOut(leaves, frames, columns);
  const [width, height] = [laid.width + 4, laid.height + 4];
  const focused = view.canvas.contains(document.activeElement) ? document.activeElement.id : "";
  view.canvas.replaceChildren(
    svg(
      "svg.layers",
      {
        viewBox: `-2 -2 ${width} ${height}`,
        width: String(width),
        height: String(height),
        role: "group",
        "aria-label": `Provenance graph of ${many(view.steps.length, "step")}`,
      },
      ...[...laid.frames].map(([id, place]) => drawFrame(view, id, place)),
      ...laid.edges.map(drawEdge),
      ...[...laid.cards].map(([id, place]) => drawCard(view, view.byId.get(id), place)),
    ),
  );
  view.shown = [...laid.cards.keys()];
  if (!view.shown.includes(view.chosen)) {
    view.chosen = view.shown.at(-1);
    showDetail(view);
  }
  mark(view);
  if (focused !== "") {
    document.getElementById(focused)?.focus();
  }
  const first = laid.cards.get(view.shown[0]);
  view.middle = first.x + first.width / 2;
}

function drawEdge({ points }) {
  const [start, ...rest] = points;
  let path = `M${start[0]} ${start[1]}`;
  let from = start;
  rest.forEach((to, index) => {
    const bend = (from[1] + to[1]) / 2;
    // Every second piece runs straight, within a layer.
    path +=
      index % 2 === 0
        ? `L${to[0]} ${to[1]}`
        : `C${from[0]} ${bend} ${to[0]} ${bend} ${to[0]} ${to[1]}`;
    from = to;
  });
  const [x, y] = from;
  return svg(
    "g.edge",
    { "aria-hidden": "true" },
    svg("path.line", { d: path }),
    svg("path.tip", { d: `M${x - 4} ${y - 7}L${x} ${y}L${x + 4} ${y - 7}z` }),
  );
}

function drawCard(view, step, { x, y, width, height }) {
  const { name, family } = STEP_KINDS[step.node.kind];
  const reported = step.node.attrs.reported === true;
  const failed = hasFailed(step.node);
  const marks = `${reported ? ", reported" : ""}${failed ? ", failed" : ""}`;
  const spoken = `${step.number}. ${name}${marks}: ${step.title}`;
  const classes = ["card", family, reported ? "reported" : "", failed ? "failed" : ""];
  const card = svg(
    `g.${classes.filter((one) => one !== "").join(".")}`,
    {
      id: `card-${step.id}`,
      role: "button",
      tabindex: "-1",
      transform: `translate(${x} ${y})`,
      "aria-label": `${spoken}; took ${duration(step.node.t1 - step.node.t0)}`,
      "aria-controls": "step-detail",
      "data-step": step.id,
      onclick: () => choose(view, step.id, false),
      onkeydown: (event) => steer(view, event),
    },
    svg(
      "title",
      {},
      `${spoken}\n${moment(step.node.t0)}, ${duration(step.node.t1 - step.node.t0)}`,
    ),
    svg("rect.face", { width: String(width), height: String(height), rx: "7" }),
    svg("rect.band", { width: "5", height: String(height - 14), x: "7", y: "7", rx: "2.5" }),
    svg("text.kind", { x: "21", y: "22" }, `${failed ? "✕ " : ""}${name}`),
    svg("text.took", { x: String(width - 10), y: "22" }, duration(step.node.t1 - step.node.t0)),
    svg("text.title", { x: "21", y: "42" }, shorten(step.title)),
  );
  return card;
}

function drawFrame(view, id, { x, y, width, height }) {
  const call = view.calls.find((one) => one.id === id);
  const folded = view.folded.has(id);
  const inside = many(call.members.size, "step");
  const words = folded
    ? `Show the ${inside} of the call ${call.title}`
    : `Fold the call ${call.title}`;
  const toggle = svg(
    "g.toggle",
    {
      id: `toggle-${id}`,
      role: "button",
      tabindex: "0",
      "aria-expanded": String(!folded),
      "aria-label": words,
      onclick: () => fold(view, id),
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          fold(view, id);
        }
      },
    },
    svg("title", {}, words),
    svg("rect.grip", { width: String(width), height: folded ? String(height) : "34", rx: "8" }),
    ...(folded
      ? foldedWords(call, width)
      : [svg("text.kind", { x: "16", y: "22" }, `− ${shorten(call.title)}`)]),
  );
  const area = svg("rect.area", { width: String(width), height: String(height), rx: "8" });
  // A folded call looks like cards on top of each other.
  const under = svg("rect.under", {
    x: "5",
    y: "5",
    width: String(width),
    height: String(height),
    rx: "8",
  });
  const at = { transform: `translate(${x} ${y})` };
  return folded ? svg("g.frame.folded", at, under, area, toggle) : svg("g.frame", at, area, toggle);
}

function foldedWords(call, width) {
  return [
    svg("text.kind", { x: "12", y: "22" }, "+ Call"),
    svg("text.took", { x: String(width - 10), y: "22" }, many(call.members.size, "step")),
    svg("text.title", { x: "12", y: "42" }, shorten(call.title)),
  ];
}

function shorten(title) {
  // The end of a path or address says more than its middle.
  const plain = title.replace(/\s+/g, " ");
  return plain.length <= CARD_CHARS
    ? plain
    : `${plain.slice(0, CARD_CHARS - 9)}…${plain.slice(-8)}`;
}

function fold(view, id) {
  if (!view.folded.delete(id)) {
    view.folded.add(id);
  }
  redraw(view, view.columns);
}

function choose(view, id, focus) {
  view.chosen = id;
  mark(view);
  showDetail(view);
  if (focus) {
    document.getElementById(`card-${id}`).focus();
  }
}

/** Marks the chosen card; it alone is in the tab order, as in a list box. */
function mark(view) {
  for (const card of view.canvas.querySelectorAll("[data-step]")) {
    const chosen = card.dataset.step === view.chosen;
    card.classList.toggle("chosen", chosen);
    card.setAttribute("tabindex", chosen ? "0" : "-1");
    card.setAttribute("aria-pressed", String(chosen));
  }
}

function steer(view, event) {
  const at = view.shown.indexOf(view.chosen);
  const shown = (ids) => ids.find((id) => view.shown.includes(id));
  const used = view.steps.filter((step) => step.node.in.includes(view.chosen));
  const next = {
    ArrowUp: () => shown(view.byId.get(view.chosen).node.in) ?? view.shown[at - 1],
    ArrowDown: () => shown(used.map((step) => step.id)) ?? view.shown[at + 1],
    ArrowLeft: () => view.shown[at - 1],
    ArrowRight: () => view.shown[at + 1],
    Home: () => view.shown[0],
    End: () => view.shown.at(-1),
    Enter: () => view.chosen,
    " ": () => view.chosen,
  }[event.key]?.();
  if (next !== undefined) {
    event.preventDefault();
    choose(view, next, true);
  }
}

function showDetail(view) {
  const step = view.byId.get(view.chosen);
  const { node } = step;
  const inputs = node.in.map((id) => {
    const from = view.byId.get(id);
    const name = `${from.number}. ${STEP_KINDS[from.node.kind].name}`;
    return view.shown.includes(id)
      ? el("button.link", { type: "button", onclick: () => choose(view, id, true) }, name)
      : el("span", {}, name);
  });
  refill(
    view.detail,
    el("h3", {}, `${step.number}. ${STEP_KINDS[node.kind].name}`),
    el("p.title", {}, step.title),
    node.attrs.reported === true
      ? el(
          "p.hint",
          {},
          "Reported by the agent: the gateway signed that it was told so, not that it was so.",
        )
      : null,
    terms([
      ["Began", moment(node.t0)],
      ["Took", duration(node.t1 - node.t0)],
      ["Made from", inputs.length === 0 ? "nothing before it" : el("span.inputs", {}, ...inputs)],
      ...Object.entries(node.attrs).map(([name, value]) => [
        attributeName(name),
        attributeText(name, value),
      ]),
      ["Commitment", node.commit === undefined ? "" : code(node.commit)],
      ["Id", code(step.id)],
    ]),
  );
}

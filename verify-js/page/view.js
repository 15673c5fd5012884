/** Makes the sections of a result: verdict, answer, checks, graph, statement, limits. */

import { code, el, icon, terms } from "./dom.js";
import { graphSection } from "./graph.js";
import { count, dollars, many, moment } from "./moments.js";
import { CHECKS, OUTCOMES, foreignKeys, limits, verdictWords } from "./words.js";

/**
 * Returns everything that is shown of a result, and its sentence for those who listen.
 *
 * @param {object} found as `judge` returns it.
 * @param {{trust: Function}} does what the buttons within it do.
 * @returns {{nodes: Node[], spoken: string}}
 */
export function resultSections(found, does) {
  const words = verdictWords(found);
  const { report, keys } = found;
  const nodes = [
    verdictCard(found, words, does),
    found.words === null ? null : wordsSection(found.words),
    unmadeSection(found),
    checksSection(found),
    found.graph === null ? null : section("Where it came from", "graph", graphSection(found.graph)),
    report.statement === null ? null : statementSection(report.statement, keys === "embedded"),
    section(
      "What this does not prove",
      "limits",
      el("ul.limits", {}, ...limits(found).map((limit) => el("li", {}, limit))),
    ),
  ];
  return {
    nodes: nodes.filter((node) => node !== null),
    spoken: `${words.title}. ${words.sentence} ${words.more}`,
  };
}

function section(title, id, ...children) {
  return el(
    "section.part",
    { "aria-labelledby": `${id}-title`, id },
    el("h2", { id: `${id}-title` }, title),
    ...children,
  );
}

function verdictCard(found, words, does) {
  const { report, keys, expectedByFile } = found;
  const foreign = foreignKeys(found);
  const tally = ["pass", "fail", "skip"]
    .map((outcome) => [
      report.checks.filter((check) => check.outcome === outcome).length,
      OUTCOMES[outcome],
    ])
    .filter(([number]) => number > 0)
    .map(([number, name]) => `${number} ${name}`)
    .join(" · ");
  return el(
    `section.verdict.${words.tone}`,
    { "aria-labelledby": "verdict-title", "data-verdict": report.verdict, "data-keys": keys },
    icon(words.sign),
    el(
      "div",
      {},
      el("h2", { id: "verdict-title" }, words.title),
      el("p.sentence", {}, words.sentence),
      el("p.more", {}, words.more),
      keys === "embedded" || keys === "own"
        ? el(
            "label.choice",
            {},
            el("input", {
              type: "checkbox",
              checked: keys === "own",
              id: "own-keys",
              onchange: (event) => does.trust(event.target.checked),
            }),
            "I wrote this file myself, so its keys are mine to trust",
          )
        : null,
      foreign === "" ? null : el("p.hint.foreign", {}, foreign),
      expectedByFile.length === 0
        ? null
        : el("p.hint", {}, `Expected only because the file says so: ${expectedByFile.join(", ")}.`),
      el(
        "p.tally",
        {},
        `17 checks: ${tally}`,
        report.provId === "" ? null : ` · `,
        report.provId === "" ? null : code(report.provId),
      ),
    ),
  );
}

function wordsSection({ asked, askedProven, answered, answerOctets }) {
  const pieces = answered.map(({ text, proven }, index) =>
    proven
      ? el("span", {}, text)
      : unproven(text, index === 0 ? "Not proven: " : " Not proven from here: "),
  );
  return section(
    "The words",
    "words",
    el(
      "div.exchange",
      {},
      asked === ""
        ? null
        : el(
            "figure.asked",
            {},
            el("figcaption", {}, "Asked"),
            el("div.text", {}, askedProven ? asked : unproven(asked, "Not proven: ")),
          ),
      el(
        "figure.answered",
        {},
        el("figcaption", {}, `Answered, ${many(answerOctets, "byte")}`),
        el("div.text", {}, ...(pieces.length === 0 ? [el("em", {}, "no words")] : pieces)),
      ),
    ),
  );
}

function unproven(text, flag) {
  return el("span.unproven", {}, el("strong.flag", {}, flag), text);
}

function checksSection({ report, keys }) {
  const rows = report.checks.map((check) => {
    // Keys out of the file pass this check for the verifier, which was told to use them.
    const doubted = check.number === KEY_CHECK && keys === "embedded";
    return el(
      `li.check.${doubted ? "doubt" : check.outcome}`,
      { "data-check": String(check.number), "data-outcome": check.outcome },
      icon(doubted ? "doubt" : check.outcome),
      el(
        "div",
        {},
        el("p.question", {}, el("span.number", {}, String(check.number)), CHECKS[check.number][0]),
        el(
          "p.detail",
          {},
          el(
            "span.outcome",
            {},
            doubted ? "in the file’s own key set, not trusted" : OUTCOMES[check.outcome],
          ),
          ` · ${check.name}: ${check.detail}`,
        ),
      ),
    );
  });
  return section("Seventeen checks", "checks", el("ol.checks", {}, ...rows));
}

function unmadeSection({ report }) {
  const unmade = report.checks.filter((check) => check.outcome === "skip");
  if (unmade.length === 0) {
    return null;
  }
  const rows = unmade.map((check) =>
    el(
      "li",
      {},
      el("p.question", {}, CHECKS[check.number][0]),
      el("p.detail", {}, `${capital(check.detail)}. ${CHECKS[check.number][1]}`.trim()),
    ),
  );
  return section(
    "What was not checked",
    "unmade",
    el("p.hint", {}, "A check without what it needs is left out and never counts as passed."),
    el("ul.unmade", {}, ...rows),
  );
}

function statementSection(statement, doubted) {
  const { req, res, dag, seq } = statement;
  const tokens = statement.usage;
  const query = req.query === undefined ? "" : " with a query";
  const events = res.events === undefined ? "" : ` in ${many(res.events, "event")}`;
  const shown = terms([
    ["Signed by", statement.iss],
    ["On", moment(statement.iat)],
    ["For the tenant", `${statement.aud}, region ${statement.region}`],
    ["Operation", statement.op],
    ["Request", `${req.method} ${req.path}${query}, ${many(req.len, "byte")}`],
    ["Document", req.doc === undefined ? "" : code(req.doc)],
    ["Answer", `status ${res.status}, ${res.media}, ${many(res.len, "byte")}${events}`],
    ["Complete", res.fin ? "yes" : "no: it ended early"],
    [
      "Model",
      statement.model === undefined
        ? ""
        : `${statement.model.id} of ${statement.model.provider}, as the provider said`,
    ],
    ["Tokens", tokens === undefined ? "" : `${count(tokens.in)} in, ${count(tokens.out)} out`],
    ["Cost", statement.cost_usd_micros === undefined ? "" : dollars(statement.cost_usd_micros)],
    ["Policy", POLICY[statement.policy.decision]],
    ["From a cache", CACHE[statement.cache]],
    ["Nonce", statement.nonce === undefined ? "" : code(statement.nonce)],
    [
      "Number",
      `${count(seq.n)} of the signer ${seq.signer}; a missing number would show a dropped record`,
    ],
    ["Graph", `${many(dag.nodes, "step")}`],
    ["Graph’s root", code(dag.root)],
    ["Request’s digest", code(req.commit)],
    ["Answer’s digest", code(res.commit)],
    ["Policy bundle", code(statement.policy.bundle)],
    ["Configuration", code(statement.plan)],
  ]);
  return section(
    "What was signed",
    "statement",
    el(
      "p.hint",
      {},
      "The statement holds digests and facts, never content.",
      doubted ? " Its keys are not trusted, so anybody may have written it." : "",
    ),
    shown,
    el(
      "details",
      {},
      el("summary", {}, "As JSON"),
      el(
        "pre",
        { tabindex: "0", role: "region", "aria-label": "The statement as JSON" },
        JSON.stringify(statement, null, 2),
      ),
    ),
  );
}

const KEY_CHECK = 3;
const POLICY = { allow: "allowed it", deny: "denied it", none: "was not asked" };
const CACHE = { off: "no, caching is off", miss: "no", hit: "yes" };

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

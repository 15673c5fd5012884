/** The page itself: what was given, what follows from it, and what is shown. */

import { support } from "../verify.js";
import { closeDoors } from "./doors.js";
import { el } from "./dom.js";
import { NotFetched, fetchDocument } from "./gateway.js";
import { judge } from "./judge.js";
import { doorWords, gatewayPanel, partRows, requestFields } from "./panels.js";
import { PartRefused, recognise, tellBodiesApart } from "./parts.js";
import { resultSections } from "./view.js";

const ANSWERS = new Set(["exchange", "head"]);
/** What belongs to one answer. */
const CASE = new Set([...ANSWERS, "response", "request", "record", "graph", "proof"]);
/** Of these the last one given counts. */
const SINGLE = new Set([...CASE, "jwks", "keyring", "policy"]);

/** What was given and chosen. It lives as long as the page does, and nowhere else. */
class Bench {
  parts = [];
  trustsOwn = false;
  request = { method: "POST", target: "/v1/chat/completions" };
  rounds = 0;

  /** Adds what was given together; another answer begins another case, by the same keys. */
  addAll(parts) {
    const answers = (all) => all.some((part) => ANSWERS.has(part.kind));
    if (answers(parts) && answers(this.parts)) {
      this.parts = this.parts.filter((one) => !CASE.has(one.kind));
    }
    for (const part of parts) {
      const replaces = (one) =>
        SINGLE.has(part.kind) ? one.kind === part.kind : one.value === part.value;
      this.parts = this.parts.filter((one) => !replaces(one));
      this.parts.push(part);
    }
    if (parts.some((part) => CASE.has(part.kind))) {
      this.trustsOwn = false;
    }
  }

  get bodyWanted() {
    return this.parts.some((part) => part.kind === "head");
  }
}

const find = (id) => document.getElementById(id);

async function begin() {
  const doors = closeDoors(document, location);
  find("doors").append(...doorWords(doors));
  const found = await support();
  if (!found.ok) {
    showUnsupported(found.reason);
    return;
  }
  const bench = new Bench();
  const does = makeDeeds(bench, doors);
  find("give").hidden = false;
  find("gateway-place").append(gatewayPanel(doors, does));
  showProblems(doors.problem === "" ? [] : [doors.problem]);
  listenForFiles(does);
  listenForForms(does);
}

/** Returns everything that a control may do. */
function makeDeeds(bench, doors) {
  const does = {
    async take(named) {
      const { parts, problems } = readParts(named, bench.bodyWanted);
      bench.addAll(parts);
      showProblems(problems);
      await show(bench, does);
    },
    async remove(part) {
      bench.parts = bench.parts.filter((one) => one !== part);
      await show(bench, does);
      find("files").focus();
    },
    async relabel(part, kind) {
      const other = bench.parts.find((one) => one.kind === kind);
      if (other !== undefined) {
        other.kind = part.kind;
      }
      part.kind = kind;
      await show(bench, does);
    },
    async requested(change) {
      Object.assign(bench.request, change);
      await show(bench, does);
    },
    async trust(own) {
      bench.trustsOwn = own;
      await show(bench, does);
      find("own-keys")?.focus();
    },
    async expect() {
      await show(bench, does);
    },
    async ask(kinds, asked) {
      return fetchParts(doors.origin, kinds, asked, does);
    },
  };
  return does;
}

/** Recognises texts and files; what is none of the known kinds becomes a problem in words. */
function readParts(named, bodyWanted) {
  const isHead = ({ octets }) => new TextDecoder().decode(octets.subarray(0, 5)) === "HTTP/";
  const wanted = bodyWanted || named.some(isHead);
  const parts = [];
  const problems = [];
  for (const { name, octets, origin = "" } of named) {
    try {
      parts.push(...recognise(name, octets, wanted).map((part) => ({ ...part, origin })));
    } catch (error) {
      if (!(error instanceof PartRefused)) {
        throw error;
      }
      problems.push(error.message);
    }
  }
  tellBodiesApart(parts);
  return { parts, problems };
}

/** Asks the gateway for some documents; returns what went wrong, in words. */
async function fetchParts(origin, kinds, asked, does) {
  const problems = [];
  const got = [];
  for (const kind of kinds) {
    try {
      const octets = await fetchDocument(origin, kind, asked);
      got.push({ name: `from ${origin}`, octets, origin });
    } catch (error) {
      if (!(error instanceof NotFetched)) {
        throw error;
      }
      problems.push(error.message);
    }
  }
  if (got.length > 0) {
    await does.take(got);
  }
  return problems.join(" ");
}

async function show(bench, does) {
  bench.rounds += 1;
  const round = bench.rounds;
  document.body.classList.toggle("working", bench.parts.length > 0);
  find("parts").replaceChildren(
    ...partRows(bench.parts, does),
    ...(bench.parts.some((part) => part.kind === "request")
      ? [el("li.wide", {}, requestFields(does, bench.request))]
      : []),
  );
  try {
    const found = await judge(bench.parts, bench.request, readExpected(), bench.trustsOwn);
    // If something was added meanwhile, its own round shows it.
    if (round === bench.rounds) {
      showFound(found, does);
    }
  } catch (error) {
    // The last verdict was on something else; it must not stand over what is given now.
    if (round === bench.rounds) {
      showNext(`This could not be judged: ${error.message}. Nothing is known of it.`);
    }
    throw error;
  }
}

function showNext(next) {
  find("result").replaceChildren(...(next === "" ? [] : [el("p.next", {}, next)]));
  find("status").textContent = next;
}

function showFound(found, does) {
  if (found.report === null) {
    showNext(found.next);
    return;
  }
  const provId = find("gateway-prov-id");
  if (provId !== null && provId.value === "") {
    provId.value = found.report.provId;
  }
  const { nodes, spoken } = resultSections(found, does);
  find("result").replaceChildren(...nodes);
  find("status").textContent = spoken;
}

function readExpected() {
  const text = (id) => find(id).value.trim() || null;
  const minutes = text("expect-age");
  return {
    issuer: text("expect-issuer"),
    audience: text("expect-audience"),
    nonce: text("expect-nonce"),
    ageMsMax: minutes === null ? null : Math.round(Number(minutes) * 60_000),
    nowMs: minutes === null ? null : Date.now(),
  };
}

function listenForFiles(does) {
  const takeFiles = async (list) => {
    const files = [...list]; // the browser empties the list once the drop is over
    const read = await Promise.allSettled(
      files.map(async (file) => ({
        name: file.name,
        octets: new Uint8Array(await file.arrayBuffer()),
      })),
    );
    await does.take(read.filter((one) => one.status === "fulfilled").map((one) => one.value));
    const unread = files.filter((_, at) => read[at].status === "rejected");
    addProblems(unread.map(({ name }) => `${name} cannot be read; a folder cannot be dropped.`));
  };
  find("files").addEventListener("change", async (event) => {
    await takeFiles(event.target.files);
    event.target.value = "";
  });
  const over = (event, on) => {
    event.preventDefault();
    find("drop").classList.toggle("over", on);
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => over(event, false));
  document.addEventListener("drop", async (event) => {
    over(event, false);
    await takeFiles(event.dataTransfer.files);
  });
}

function listenForForms(does) {
  find("paste-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = find("paste-text").value;
    await does.take([{ name: "pasted text", octets: new TextEncoder().encode(text) }]);
    find("paste-text").value = "";
  });
  find("expect-form").addEventListener("submit", (event) => event.preventDefault());
  find("expect-form").addEventListener("change", () => does.expect());
}

function showProblems(problems) {
  find("notice").replaceChildren();
  addProblems(problems);
}

function addProblems(problems) {
  find("notice").append(...problems.map((problem) => el("p.notice", {}, problem)));
}

function showUnsupported(reason) {
  const served = location.protocol === "http:";
  showProblems([`Nothing can be verified here: ${reason}.`]);
  find("notice").append(
    el(
      "ul.remedies",
      {},
      served
        ? el(
            "li",
            {},
            "Over plain http browsers switch their cryptography off. Open this page over https, or save " +
              "it and open it from disk.",
          )
        : null,
      el(
        "li",
        {},
        "Use a browser of 2025 or later: Chrome and Edge from 137, Firefox from 129, Safari from 17.",
      ),
      el(
        "li",
        {},
        "Or verify by command, without a browser: ",
        el("code", {}, "verismo verify FILE --jwks KEYS"),
      ),
    ),
  );
}

begin();

/**
 * Makes elements. Text only ever becomes text: nothing in this page is parsed as HTML, and the
 * policy of the page (Trusted Types) refuses it.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns an HTML element.
 *
 * @param {string} name with classes after dots, such as `p.hint`.
 * @param {Object<string, string|boolean|Function>} attributes `on...` are listeners, `true` is a
 *   bare attribute, `false` leaves it out.
 * @param {...(Node|string|null)} children
 */
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElement(tag), classes, attributes, children);
}

/** Returns an SVG element; arguments as for `el`. */
export function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElementNS(SVG, tag), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length > 0) {
    element.setAttribute("class", classes.join(" "));
  }
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Puts children into an element in place of those it has; null is left out. */
export function refill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null));
}

/** Returns a list of terms and their descriptions; pairs without a description are left out. */
export function terms(pairs) {
  const rows = pairs
    .filter(([, described]) => described !== "" && described !== null && described !== undefined)
    .map(([term, described]) => el("div", {}, el("dt", {}, term), el("dd", {}, described)));
  return el("dl.terms", {}, ...rows);
}

/** Returns a text that is a digest or an identifier: of fixed width, breaking anywhere. */
export function code(text) {
  return el("code", {}, text);
}

const SHAPES = {
  pass: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M7 12.5l3.4 3.4L17 9"],
  fail: ["M8 2h8l6 6v8l-6 6H8l-6-6V8z", "M8.5 8.5l7 7M15.5 8.5l-7 7"],
  skip: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M8 12h8"],
  part: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M12 6.5v11M12 6.5a5.5 5.5 0 0 0 0 11z"],
  none: ["M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z", "M5 19L19 5"],
  doubt: ["M12 1.8L23 21H1z", "M12 9v5.5M12 17.4v.4"],
};

/**
 * Returns a drawn sign. Each differs in shape, so that none needs its colour.
 *
 * @param {"pass"|"fail"|"skip"|"part"|"none"|"doubt"} kind
 */
export function icon(kind) {
  const [outline, mark] = SHAPES[kind];
  return svg(
    "svg.icon",
    { viewBox: "0 0 24 24", "aria-hidden": "true", "data-icon": kind },
    svg("path.outline", { d: outline }),
    svg("path.mark", { d: mark }),
  );
}

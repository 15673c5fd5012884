/** Times and amounts as people read them; always UTC, so that two readers see the same words. */

const DAY = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "long",
  year: "numeric",
  timeZone: "UTC",
});
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZone: "UTC",
});
const COUNT = new Intl.NumberFormat("en-GB");
const MS_MAX = 8_640_000_000_000_000;

/** Returns a moment such as `21 September 2026, 14:13:20 UTC`. */
export function moment(ms) {
  return ms > MS_MAX
    ? `${COUNT.format(ms)} ms after 1970`
    : `${DAY.format(ms)}, ${CLOCK.format(ms)} UTC`;
}

/** Returns how long something took, such as `840 ms` or `2.41 s`. */
export function duration(ms) {
  return ms < 1_000 ? `${ms} ms` : `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** Returns a whole number with its thousands apart. */
export function count(number) {
  return COUNT.format(number);
}

/** Returns an amount of money that is given in millionths of a US dollar. */
export function dollars(micros) {
  return `$${(micros / 1_000_000).toFixed(6).replace(/(\.\d\d\d*?)0+$/, "$1")}`;
}

/** Returns a number of things with its noun in the right form. */
export function many(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

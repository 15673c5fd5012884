/** Reads response headers as `curl -D FILE` and `curl -i` write them. */

const HEAD_END = /\r?\n\r?\n/g;

/**
 * Reads the last head of a file: those before it are interim answers, and what follows is the body.
 *
 * @param {Uint8Array} octets beginning with `HTTP/`.
 * @returns {{status: number, headers: Array<[string, string]>, end: number, problem: string}}
 *   `end` is where the body begins; `problem` is empty if the head could be read.
 */
export function readCurlHead(octets) {
  // One character for each octet, so that positions in the text are positions in the octets.
  const text = new TextDecoder("latin1").decode(octets);
  let block = "";
  let end = 0;
  while (text.startsWith("HTTP/", end)) {
    HEAD_END.lastIndex = end;
    const found = HEAD_END.exec(text);
    block = text.slice(end, found === null ? text.length : found.index);
    end = found === null ? text.length : HEAD_END.lastIndex;
  }
  const [first, ...lines] = block.replaceAll("\r\n", "\n").trimEnd().split("\n");
  const status = /^HTTP\/[0-9.]+ ([0-9]{3})(?: |$)/.exec(first);
  if (status === null) {
    return {
      status: 0,
      headers: [],
      end,
      problem: "begins with HTTP/ but has no status line. Write it with curl -D FILE.",
    };
  }
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return colon < 0
      ? [line, ""]
      : [line.slice(0, colon), withoutBlanks(line.slice(colon + 1))];
  });
  return { status: Number(status[1]), headers, end, problem: "" };
}

/** Takes blanks off both ends; a pattern for the last ones would take quadratic time. */
function withoutBlanks(text) {
  let end = text.length;
  while (end > 0 && " \t".includes(text[end - 1])) {
    end -= 1;
  }
  return text.slice(0, end).replace(/^[ \t]+/, "");
}

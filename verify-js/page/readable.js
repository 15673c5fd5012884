/** The words of a request and its answer, taken out of the protocols that are known here. */

const DONE = "[DONE]";

/**
 * Returns what was asked, if it can be read out of a request's body.
 *
 * @param {Uint8Array} body
 * @returns {string} empty if there is nothing to show.
 */
export function askedWords(body) {
  const text = decode(body);
  const value = parse(text);
  if (Array.isArray(value?.messages)) {
    const last =
      value.messages.findLast((message) => message?.role === "user") ?? value.messages.at(-1);
    return contentText(last?.content);
  }
  return [value?.input, value?.query].find((one) => typeof one === "string") ?? text;
}

/**
 * Returns what was answered, in pieces that are proven or not.
 *
 * @param {Uint8Array} body
 * @param {boolean} isStream
 * @param {number} proven how many events are proven; of a whole body, whether it is.
 * @returns {Array<{text: string, proven: boolean}>} texts beside each other.
 */
export function answeredWords(body, isStream, proven) {
  if (!isStream) {
    const text = decode(body);
    const choice = parse(text)?.choices?.[0];
    const words =
      contentText(choice?.message?.content ?? choice?.text) || calledTools(choice?.message);
    return [{ text: words || text, proven: proven > 0 }];
  }
  const pieces = [];
  eventsOf(decode(body)).forEach((data, index) => {
    const isProven = index < proven;
    const words = deltaText(data);
    if (pieces.at(-1)?.proven === isProven) {
      pieces.at(-1).text += words;
    } else if (words !== "") {
      pieces.push({ text: words, proven: isProven });
    }
  });
  return pieces;
}

/** Returns the data of each event; blocks of comments alone are no events, as in the chain. */
function eventsOf(text) {
  const blocks = text.split("\n\n");
  if (blocks.at(-1) === "") {
    blocks.pop();
  }
  return blocks
    .map((block) => block.split("\n"))
    .filter((lines) => !lines.every((line) => line.startsWith(":")))
    .map((lines) =>
      lines
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).replace(/^ /, ""))
        .join("\n"),
    );
}

function deltaText(data) {
  if (data === DONE || data === "") {
    return "";
  }
  const value = parse(data);
  if (value === undefined) {
    return data;
  }
  const choice = value?.choices?.[0];
  return contentText(choice?.delta?.content ?? choice?.text);
}

function contentText(content) {
  if (typeof content === "string") {
    return content;
  }
  if (!Array.isArray(content)) {
    return "";
  }
  return content
    .map((part) =>
      typeof part?.text === "string" ? part.text : `[${textOr(part?.type, "part")}]`,
    )
    .join("\n");
}

function calledTools(message) {
  if (!Array.isArray(message?.tool_calls)) {
    return "";
  }
  return message.tool_calls
    .map((call) => {
      const called = call?.function;
      return `asks for the tool ${textOr(called?.name, "?")}(${textOr(called?.arguments, "")})`;
    })
    .join("\n");
}

/** Of a body that anybody may have written, only what is text is taken for text. */
function textOr(value, instead) {
  return typeof value === "string" ? value : instead;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) {
      return undefined;
    }
    throw error;
  }
}

/** Keeps a byte order mark: without it a first event could become a comment, and others move up. */
function decode(octets) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(octets);
}

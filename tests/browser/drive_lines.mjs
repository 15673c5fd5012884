/** Reads one deed for each line and writes what came of it, one line each, in the same order. */

import { createInterface } from "node:readline";

import { drive } from "./drive.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await drive(JSON.parse(line)))}\n`);
}

import type { Readable } from "node:stream";
import { LineSplitter } from "../../frame/lines.js";
import { visible } from "../../visible.js";

const LINE_LIMIT = 4096;
const LINES_A_SECOND = 100;

/**
 * A server's stderr on ours, each line under the server's name, with nothing in it that could act on a terminal, and
 * no more than 100 lines a second (threat R7).
 */
export function relayStderr(key: string, from: Readable): void {
  let second = 0;
  let lines = 0;
  const write = (line: string): void => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) {
      if (lines > LINES_A_SECOND)
        process.stderr.write(`[${key}] … ${lines - LINES_A_SECOND} lines left out\n`);
      second = now;
      lines = 0;
    }
    if (++lines <= LINES_A_SECOND) process.stderr.write(`[${key}] ${visible(line)}\n`);
  };
  const splitter = new LineSplitter(LINE_LIMIT, write, (problem) =>
    write(`(a line was ${problem.replace("_", " ")})`),
  );
  from.on("data", (chunk: Buffer) => splitter.push(chunk));
  from.once("end", () => splitter.end());
  from.on("error", () => splitter.end());
}

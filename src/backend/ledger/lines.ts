import { createReadStream } from "node:fs";

/** Characters of one line: a record takes some thousand. */
const LONGEST = 16 * 1024 * 1024;

/**
 * The lines of a text file, some at a time; a last one without its line feed too. Only a line feed ends a line: what
 * `node:readline` takes for one besides (U+2028, U+2029) may stand in a record as it is (threat L11).
 *
 * @throws where it cannot be read, or a line is longer than 16 Mi characters
 */
export async function* linesOf(path: string): AsyncGenerator<readonly string[]> {
  let rest = "";
  for await (const chunk of createReadStream(path, { encoding: "utf8", highWaterMark: 256 * 1024 })) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LONGEST) throw new Error("it holds a line of more than 16 Mi characters");
    yield lines;
  }
  if (rest !== "") yield [rest];
}

/** Characters of a line that are shown in any case: a longer one is folded, and its beginning and end are shown. */
const LONG = 4_000;
/** So many spaces in a row carry what comes behind them out of sight. */
const SPACES = /[^\S\n]{120,}/u;
/** Pads of one line that are told apart. */
const PADS = 8;
/** More lines than this are folded likewise. */
const MANY = 300;
const FIRST = 200;
const LAST = 60;

/** A piece of a text that is shown, or how many of its bytes are not. */
export type Piece = { readonly line: string } | { readonly hidden: number; readonly blank?: true };

/**
 * Lines as they are, with what is too much replaced by its size. Nothing is left out without it (threat A19).
 *
 * @param long characters of a line
 */
export function fold(lines: readonly string[], long = LONG): Piece[] {
  const foldOne = (line: string): Piece[] => foldSpaces(line, long);
  if (lines.length <= MANY) return lines.flatMap(foldOne);
  const middle = lines.slice(FIRST, -LAST).join("\n");
  return [
    ...lines.slice(0, FIRST).flatMap(foldOne),
    { hidden: Buffer.byteLength(middle) },
    ...lines.slice(-LAST).flatMap(foldOne),
  ];
}

/** Of a pad its size is shown, and what stands around it: `rm -rf /` before it or behind. */
function foldSpaces(line: string, long: number): Piece[] {
  const pieces: Piece[] = [];
  let rest = line;
  for (let pads = 0; pads < PADS; pads++) {
    const found = SPACES.exec(rest);
    if (found === null) break;
    const [pad] = found;
    pieces.push(...foldLine(rest.slice(0, found.index), long));
    pieces.push({ hidden: Buffer.byteLength(pad), blank: true });
    rest = rest.slice(found.index + pad.length);
  }
  return [...pieces, ...foldLine(rest, long)];
}

function foldLine(line: string, long: number): Piece[] {
  if (line.length <= long) return [{ line }];
  const from = whole(line, Math.round(long / 2));
  const to = whole(line, line.length - Math.round(long / 4));
  return [
    { line: line.slice(0, from) },
    { hidden: Buffer.byteLength(line.slice(from, to)) },
    { line: line.slice(to) },
  ];
}

/** The place, or the one before it: half of a pair is no character. */
function whole(line: string, at: number): number {
  const code = line.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff ? at - 1 : at;
}

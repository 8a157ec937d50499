// @ts-check
/** What the load sends: the handshake, and one `tools/call` of each payload. */

/** @typedef {"200 B" | "100 KB result" | "100 KB arguments"} Payload */

export const initialize =
  '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1.0.0"}}}';
export const initialized = '{"jsonrpc":"2.0","method":"notifications/initialized"}';
export const list = '{"jsonrpc":"2.0","id":0,"method":"tools/list"}';

/** About a thousand objects of a hundred bytes: arguments a policy and a digest have to walk through. */
const rows = Array.from({ length: 1000 }, (_, index) => ({
  index,
  name: `row number ${index}`,
  price: index * 1.25,
  tags: ["a", "b", "c"],
  on: index % 2 === 0,
  note: "x".repeat(9),
}));

/** The bytes behind the id of each payload's frame. @type {ReadonlyMap<Payload, Buffer>} */
const tails = new Map(
  /** @type {[Payload, Buffer][]} */ ([
    ["200 B", tail("small", { text: "x".repeat(100) })],
    ["100 KB result", tail("large", { text: "x".repeat(100) })],
    ["100 KB arguments", tail("take", { rows })],
  ]),
);

/** @param {string} name @param {object} args */
function tail(name, args) {
  return Buffer.from(
    `,"method":"tools/call","params":{"name":"${name}","arguments":${JSON.stringify(args)}}}`,
  );
}

/**
 * A frame in two parts, so that 100 KB are not copied for each call.
 * @param {Payload} payload
 * @param {number} id
 * @returns {[head: string, tail: Buffer]}
 */
export function frame(payload, id) {
  const rest = tails.get(payload);
  if (!rest) throw new Error(`no such payload: ${payload}`);
  return [`{"jsonrpc":"2.0","id":${id}`, rest];
}

/**
 * @param {Payload} payload
 * @param {string} answer the whole frame
 */
export function check(payload, answer) {
  const { result } = JSON.parse(answer);
  const bytes = result?.content?.[0]?.text?.length ?? 0;
  const wanted = payload === "100 KB result" ? 90_000 : 100;
  if (result?.isError || bytes < wanted) throw new Error(`not the answer to a call: ${answer.slice(0, 600)}`);
}

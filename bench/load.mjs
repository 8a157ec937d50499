// @ts-check
/**
 * The load generator, a process of its own. Told over IPC: `open` connects to a path, `run` keeps so many callers busy
 * for so long, `start` times a spawn up to the first tools/list answer, `close` lets go.
 *
 * @typedef {{ kind: "http", url: string, headers: Record<string, string> } | { kind: "stdio", command: string[], env: Record<string, string>, cwd: string }} Target
 * @typedef {{ payload: import("./calls.mjs").Payload, callers: number, milliseconds: number }} Cell
 * @typedef {{ calls: number, made: number, seconds: number, p50: number, p99: number }} Measured times in microseconds; `made` counts the checks too
 * @typedef {{ id: number, op: "open", path: string, target: Target, sessions: number } | { id: number, op: "run", path: string, cell: Cell } | { id: number, op: "start", target: Target } | { id: number, op: "close" }} Order
 */
import { check } from "./calls.mjs";
import { HttpCaller, textOf } from "./http-caller.mjs";
import { StdioCaller } from "./stdio-caller.mjs";

/** @type {Map<string, { http: HttpCaller[] } | { stdio: StdioCaller }>} */
const paths = new Map();

process.on("message", (/** @type {Order} */ order) => {
  obey(order).then(
    (result) => process.send?.({ id: order.id, result }),
    (error) => process.send?.({ id: order.id, error: String(error?.message ?? error) }),
  );
});

/** @param {Order} order @returns {Promise<unknown>} */
async function obey(order) {
  if (order.op === "open") return open(order.path, order.target, order.sessions);
  if (order.op === "run") return run(order.path, order.cell);
  if (order.op === "start") return start(order.target);
  for (const path of paths.values()) {
    if ("stdio" in path) await path.stdio.close();
    else for (const caller of path.http) caller.close();
  }
  return undefined;
}

/** @param {string} name @param {Target} target @param {number} sessions @returns {Promise<number>} pid of what was started */
async function open(name, target, sessions) {
  if (target.kind === "stdio") {
    const stdio = new StdioCaller(target.command, target.env, target.cwd);
    paths.set(name, { stdio });
    await stdio.open();
    await stdio.list();
    return stdio.pid;
  }
  const http = Array.from({ length: sessions }, () => new HttpCaller(target.url, target.headers));
  paths.set(name, { http });
  for (const caller of http) await caller.open();
  return 0;
}

/** @param {string} name @param {Cell} cell @returns {Promise<Measured>} */
async function run(name, { payload, callers, milliseconds }) {
  const path = paths.get(name);
  if (!path) throw new Error(`not open: ${name}`);
  /** One call, answering with its length in bytes. @type {(caller: number) => Promise<number>} */
  let call;
  if ("stdio" in path) {
    check(payload, (await path.stdio.call(payload)).toString());
    call = async () => (await path.stdio.call(payload)).length;
  } else {
    const [first] = path.http;
    if (first) check(payload, textOf(await first.call(payload)));
    call = async (index) => (await path.http[index]?.call(payload))?.received ?? 0;
  }
  // Each answer is as long as the one that was read, but for its id and the framing of chunks.
  const expected = await call(0);
  /** @type {number[]} */
  const times = [];
  const begin = performance.now();
  const until = begin + milliseconds;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let now = performance.now(); now < until; ) {
        const length = await call(caller);
        const after = performance.now();
        if (Math.abs(length - expected) > 128)
          throw new Error(`an answer of ${length} bytes, expected ${expected}`);
        times.push(after - now);
        now = after;
      }
    }),
  );
  const seconds = (performance.now() - begin) / 1000;
  times.sort((a, b) => a - b);
  const at = (/** @type {number} */ share) =>
    Math.round((times[Math.floor(times.length * share)] ?? 0) * 1000);
  return { calls: times.length, made: times.length + 2, seconds, p50: at(0.5), p99: at(0.99) };
}

/** @param {Target} target @returns {Promise<number>} milliseconds */
async function start(target) {
  if (target.kind !== "stdio") throw new Error("only what speaks stdio is started");
  const begin = performance.now();
  const caller = new StdioCaller(target.command, target.env, target.cwd);
  await caller.open();
  await caller.list();
  const took = performance.now() - begin;
  await caller.close();
  return took;
}

// @ts-check
/**
 * Asks for decisions over loopback, from a process of its own: told over IPC where, with how many callers and for how
 * long, it answers with the rate.
 *
 * @typedef {{ id: number, url: string, token: string | null, gateway: string, callers: number, milliseconds: number }} Order
 */
import { Pool } from "undici";

/** @type {Map<string, Pool>} */
const pools = new Map();
let calls = 0;
const prefix = process.pid.toString(36);

process.on("message", (/** @type {Order} */ order) => {
  run(order).then(
    (result) => process.send?.({ id: order.id, result }),
    (error) => process.send?.({ id: order.id, error: String(error?.stack ?? error) }),
  );
});
process.on("disconnect", () => process.exit(0));

/** @param {Order} order */
async function run({ url, token, gateway, callers, milliseconds }) {
  let pool = pools.get(url);
  if (!pool) {
    pool = new Pool(url, { connections: 64, pipelining: 1 });
    pools.set(url, pool);
  }
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  /** @type {number[]} */
  const times = [];
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let now = performance.now(); now - begin < milliseconds; ) {
        const call = `${gateway}-${prefix}${(++calls).toString(36).padStart(7, "0")}`;
        const body = JSON.stringify({
          call,
          gateway,
          agent: "claude-desktop",
          server: "files",
          tool: "read_text_file",
          action: "files__read_text_file",
          definition: "d".repeat(64),
          arguments: '{"path":"/srv/docs/report.md"}',
        });
        const answer = await pool.request({ method: "POST", path: "/v1/decisions", headers, body });
        const verdict = /** @type {{ call?: unknown, decision?: unknown }} */ (await answer.body.json());
        if (verdict.call !== call || verdict.decision !== "ALLOW") throw new Error(JSON.stringify(verdict));
        const after = performance.now();
        times.push(after - now);
        now = after;
      }
    }),
  );
  const seconds = (performance.now() - begin) / 1000;
  times.sort((a, b) => a - b);
  const at = (/** @type {number} */ share) =>
    Math.round((times[Math.floor(times.length * share)] ?? 0) * 1000);
  return { rate: times.length / seconds, p50: at(0.5), p99: at(0.99) };
}

import { buildApp } from "./src/backend/http/app.js";
import { hostsOf } from "./src/backend/http/hosts.js";
import { defaultSettings } from "./src/backend/http/settings.js";
import { createLogger } from "./src/log.js";
import { permissions } from "./src/backend/http/permissions.js";
import { Pool } from "undici";
import fastify from "fastify";
const stub = (app: any) => { for (const row of Object.keys(permissions.v1)) { const [method, url] = row.split(" "); app.route({ method, url, handler: async () => ({ ok: true }) }); } };
const service: any = { subscribe: () => () => {}, authenticate: async () => ({ name: "g", role: "agent", agent: null, groups: [], token: 1 }), note: async () => {} };
const app = await buildApp({ service, log: createLogger("silent"), settings: defaultSettings, hosts: hostsOf("127.0.0.1", null, []), tls: null, pages: null, routes: { v1: stub } });
await app.listen({ port: 0, host: "127.0.0.1" });
const bare = fastify(); bare.post("/x", async () => ({ ok: true })); await bare.listen({ port: 0 });
const body = JSON.stringify({ agent: "a", arguments: "x".repeat(200) });
async function run(url: string, path: string, headers: any) {
  const pool = new Pool(url, { connections: 16 });
  const n = 10000; let left = n;
  const t = performance.now();
  await Promise.all(Array.from({ length: 16 }, async () => { while (left-- > 0) { const r = await pool.request({ path, method: "POST", body, headers }); await r.body.text(); if (r.statusCode !== 200) throw new Error(String(r.statusCode)); } }));
  const rate = n / (performance.now() - t) * 1000; await pool.close(); return rate;
}
const h = { "content-type": "application/json", authorization: `Bearer aegis_x` };
for (let i = 0; i < 5; i++) {
  const a = await run(`http://127.0.0.1:${(bare.server.address() as any).port}`, "/x", h);
  const b = await run(`http://127.0.0.1:${(app.server.address() as any).port}`, "/v1/decisions", h);
  console.log("bare", a | 0, "ours", b | 0, (b / a).toFixed(2));
}
await bare.close(); await app.close();

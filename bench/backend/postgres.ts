/** Durable appends to PostgreSQL by so many writers, against as many connections that insert the same rows by themselves. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { decompose } from "../../src/backend/compose.js";
import { recordBody } from "../../src/backend/ledger/record.js";
import { openPostgres } from "../../src/backend/store/postgres.js";
import { createLogger } from "../../src/log.js";
import { median } from "../report.js";
import { type AppendResult, appendFor, decisionEntry, nextCall } from "./appends.js";
import { composed } from "./composed.js";

/** @param url of an empty database */
export async function measurePostgres(url: string, rounds: number, slice: number): Promise<AppendResult[]> {
  const home = mkdtempSync(join(tmpdir(), "aegis-bench-"));
  const parts = await composed(await openPostgres(url, { log: createLogger("silent") }), home);
  const results: AppendResult[] = [];
  for (const callers of [1, 8, 64]) {
    const bare = await bareWriters(url, callers);
    const taken = { bare: [] as number[], aegis: [] as number[] };
    await appendFor(parts, callers, slice / 2);
    for (let round = 0; round < rounds; round++) {
      taken.bare.push(await bare.writeFor(slice));
      taken.aegis.push(await appendFor(parts, callers, slice));
    }
    await bare.close();
    results.push({ callers, bare: median(taken.bare), aegis: median(taken.aegis) });
  }
  await decompose(parts);
  rmSync(home, { recursive: true, force: true });
  return results;
}

async function bareWriters(
  url: string,
  count: number,
): Promise<{ writeFor(slice: number): Promise<number>; close(): Promise<void> }> {
  const clients = Array.from({ length: count }, () => new Client({ connectionString: url }));
  for (const client of clients) await client.connect();
  await clients[0]?.query(`
    CREATE TABLE IF NOT EXISTS bare (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      agent TEXT COLLATE "C", key TEXT COLLATE "C", body TEXT COLLATE "C" NOT NULL, hash TEXT COLLATE "C" NOT NULL
    );
    CREATE INDEX IF NOT EXISTS bare_agent ON bare (agent, id);
    CREATE UNIQUE INDEX IF NOT EXISTS bare_key ON bare (key) WHERE key IS NOT NULL;
  `);
  const body = recordBody(decisionEntry(), 1_000_000, new Date().toISOString(), "b".repeat(64));
  const text = "INSERT INTO bare (agent, key, body, hash) VALUES ($1, $2, $3, $4)";
  return {
    async writeFor(slice) {
      const begin = performance.now();
      let written = 0;
      await Promise.all(
        clients.map(async (client) => {
          while (performance.now() - begin < slice) {
            const values = ["claude-desktop", nextCall(), body, "a".repeat(64)];
            await client.query({ name: "bare", text, values });
            written++;
          }
        }),
      );
      return (written / (performance.now() - begin)) * 1000;
    },
    async close() {
      for (const client of clients) await client.end();
    },
  };
}

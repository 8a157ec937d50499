/** How long one decision takes, from an empty ledger to one of millions. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decompose, type Parts } from "../../src/backend/compose.js";
import { openSqlite } from "../../src/backend/store/sqlite.js";
import { decisionEntry, nextCall } from "./appends.js";
import { agent, composed } from "./composed.js";

export interface GrowthResult {
  readonly records: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** Decisions in one measurement. */
const MEASURED = 3_000;
/** Records of one transaction while the ledger is filled. */
const FILL = 500;

export async function measureGrowth(sizes: readonly number[]): Promise<GrowthResult[]> {
  const folder = mkdtempSync(join(tmpdir(), "aegis-bench-"));
  try {
    const parts = await composed(await openSqlite(join(folder, "aegis.db")), folder);
    const results: GrowthResult[] = [];
    await decideTimes(parts, MEASURED);
    for (const size of sizes) {
      for (let have = await parts.records.newest(); have < size; have += FILL) {
        await parts.commit.write((batch) => {
          for (let row = 0; row < FILL; row++) batch.records.append(decisionEntry());
        });
      }
      const times = await decideTimes(parts, MEASURED);
      const at = (share: number): number => (times[Math.floor(times.length * share)] ?? 0) * 1000;
      results.push({ records: size, p50: at(0.5), p99: at(0.99) });
    }
    await decompose(parts);
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Milliseconds, sorted. */
async function decideTimes({ commit, decisions }: Parts, count: number): Promise<number[]> {
  const times: number[] = [];
  const text = '{"path":"/srv/docs/report.md"}';
  for (let made = 0; made < count; made++) {
    const begin = performance.now();
    const prepared = decisions.prepare({
      call: nextCall(),
      gateway: "0123456789",
      agent,
      principal: `agent:${agent}`,
      server: "files",
      tool: "read_text_file",
      action: "files__read_text_file",
      definition: "d".repeat(64),
      arguments: text,
      parsed: JSON.parse(text),
    });
    const verdict = await commit.write((batch) => decisions.decide(batch, prepared));
    if (verdict.decision !== "ALLOW") throw new Error(verdict.reason);
    times.push(performance.now() - begin);
  }
  return times.toSorted((a, b) => a - b);
}

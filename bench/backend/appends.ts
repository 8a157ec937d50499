/** Durable appends to the ledger, in process, against a bare SQLite transaction that writes the same text. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decompose, type Parts } from "../../src/backend/compose.js";
import { type Entry, recordBody } from "../../src/backend/ledger/record.js";
import { loadDriver } from "../../src/backend/store/driver.js";
import { openSqlite } from "../../src/backend/store/sqlite.js";
import { median } from "../report.js";
import { composed } from "./composed.js";

let calls = 0;

/** What an ordinary decision leaves: about 700 bytes of canonical JSON. */
export function decisionEntry(): Entry {
  return {
    kind: "decision",
    agent: "claude-desktop",
    principal: "agent:claude-desktop",
    server: "files",
    tool: "read_text_file",
    action: "files__read_text_file",
    call: nextCall(),
    decision: "ALLOW",
    rule: "claude.yaml:3 allow files__read_*",
    reason: "Allowed by the rule claude.yaml:3 allow files__read_*.",
    revision: "7".repeat(64),
    gateway: "0123456789",
    digest: "a".repeat(64),
    arguments: '{"path":"/srv/docs/report.md"}',
  };
}

/** The id of the next call, as a gateway counts them. */
export function nextCall(): string {
  return `0123456789-${(++calls).toString(36).padStart(8, "0")}`;
}

export interface AppendResult {
  readonly callers: number;
  /** Records a second. */
  readonly bare: number;
  readonly aegis: number;
}

export async function measureAppends(rounds: number, slice: number): Promise<AppendResult[]> {
  const folder = mkdtempSync(join(tmpdir(), "aegis-bench-"));
  try {
    const parts = await composed(await openSqlite(join(folder, "aegis.db")), folder);
    const bare = await bareStore(join(folder, "bare.db"));
    const results: AppendResult[] = [];
    await appendFor(parts, 16, slice);
    for (const callers of [1, 16, 256]) {
      const taken = { bare: [] as number[], aegis: [] as number[] };
      for (let round = 0; round < rounds; round++) {
        taken.bare.push(bare.writeFor(callers, slice));
        taken.aegis.push(await appendFor(parts, callers, slice));
      }
      results.push({ callers, bare: median(taken.bare), aegis: median(taken.aegis) });
    }
    bare.close();
    await decompose(parts);
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** So many callers append and wait, one record after the other each. Records a second. */
export async function appendFor({ commit }: Parts, callers: number, slice: number): Promise<number> {
  const begin = performance.now();
  let written = 0;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() - begin < slice) {
        const entry = decisionEntry();
        await commit.write((batch) => batch.records.append(entry));
        written++;
      }
    }),
  );
  return (written / (performance.now() - begin)) * 1000;
}

/** The same rows in the same table, ready made, one transaction for as many as there would be callers. */
async function bareStore(
  path: string,
): Promise<{ writeFor(rows: number, slice: number): number; close(): void }> {
  const database = (await loadDriver()).open(path);
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE ledger (id INTEGER PRIMARY KEY, agent TEXT, key TEXT, body TEXT NOT NULL, hash TEXT NOT NULL);
    CREATE INDEX ledger_agent ON ledger (agent);
    CREATE UNIQUE INDEX ledger_key ON ledger (key) WHERE key IS NOT NULL;
  `);
  const [begin, insert, commit] = [
    "BEGIN IMMEDIATE",
    "INSERT INTO ledger (agent, key, body, hash) VALUES (?, ?, ?, ?)",
    "COMMIT",
  ].map((sql) => database.prepare(sql));
  if (begin === undefined || insert === undefined || commit === undefined) throw new Error("unreachable");
  const body = recordBody(decisionEntry(), 1_000_000, new Date().toISOString(), "b".repeat(64));
  return {
    writeFor(rows, slice) {
      const start = performance.now();
      let written = 0;
      while (performance.now() - start < slice) {
        begin.run();
        for (let row = 0; row < rows; row++) insert.run("claude-desktop", nextCall(), body, "a".repeat(64));
        commit.run();
        written += rows;
      }
      return (written / (performance.now() - start)) * 1000;
    },
    close: () => database.close(),
  };
}

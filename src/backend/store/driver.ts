import { AegisError } from "../../errors.js";
import type { Value } from "./store.js";

/** What we use of `node:sqlite`: it answers at once. */
export interface SqliteStatement {
  run(...values: Value[]): { changes: number | bigint; lastInsertRowid: number | bigint };
  get(...values: Value[]): unknown;
  all(...values: Value[]): unknown[];
}

export interface SqliteDatabase {
  exec(sql: string): void;
  prepare(sql: string): SqliteStatement;
  close(): void;
}

export interface Driver {
  /** For `doctor` and logs. */
  readonly name: string;
  open(path: string): SqliteDatabase;
}

interface SqliteModule {
  readonly DatabaseSync: new (path: string) => SqliteDatabase;
}

/** The first release without the bug that loses committed rows when a WAL is reset under a second writer. */
const OLDEST = [3, 51, 3] as const;

/**
 * The runtime's own SQLite where there is one and it is new enough, else the one of `@photostructure/sqlite`, which has
 * the same API and is prebuilt.
 *
 * @throws AegisError `backend_unsupported` where neither loads
 */
export async function loadDriver(): Promise<Driver> {
  if (newEnough(process.versions.sqlite)) {
    const builtin = builtinSqlite();
    if (builtin !== undefined) return driver("node:sqlite", builtin);
  }
  try {
    return driver("@photostructure/sqlite", await import("@photostructure/sqlite"));
  } catch (cause) {
    throw new AegisError(
      "backend_unsupported",
      `No usable SQLite: Node ${process.versions.node} has none of 3.51.3 or newer, and @photostructure/sqlite did not load.`,
      { cause, hint: "Use Node 24 or newer, or a platform that @photostructure/sqlite is prebuilt for." },
    );
  }
}

/** Whether a version such as `3.53.0` is {@link OLDEST} or newer. */
export function newEnough(version: string | undefined): boolean {
  const parts = (version ?? "").split(".").map(Number);
  for (const [index, least] of OLDEST.entries()) {
    const part = parts[index] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
}

function driver(name: string, { DatabaseSync }: SqliteModule): Driver {
  return { name, open: (path) => new DatabaseSync(path) };
}

/**
 * `node:sqlite` announces on stderr that it is experimental, in every command a person types. Only that one warning,
 * raised while the module loads, is held back.
 */
function builtinSqlite(): SqliteModule | undefined {
  const original = Reflect.get(process, "emitWarning") as (...given: unknown[]) => void;
  process.emitWarning = (...given: unknown[]) => {
    if (!String(given[0]).includes("SQLite is an experimental feature"))
      Reflect.apply(original, process, given);
  };
  try {
    return process.getBuiltinModule("node:sqlite") as SqliteModule | undefined;
  } finally {
    process.emitWarning = original;
  }
}

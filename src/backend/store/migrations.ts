import { AegisError } from "../../errors.js";
import type { Connection } from "./driver.js";

/** Entry n brings a store of version n to version n + 1. Never edited once released. */
const migrations: readonly string[] = [
  `
  CREATE TABLE ledger (
    id    INTEGER PRIMARY KEY,
    agent TEXT,
    key   TEXT,            -- of the call's decision and of its outcome: one each
    body  TEXT NOT NULL,   -- canonical JSON; holds id and the hash of the record before
    hash  TEXT NOT NULL    -- SHA-256 of body, hex
  );
  CREATE INDEX ledger_agent ON ledger (agent);
  CREATE UNIQUE INDEX ledger_key ON ledger (key) WHERE key IS NOT NULL;
  CREATE TRIGGER ledger_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
  CREATE TRIGGER ledger_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

  CREATE TABLE agents (
    name          TEXT PRIMARY KEY,
    status        TEXT NOT NULL CHECK (status IN ('ACTIVE', 'KILLED')),
    owner         TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    killed_by     TEXT,
    killed_at     INTEGER,
    killed_reason TEXT,
    kill_event    INTEGER,
    allowed       INTEGER NOT NULL DEFAULT 0,
    blocked       INTEGER NOT NULL DEFAULT 0,
    held          INTEGER NOT NULL DEFAULT 0
  );

  CREATE TABLE approvals (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    agent          TEXT NOT NULL,
    principal      TEXT NOT NULL,
    server         TEXT NOT NULL,
    tool           TEXT NOT NULL,
    action         TEXT NOT NULL,
    definition     TEXT NOT NULL,
    arguments      TEXT NOT NULL,   -- the exact text while open, the redacted form afterwards
    redacted       TEXT NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'void', 'consumed')),
    rule           TEXT,
    reason         TEXT NOT NULL,
    digest         TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    decided_at     INTEGER,
    decided_by     TEXT,
    decided_token  INTEGER,
    decided_reason TEXT,
    waiter_gateway TEXT,            -- the live gateway and the call that wait on it
    waiter_call    TEXT,
    consumed_call  TEXT
  );
  CREATE INDEX approvals_free ON approvals (digest)
    WHERE status IN ('pending', 'approved') AND waiter_call IS NULL;
  CREATE INDEX approvals_open ON approvals (expires_at) WHERE status IN ('pending', 'approved');
  CREATE INDEX approvals_agent ON approvals (agent) WHERE status IN ('pending', 'approved');
  CREATE INDEX approvals_status ON approvals (status);
  CREATE INDEX approvals_waiter ON approvals (waiter_gateway) WHERE waiter_gateway IS NOT NULL;
  CREATE INDEX approvals_consumed ON approvals (consumed_call) WHERE consumed_call IS NOT NULL;

  CREATE TABLE gateways (
    id         TEXT PRIMARY KEY,
    pid        INTEGER NOT NULL,
    host       TEXT NOT NULL,
    label      TEXT NOT NULL,
    address    TEXT,
    lease      INTEGER NOT NULL,    -- ms
    started_at INTEGER NOT NULL,
    heartbeat  INTEGER NOT NULL,
    seen       INTEGER NOT NULL,    -- the newest event all its listeners have finished with
    mark       INTEGER NOT NULL     -- no record up to this one has a call of it that is still open
  );

  CREATE TABLE events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    agent  TEXT,
    ref    INTEGER,
    status TEXT
  );

  CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       TEXT NOT NULL UNIQUE,   -- SHA-256 of the token, hex; the token itself is nowhere
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('agent', 'approver', 'admin', 'auditor')),
    agent      TEXT,
    groups     TEXT NOT NULL,          -- JSON
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
  );

  CREATE TABLE keys (name TEXT PRIMARY KEY, value BLOB NOT NULL);
  `,
];

/** The version this program writes. */
export const storeVersion = migrations.length;

/**
 * Brings the store up to {@link storeVersion}, in one transaction, whoever of several processes comes first.
 *
 * @throws AegisError `store_newer` where a newer program wrote it: an older one would not know what it must not lose
 */
export function migrate(connection: Connection, path: string): void {
  if (versionOf(connection, path) === storeVersion) return;
  connection.exec("BEGIN IMMEDIATE");
  try {
    for (const migration of migrations.slice(versionOf(connection, path))) connection.exec(migration);
    connection.exec(`PRAGMA user_version = ${storeVersion}`);
    connection.exec("COMMIT");
  } catch (thrown) {
    connection.exec("ROLLBACK");
    throw thrown;
  }
}

function versionOf(connection: Connection, path: string): number {
  const { user_version: version } = connection.prepare("PRAGMA user_version").get() as {
    user_version: number;
  };
  if (version <= storeVersion) return version;
  throw new AegisError(
    "store_newer",
    `${path} is of version ${version}; this program knows versions up to ${storeVersion}.`,
    { hint: "Update aegis, or set AEGIS_HOME to another folder." },
  );
}

import { AegisError } from "../../errors.js";
import type { SqliteDatabase } from "./driver.js";

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
  `
  -- Ids of rows: ours, so that every database counts alike, and none is given twice.
  CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
  INSERT INTO counters (name, value)
    SELECT names.column1, coalesce((SELECT seq FROM sqlite_sequence WHERE name = names.column1), 0)
    FROM (VALUES ('approvals'), ('events'), ('tokens'), ('policy_revisions')) AS names;

  CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

  -- What is neither a decision nor an outcome: few records among millions.
  CREATE INDEX ledger_rare ON ledger (id) WHERE key IS NULL;

  CREATE TABLE policy_revisions (
    number       INTEGER PRIMARY KEY,
    revision     TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    published_by TEXT NOT NULL,
    documents    TEXT NOT NULL    -- JSON
  );

  -- What was declared over the API: of one action, what an admin said and what the agent's own code says.
  CREATE TABLE declarations (
    agent       TEXT NOT NULL,
    action      TEXT NOT NULL,      -- as it was declared
    admin       INTEGER NOT NULL,   -- 1: an admin declared it, 0: the agent's own code
    rule        TEXT NOT NULL CHECK (rule IN ('ALLOW', 'BLOCK', 'REVIEW')),
    trusted     INTEGER NOT NULL,   -- 1: its ALLOW counts
    fresh       INTEGER NOT NULL,   -- 1: declared since the agent registered last
    declared_at INTEGER NOT NULL,
    declared_by TEXT NOT NULL,
    PRIMARY KEY (agent, action, admin)
  );

  -- How many reports there are of an agent.
  CREATE TABLE reports (
    agent   TEXT PRIMARY KEY,
    total   INTEGER NOT NULL,
    allowed INTEGER NOT NULL,
    blocked INTEGER NOT NULL
  );

  CREATE INDEX approvals_action ON approvals (agent, action, id);

  -- Refused calls, by minutes since the epoch; those of the last day are kept.
  CREATE TABLE blocks (minute INTEGER PRIMARY KEY, count INTEGER NOT NULL);

  -- Where the signed records are in the ledger. Nothing is believed for standing here: verification reads the records.
  CREATE TABLE signed_records (
    id    INTEGER PRIMARY KEY,
    kind  TEXT NOT NULL CHECK (kind IN ('checkpoint', 'rotation')),
    until INTEGER NOT NULL    -- the record behind which the next checkpoint comes at the latest
  );

  -- Calls whose decisions were rotated away: none is decided a second time.
  CREATE TABLE moved_calls (call TEXT PRIMARY KEY) WITHOUT ROWID;

  ALTER TABLE agents ADD COLUMN lifecycle TEXT NOT NULL DEFAULT 'REGISTERED'
    CHECK (lifecycle IN ('REGISTERED', 'ACTIVE', 'COMPLETED'));
  -- 1: something was declared about it.
  ALTER TABLE agents ADD COLUMN declares INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE gateways ADD COLUMN principal TEXT;   -- who enlisted it over the API; null for one of this machine
  ALTER TABLE tokens ADD COLUMN trust_declared INTEGER NOT NULL DEFAULT 0;

  -- Bytes of what an approval asks about, as long as it is open.
  ALTER TABLE approvals ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
  UPDATE approvals SET size = length(CAST(arguments AS BLOB)) + length(CAST(redacted AS BLOB))
    WHERE status IN ('pending', 'approved');
  -- How many of an agent are open; the row without a name is of all.
  CREATE TABLE open_approvals (agent TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL);
  INSERT INTO open_approvals (agent, count, bytes)
    SELECT agent, count(*), sum(size) FROM approvals WHERE status IN ('pending', 'approved') GROUP BY agent;
  INSERT INTO open_approvals (agent, count, bytes)
    SELECT '', coalesce(sum(count), 0), coalesce(sum(bytes), 0) FROM open_approvals;
  -- Only an open approval is waited on.
  CREATE INDEX approvals_waited ON approvals (digest, waiter_gateway) WHERE waiter_gateway IS NOT NULL;
  `,
  `
  -- What an approval asks for beside one approver (JSON; null: nothing), what it was asked under, and which pinning of
  -- the tool it was shown with.
  ALTER TABLE approvals ADD COLUMN requirement TEXT;
  ALTER TABLE approvals ADD COLUMN revision TEXT;
  ALTER TABLE approvals ADD COLUMN tool_version INTEGER;
  -- 'result': it is about the answer of a call that has run; null: about the call.
  ALTER TABLE approvals ADD COLUMN stage TEXT CHECK (stage = 'result');

  -- Who said yes.
  CREATE TABLE approval_votes (
    approval INTEGER NOT NULL,
    voter    TEXT NOT NULL,
    token    INTEGER,
    at       INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    grant_uses    INTEGER,          -- what this person would grant beyond the one call
    grant_expires INTEGER,
    PRIMARY KEY (approval, voter)
  );
  INSERT INTO approval_votes (approval, voter, token, at, reason)
    SELECT id, decided_by, decided_token, decided_at, coalesce(decided_reason, '') FROM approvals
    WHERE status IN ('approved', 'consumed') AND decided_by IS NOT NULL AND decided_at IS NOT NULL;

  -- Calls that an approver let through ahead of their coming.
  CREATE TABLE grants (
    id           INTEGER PRIMARY KEY,
    approval     INTEGER NOT NULL,
    agent        TEXT NOT NULL,
    principal    TEXT NOT NULL,
    server       TEXT NOT NULL,
    tool         TEXT NOT NULL,
    action       TEXT NOT NULL,
    definition   TEXT NOT NULL,
    tool_version INTEGER,
    arguments    TEXT NOT NULL,    -- JSON: patterns by argument
    rest         TEXT NOT NULL,    -- HMAC over all that may not differ, hex
    requirement  TEXT NOT NULL,    -- what policy asked of its approval, and offered
    uses         INTEGER NOT NULL,
    used         INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    given_by     TEXT NOT NULL,
    given_token  INTEGER,
    status       TEXT NOT NULL CHECK (status IN ('active', 'used', 'expired', 'revoked', 'void')),
    ended_at     INTEGER,
    ended_by     TEXT
  );
  CREATE INDEX grants_active ON grants (agent, action) WHERE status = 'active';

  -- What servers offer, by the hash of its canonical form.
  CREATE TABLE definitions (hash TEXT PRIMARY KEY, text TEXT NOT NULL);

  -- What is pinned, of every agent; the tool without a name is the server's instructions.
  CREATE TABLE tools (
    agent       TEXT NOT NULL,
    server      TEXT NOT NULL,
    tool        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('accepted', 'new', 'added', 'changed')),
    pinned      TEXT NOT NULL,     -- hash of what was accepted, or seen first
    seen        TEXT NOT NULL,     -- hash of what is offered now
    version     INTEGER NOT NULL,     -- one more with every change: there and back again are two
    flags       TEXT NOT NULL,     -- JSON
    seen_at     INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    accepted_at INTEGER,
    accepted_by TEXT,
    PRIMARY KEY (agent, server, tool)
  );
  -- Who refers to a definition.
  CREATE INDEX tools_pinned ON tools (pinned);
  CREATE INDEX tools_seen ON tools (seen);
  CREATE INDEX approvals_definition ON approvals (definition);

  -- How many calls were let through, for the limits and conditions that ask: by what they are counted for, and in slots
  -- of so many milliseconds.
  CREATE TABLE call_counts (
    agent   TEXT NOT NULL,
    pattern TEXT NOT NULL,
    width   INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (agent, pattern, width, slot)
  );
  CREATE INDEX call_counts_slot ON call_counts (width, slot);

  -- Calls that run, of agents with a limit on that.
  CREATE TABLE running_calls (
    call       TEXT PRIMARY KEY,
    agent      TEXT NOT NULL,
    action     TEXT NOT NULL,
    gateway    TEXT NOT NULL,
    started_at INTEGER NOT NULL
  );
  CREATE INDEX running_calls_agent ON running_calls (agent);

  -- People who signed in on a page.
  CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,   -- SHA-256 of what the cookie holds, hex
    principal  TEXT NOT NULL,      -- JSON
    token      INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  );

  INSERT INTO counters (name, value) VALUES ('grants', 0), ('tools', 0);
  `,
];

/** The version this program writes. */
export const storeVersion = migrations.length;

/**
 * Brings the store up to {@link storeVersion}, in one transaction, whoever of several processes comes first.
 *
 * @throws AegisError `store_newer` where a newer program wrote it: an older one would not know what it must not lose
 */
export function migrate(database: SqliteDatabase, path: string): void {
  if (versionOf(database, path) === storeVersion) return;
  database.exec("BEGIN IMMEDIATE");
  try {
    for (const migration of migrations.slice(versionOf(database, path))) database.exec(migration);
    database.exec(`PRAGMA user_version = ${storeVersion}`);
    database.exec("COMMIT");
  } catch (thrown) {
    database.exec("ROLLBACK");
    throw thrown;
  }
}

function versionOf(database: SqliteDatabase, path: string): number {
  const { user_version: version } = database.prepare("PRAGMA user_version").get() as {
    user_version: number;
  };
  if (version <= storeVersion) return version;
  throw new AegisError(
    "store_newer",
    `${path} is of version ${version}; this program knows versions up to ${storeVersion}.`,
    { hint: "Update aegis, or set AEGIS_HOME to another folder." },
  );
}

/**
 * The tables of `migrations.ts` for PostgreSQL; a test holds the two to each other. Entry n brings a schema of version n
 * to version n + 1. Never edited once released.
 *
 * Text compares by code point, as in SQLite: a range of keys is a range whatever the locale of the database. Rows that
 * every transaction changes leave room on their page, so that no index has to follow them.
 */
export const postgresMigrations: readonly string[] = [
  `
  -- One row: whoever has locked it writes.
  CREATE TABLE locks (name TEXT COLLATE "C" PRIMARY KEY) WITH (fillfactor = 50);
  INSERT INTO locks (name) VALUES ('writer');

  CREATE TABLE ledger (
    id    BIGINT PRIMARY KEY,
    agent TEXT COLLATE "C",
    key   TEXT COLLATE "C",            -- of the call's decision and of its outcome: one each
    body  TEXT COLLATE "C" NOT NULL,   -- canonical JSON; holds id and the hash of the record before
    hash  TEXT COLLATE "C" NOT NULL    -- SHA-256 of body, hex
  );
  CREATE INDEX ledger_agent ON ledger (agent, id);
  CREATE UNIQUE INDEX ledger_key ON ledger (key) WHERE key IS NOT NULL;
  -- What is neither a decision nor an outcome: few records among millions.
  CREATE INDEX ledger_rare ON ledger (id) WHERE key IS NULL;

  CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
  BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
  END
  $$;
  CREATE TRIGGER ledger_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
  -- Also where session_replication_role says otherwise.
  ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_change;

  CREATE TABLE agents (
    name          TEXT COLLATE "C" PRIMARY KEY,
    status        TEXT COLLATE "C" NOT NULL CHECK (status IN ('ACTIVE', 'KILLED')),
    owner         TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    killed_by     TEXT COLLATE "C",
    killed_at     BIGINT,
    killed_reason TEXT COLLATE "C",
    kill_event    BIGINT,
    allowed       BIGINT NOT NULL DEFAULT 0,
    blocked       BIGINT NOT NULL DEFAULT 0,
    held          BIGINT NOT NULL DEFAULT 0,
    lifecycle     TEXT COLLATE "C" NOT NULL DEFAULT 'REGISTERED'
      CHECK (lifecycle IN ('REGISTERED', 'ACTIVE', 'COMPLETED')),
    declares      BIGINT NOT NULL DEFAULT 0     -- 1: something was declared about it
  ) WITH (fillfactor = 50);

  CREATE TABLE approvals (
    id             BIGINT PRIMARY KEY,
    agent          TEXT COLLATE "C" NOT NULL,
    principal      TEXT COLLATE "C" NOT NULL,
    server         TEXT COLLATE "C" NOT NULL,
    tool           TEXT COLLATE "C" NOT NULL,
    action         TEXT COLLATE "C" NOT NULL,
    definition     TEXT COLLATE "C" NOT NULL,
    arguments      TEXT COLLATE "C" NOT NULL,   -- the exact text while open, the redacted form afterwards
    redacted       TEXT COLLATE "C" NOT NULL,
    status         TEXT COLLATE "C" NOT NULL
      CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'void', 'consumed')),
    rule           TEXT COLLATE "C",
    reason         TEXT COLLATE "C" NOT NULL,
    digest         TEXT COLLATE "C" NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    decided_at     BIGINT,
    decided_by     TEXT COLLATE "C",
    decided_token  BIGINT,
    decided_reason TEXT COLLATE "C",
    waiter_gateway TEXT COLLATE "C",            -- the live gateway and the call that wait on it
    waiter_call    TEXT COLLATE "C",
    consumed_call  TEXT COLLATE "C",
    size           BIGINT NOT NULL DEFAULT 0    -- bytes of what it asks about, as long as it is open
  );
  CREATE INDEX approvals_free ON approvals (digest)
    WHERE status IN ('pending', 'approved') AND waiter_call IS NULL;
  CREATE INDEX approvals_open ON approvals (expires_at) WHERE status IN ('pending', 'approved');
  CREATE INDEX approvals_agent ON approvals (agent) WHERE status IN ('pending', 'approved');
  CREATE INDEX approvals_action ON approvals (agent, action, id);
  CREATE INDEX approvals_status ON approvals (status, id);
  CREATE INDEX approvals_waiter ON approvals (waiter_gateway) WHERE waiter_gateway IS NOT NULL;
  CREATE INDEX approvals_consumed ON approvals (consumed_call) WHERE consumed_call IS NOT NULL;
  -- Only an open approval is waited on.
  CREATE INDEX approvals_waited ON approvals (digest, waiter_gateway) WHERE waiter_gateway IS NOT NULL;

  -- How many of an agent are open; the row without a name is of all.
  CREATE TABLE open_approvals (
    agent TEXT COLLATE "C" PRIMARY KEY,
    count BIGINT NOT NULL,
    bytes BIGINT NOT NULL
  ) WITH (fillfactor = 50);
  INSERT INTO open_approvals (agent, count, bytes) VALUES ('', 0, 0);

  CREATE TABLE gateways (
    id         TEXT COLLATE "C" PRIMARY KEY,
    pid        BIGINT NOT NULL,
    host       TEXT COLLATE "C" NOT NULL,
    label      TEXT COLLATE "C" NOT NULL,
    address    TEXT COLLATE "C",
    lease      BIGINT NOT NULL,    -- ms
    started_at BIGINT NOT NULL,
    heartbeat  BIGINT NOT NULL,
    seen       BIGINT NOT NULL,    -- the newest event all its listeners have finished with
    mark       BIGINT NOT NULL,    -- no record up to this one has a call of it that is still open
    principal  TEXT COLLATE "C"    -- who enlisted it over the API; null for one of this machine
  ) WITH (fillfactor = 50);

  CREATE TABLE events (
    id     BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    kind   TEXT COLLATE "C" NOT NULL,
    agent  TEXT COLLATE "C",
    ref    BIGINT,
    status TEXT COLLATE "C"
  );

  CREATE TABLE tokens (
    id             BIGINT PRIMARY KEY,
    hash           TEXT COLLATE "C" NOT NULL UNIQUE,   -- SHA-256 of the token, hex; the token itself is nowhere
    name           TEXT COLLATE "C" NOT NULL,
    role           TEXT COLLATE "C" NOT NULL CHECK (role IN ('agent', 'approver', 'admin', 'auditor')),
    agent          TEXT COLLATE "C",
    groups         TEXT COLLATE "C" NOT NULL,          -- JSON
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT,
    revoked_at     BIGINT,
    trust_declared BIGINT NOT NULL DEFAULT 0
  );

  CREATE TABLE keys (name TEXT COLLATE "C" PRIMARY KEY, value BYTEA NOT NULL);

  -- Ids of rows: ours, so that every database counts alike, and none is given twice.
  CREATE TABLE counters (name TEXT COLLATE "C" PRIMARY KEY, value BIGINT NOT NULL) WITH (fillfactor = 50);
  INSERT INTO counters (name, value)
    VALUES ('approvals', 0), ('events', 0), ('tokens', 0), ('policy_revisions', 0);

  CREATE TABLE settings (name TEXT COLLATE "C" PRIMARY KEY, value TEXT COLLATE "C" NOT NULL);

  CREATE TABLE policy_revisions (
    number       BIGINT PRIMARY KEY,
    revision     TEXT COLLATE "C" NOT NULL,
    published_at BIGINT NOT NULL,
    published_by TEXT COLLATE "C" NOT NULL,
    documents    TEXT COLLATE "C" NOT NULL    -- JSON
  );

  -- What was declared over the API: of one action, what an admin said and what the agent's own code says.
  CREATE TABLE declarations (
    agent       TEXT COLLATE "C" NOT NULL,
    action      TEXT COLLATE "C" NOT NULL,   -- as it was declared
    admin       BIGINT NOT NULL,             -- 1: an admin declared it, 0: the agent's own code
    rule        TEXT COLLATE "C" NOT NULL CHECK (rule IN ('ALLOW', 'BLOCK', 'REVIEW')),
    trusted     BIGINT NOT NULL,             -- 1: its ALLOW counts
    fresh       BIGINT NOT NULL,             -- 1: declared since the agent registered last
    declared_at BIGINT NOT NULL,
    declared_by TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (agent, action, admin)
  );

  -- Calls whose decisions were rotated away: none is decided a second time.
  CREATE TABLE moved_calls (call TEXT COLLATE "C" PRIMARY KEY);

  -- How many reports there are of an agent.
  CREATE TABLE reports (
    agent   TEXT COLLATE "C" PRIMARY KEY,
    total   BIGINT NOT NULL,
    allowed BIGINT NOT NULL,
    blocked BIGINT NOT NULL
  ) WITH (fillfactor = 50);

  -- Refused calls, by minutes since the epoch; those of the last day are kept.
  CREATE TABLE blocks (minute BIGINT PRIMARY KEY, count BIGINT NOT NULL) WITH (fillfactor = 50);

  -- Where the signed records are in the ledger. Nothing is believed for standing here: verification reads the records.
  CREATE TABLE signed_records (
    id    BIGINT PRIMARY KEY,
    kind  TEXT COLLATE "C" NOT NULL CHECK (kind IN ('checkpoint', 'rotation')),
    until BIGINT NOT NULL    -- the record behind which the next checkpoint comes at the latest
  );

  -- What the ledger goes on from: whoever could change it, could have a call decided twice, or records stay unsigned.
  CREATE TRIGGER signed_records_change BEFORE UPDATE OR DELETE OR TRUNCATE ON signed_records
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
  ALTER TABLE signed_records ENABLE ALWAYS TRIGGER signed_records_change;
  CREATE TRIGGER moved_calls_change BEFORE UPDATE OR DELETE OR TRUNCATE ON moved_calls
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
  ALTER TABLE moved_calls ENABLE ALWAYS TRIGGER moved_calls_change;
  `,
  `
  -- What an approval asks for beside one approver (JSON; null: nothing), what it was asked under, and which pinning of
  -- the tool it was shown with.
  ALTER TABLE approvals ADD COLUMN requirement TEXT COLLATE "C";
  ALTER TABLE approvals ADD COLUMN revision TEXT COLLATE "C";
  ALTER TABLE approvals ADD COLUMN tool_version BIGINT;
  -- 'result': it is about the answer of a call that has run; null: about the call.
  ALTER TABLE approvals ADD COLUMN stage TEXT COLLATE "C" CHECK (stage = 'result');

  -- Who said yes.
  CREATE TABLE approval_votes (
    approval BIGINT NOT NULL,
    voter    TEXT COLLATE "C" NOT NULL,
    token    BIGINT,
    at       BIGINT NOT NULL,
    reason   TEXT COLLATE "C" NOT NULL,
    grant_uses    BIGINT,          -- what this person would grant beyond the one call
    grant_expires BIGINT,
    PRIMARY KEY (approval, voter)
  );
  INSERT INTO approval_votes (approval, voter, token, at, reason)
    SELECT id, decided_by, decided_token, decided_at, coalesce(decided_reason, '') FROM approvals
    WHERE status IN ('approved', 'consumed') AND decided_by IS NOT NULL AND decided_at IS NOT NULL;

  -- Calls that an approver let through ahead of their coming.
  CREATE TABLE grants (
    id           BIGINT PRIMARY KEY,
    approval     BIGINT NOT NULL,
    agent        TEXT COLLATE "C" NOT NULL,
    principal    TEXT COLLATE "C" NOT NULL,
    server       TEXT COLLATE "C" NOT NULL,
    tool         TEXT COLLATE "C" NOT NULL,
    action       TEXT COLLATE "C" NOT NULL,
    definition   TEXT COLLATE "C" NOT NULL,
    tool_version BIGINT,
    arguments    TEXT COLLATE "C" NOT NULL,    -- JSON: patterns by argument
    rest         TEXT COLLATE "C" NOT NULL,    -- HMAC over all that may not differ, hex
    requirement  TEXT COLLATE "C" NOT NULL,    -- what policy asked of its approval, and offered
    uses         BIGINT NOT NULL,
    used         BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    given_by     TEXT COLLATE "C" NOT NULL,
    given_token  BIGINT,
    status       TEXT COLLATE "C" NOT NULL CHECK (status IN ('active', 'used', 'expired', 'revoked', 'void')),
    ended_at     BIGINT,
    ended_by     TEXT COLLATE "C"
  ) WITH (fillfactor = 50);
  CREATE INDEX grants_active ON grants (agent, action) WHERE status = 'active';

  -- What servers offer, by the hash of its canonical form.
  CREATE TABLE definitions (hash TEXT COLLATE "C" PRIMARY KEY, text TEXT COLLATE "C" NOT NULL);

  -- What is pinned, of every agent; the tool without a name is the server's instructions.
  CREATE TABLE tools (
    agent       TEXT COLLATE "C" NOT NULL,
    server      TEXT COLLATE "C" NOT NULL,
    tool        TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('accepted', 'new', 'added', 'changed')),
    pinned      TEXT COLLATE "C" NOT NULL,     -- hash of what was accepted, or seen first
    seen        TEXT COLLATE "C" NOT NULL,     -- hash of what is offered now
    version     BIGINT NOT NULL,     -- one more with every change: there and back again are two
    flags       TEXT COLLATE "C" NOT NULL,     -- JSON
    seen_at     BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    accepted_at BIGINT,
    accepted_by TEXT COLLATE "C",
    PRIMARY KEY (agent, server, tool)
  );
  -- Who refers to a definition.
  CREATE INDEX tools_pinned ON tools (pinned);
  CREATE INDEX tools_seen ON tools (seen);
  CREATE INDEX approvals_definition ON approvals (definition);

  -- How many calls were let through, for the limits and conditions that ask: by what they are counted for, and in slots
  -- of so many milliseconds.
  CREATE TABLE call_counts (
    agent   TEXT COLLATE "C" NOT NULL,
    pattern TEXT COLLATE "C" NOT NULL,
    width   BIGINT NOT NULL,
    slot    BIGINT NOT NULL,
    count   BIGINT NOT NULL,
    PRIMARY KEY (agent, pattern, width, slot)
  ) WITH (fillfactor = 50);
  CREATE INDEX call_counts_slot ON call_counts (width, slot);

  -- Calls that run, of agents with a limit on that.
  CREATE TABLE running_calls (
    call       TEXT COLLATE "C" PRIMARY KEY,
    agent      TEXT COLLATE "C" NOT NULL,
    action     TEXT COLLATE "C" NOT NULL,
    gateway    TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL
  );
  CREATE INDEX running_calls_agent ON running_calls (agent);

  -- People who signed in on a page.
  CREATE TABLE sessions (
    hash       TEXT COLLATE "C" PRIMARY KEY,   -- SHA-256 of what the cookie holds, hex
    principal  TEXT COLLATE "C" NOT NULL,      -- JSON
    token      BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
  );

  INSERT INTO counters (name, value) VALUES ('grants', 0), ('tools', 0);
  `,
];

/** The version of the schema that this program writes. */
export const postgresVersion = postgresMigrations.length;

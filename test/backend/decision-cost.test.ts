import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compose } from "../../src/backend/compose.js";
import { openSqlite } from "../../src/backend/store/sqlite.js";
import type { Connection, Statement, Store } from "../../src/backend/store/store.js";
import { StoredBackend } from "../../src/backend/stored-backend.js";
import { ledgerDefaults } from "../../src/config-ledger.js";
import { createLogger } from "../../src/log.js";
import { parsePolicy, policySet } from "../../src/policy/file/load.js";
import { agent, intent, makeHome } from "../fixtures/backend/store.js";

/** The store, and what its transactions asked since somebody looked. */
function watched(store: Store): { readonly store: Store; readonly asked: () => string[] } {
  let asked: string[] = [];
  const writer: Connection = {
    prepare(sql) {
      const statement = store.writer.prepare(sql);
      const noted = (): Statement => {
        asked.push(sql);
        return statement;
      };
      return {
        run: (...values) => noted().run(...values),
        get: (...values) => noted().get(...values),
        all: (...values) => noted().all(...values),
      };
    },
  };
  const proxy = new Proxy(store, {
    get(target, name) {
      if (name === "writer") return writer;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return {
    store: proxy,
    asked() {
      const some = asked;
      asked = [];
      return some;
    },
  };
}

test("an ordinary decision asks the store four times, and the calls of one transaction share three of them", async () => {
  const place = makeHome();
  mkdirSync(place.home, { mode: 0o700 });
  const { store, asked } = watched(await openSqlite(join(place.home, "aegis.db")));
  const text = `agent: claude-*
default: block
allow:
  - files__read
  - { action: files__near, when: 'args.path.startsWith("/srv/")' }
limits: [{ action: files__limited, calls: 5, per: 1h }]
data: [{ detect: secrets, then: redact, action: files__near }]
`;
  const log = createLogger("silent");
  const parts = await compose(store, {
    home: place.home,
    shared: false,
    ledger: ledgerDefaults(place.home),
    policies: policySet([parsePolicy(text, "claude.yaml", { bareNames: false })]),
    holdExpires: 60_000,
    lease: { local: 60_000, remote: 2_000 },
    log,
  });
  const backend = new StoredBackend("", parts);
  await backend.ensureAgent(agent);
  const gateway = "gateway";
  for (const tool of ["read", "near"]) {
    expect((await backend.decide(intent(gateway, tool))).decision).toBe("ALLOW");
    asked();
    expect((await backend.decide(intent(gateway, tool))).decision).toBe("ALLOW");
    const statements = asked();
    expect(statements, statements.join("\n")).toHaveLength(4);
    expect(statements.join("\n")).not.toMatch(/FROM tools|call_counts \(|FROM grants|FROM declarations/);
  }
  await Promise.all(Array.from({ length: 8 }, () => backend.decide(intent(gateway))));
  expect(asked()).toHaveLength(4);
  await backend.close();
  place.remove();
});

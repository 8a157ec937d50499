import { defineConfig } from "vitest/config";
import { binaries } from "./test/fixtures/postgres/cluster.js";

/** Files that take long because time, or the number of real peers, is their subject: `npm run test:slow`, and CI. */
const slow = [
  "test/gateway/peers.test.ts",
  "test/gateway/{tools,two-readings}.test.ts",
  "test/gateway/ask-client.test.ts",
  "test/gateway/slow-request.test.ts",
  "test/gateway/shutdown.test.ts",
  "test/gateway/{names,restart,bad-input,kill}.test.ts",
  "test/gateway/{crash,environment,isolation}.test.ts",
  "test/gateway/remote-original.test.ts",
  "test/gateway/remote.test.ts",
  "test/gateway/many-backends.test.ts",
  "test/client/http-{faults,gateway}.test.ts",
  "test/cli/{audit,backend,serve,people,policy-reload,token,usage,tools}.test.ts",
  "test/backend/ledger/{checkpoints,export,rotate}.test.ts",
  "test/backend/http/oidc.test.ts",
  "test/backend/http/v1/bad-input.test.ts",
  "test/backend/processes.test.ts",
  "test/backend/http/deciders.test.ts",
  "test/backend/http/pages/browser.test.ts",
];

/** Files that measure, and so run with nothing beside them: also `npm run test:slow`. */
const load = ["test/gateway/flood.test.ts"];

/** Files about PostgreSQL alone. */
const postgresOnly = [
  "test/backend/postgres-*.test.ts",
  "test/backend/store-{key,clock}.test.ts",
  "test/backend/ledger/postgres.test.ts",
  "test/cli/one-home-one-store.test.ts",
];

/** Files that hold for every store: over SQLite in `npm test`, over PostgreSQL with the slow ones. */
const everyStore = [
  "test/backend/{agents,approvals,blocks,client-answers,data,decisions,declarations,enlisting,events,flood,governed-decisions,grants,kill,ledger,limits,quorum,sessions,store-contract,tokens,tools}.test.ts",
  "test/backend/http/compat/{audit,contract,holes}.test.ts",
];

const postgres = {
  extends: true as const,
  test: {
    name: "postgres",
    include: [...postgresOnly, ...everyStore],
    env: { AEGIS_TEST_STORE: "PostgreSQL" },
  },
};
if (binaries === null) console.warn("No PostgreSQL here (initdb): tests of it are skipped.");

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 30_000,
    expect: { poll: { timeout: 8000 } },
    // Processes that are killed and suspended on a machine shared with others: CI says it twice before it says no.
    retry: process.env.CI ? 1 : 0,
    // Most of the time a test waits for processes of its own: more of them than cores shorten the whole.
    maxWorkers: 3,
    // Starts nothing until a test asks for a database.
    globalSetup: "test/fixtures/postgres/setup.ts",
    projects: [
      {
        extends: true,
        test: {
          name: "quick",
          include: ["test/**/*.test.ts"],
          exclude: [...slow, ...load, ...postgresOnly],
          env: { AEGIS_TEST_STORE: "SQLite" },
        },
      },
      { extends: true, test: { name: "slow", include: slow } },
      { extends: true, test: { name: "load", include: load } },
      ...(binaries === null ? [] : [postgres]),
    ],
  },
});

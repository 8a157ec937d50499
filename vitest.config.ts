import { defineConfig } from "vitest/config";

/** Files that take long because time, or the number of real peers, is their subject: `npm run test:slow`, and CI. */
const slow = [
  "test/gateway/peers.test.ts",
  "test/gateway/slow-request.test.ts",
  "test/backend/processes.test.ts",
  "test/backend/http/deciders.test.ts",
  "test/gateway/many-backends.test.ts",
  "test/backend/postgres-deadlines.test.ts",
];

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
      { extends: true, test: { name: "quick", include: ["test/**/*.test.ts"], exclude: slow } },
      { extends: true, test: { name: "slow", include: slow } },
    ],
  },
});

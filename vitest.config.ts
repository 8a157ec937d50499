import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // Most of the time a test waits for processes of its own: more of them than cores shorten the whole.
    maxWorkers: 4,
  },
});

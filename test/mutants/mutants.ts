/** One guarantee, taken out. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** The test files that are to notice, and flags of vitest. */
  readonly tests: readonly string[];
}

export const mutants: readonly Mutant[] = [
  {
    name: "answer-before-commit",
    file: "src/backend/store/commit.ts",
    find: "          await entry.run(batch);\n",
    replace: "          await entry.run(batch);\n          entry.settle();\n",
    tests: ["--project", "quick", "test/backend/commit.test.ts"],
  },
  {
    name: "log-after-execute",
    file: "src/gateway/steps/authorize.ts",
    find: "    const verdict = await backend.decide(call.intent);\n    accept(call, verdict);\n",
    replace:
      '    call.leaseUntil = performance.now() + 1000;\n    const early = await next();\n    const verdict = await backend.decide(call.intent);\n    if (verdict.decision === "ALLOW") return early;\n    accept(call, verdict);\n',
    tests: ["--project", "quick", "test/gateway/pipeline.test.ts", "test/gateway/hold.test.ts"],
  },
  {
    name: "fail-open-catch",
    file: "src/gateway/steps/authorize.ts",
    find: "await backend.decide(call.intent);",
    replace:
      'await backend.decide(call.intent).catch(() => ({ call: call.intent.call, decision: "ALLOW" as const, rule: null, reason: "", revision: "", record: 1, leaseUntil: performance.now() + 1000 }));',
    tests: ["--project", "quick", "test/gateway/pipeline.test.ts"],
  },
  {
    name: "decide-without-compare-and-set",
    file: "src/backend/approvals/approvals.ts",
    find: "WHERE id = ? AND status = 'pending' RETURNING *",
    replace: "WHERE id = ? RETURNING *",
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "consume-without-compare-and-set",
    file: "src/backend/approvals/approvals.ts",
    find: "WHERE id = ? AND status = ? RETURNING *",
    replace: "WHERE id = ? AND ? <> '' RETURNING *",
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "approval-keyed-by-name",
    file: "src/backend/decisions/digest.ts",
    find: 'return `${names}\\n${written === "" ? "" : canonicalText(written)}`;',
    replace: 'return `${names}\\n${written === "" ? "" : ""}`;',
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "register-un-kills",
    file: "src/backend/agents.ts",
    find: "VALUES (?, 'ACTIVE', ?, ?) ON CONFLICT DO NOTHING",
    replace: "VALUES (?, 'ACTIVE', ?, ?) ON CONFLICT (name) DO UPDATE SET status = 'ACTIVE'",
    tests: ["--project", "quick", "test/backend/kill.test.ts"],
  },
];

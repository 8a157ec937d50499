export interface Edit {
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

/** One guarantee, taken out: in every place that gives it. */
export interface Mutant extends Edit {
  readonly name: string;
  readonly also?: Edit;
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
    also: {
      file: "src/backend/approvals/approvals.ts",
      find: 'return row.status === "pending" ? null : settledError(row);',
      replace: "return row.id > 0 ? null : settledError(row);",
    },
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "consume-without-compare-and-set",
    file: "src/backend/approvals/approvals.ts",
    find: "WHERE id = ? AND status = ? RETURNING *",
    replace: "WHERE id = ? AND ? <> '' RETURNING *",
    also: {
      file: "src/backend/decisions/withdrawal.ts",
      find: 'if (row.status !== "approved") return',
      replace: 'if (row.status !== "approved" && row.status !== "consumed") return',
    },
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "approval-keyed-by-name",
    file: "src/backend/decisions/digest.ts",
    find: 'written === "" ? "" : canonicalText(written)',
    replace: 'written === "" ? "" : ""',
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "register-un-kills",
    file: "src/backend/agents.ts",
    find: "VALUES (?, 'ACTIVE', ?, ?) ON CONFLICT DO NOTHING",
    replace: "VALUES (?, 'ACTIVE', ?, ?) ON CONFLICT (name) DO UPDATE SET status = 'ACTIVE'",
    tests: ["--project", "quick", "test/backend/kill.test.ts"],
  },
  {
    name: "no-kill-check-at-release",
    file: "src/backend/decisions/decisions.ts",
    find: "    if (stopped !== null) {\n      const about",
    replace: "    if (stopped !== null && !ahead) {\n      const about",
    tests: ["--project", "quick", "test/backend/kill.test.ts", "test/backend/approvals.test.ts"],
  },
  {
    name: "condition-error-ignored",
    file: "src/policy/decide.ts",
    find: "if (holds instanceof ConditionError) return { decision: failed(rule, holds), winner: rule };",
    replace: "if (holds instanceof ConditionError) continue;",
    tests: ["--project", "quick", "test/policy/condition.test.ts"],
  },
  {
    name: "policy-not-asked-at-release",
    file: "src/backend/decisions/withdrawal.ts",
    find: '    if (said.decision !== "BLOCK") return null;\n    if (said.passing',
    replace: "    if (row.id > 0) return null;\n    if (said.passing",
    tests: ["--project", "quick", "test/backend/approvals.test.ts"],
  },
  {
    name: "redefined-tool-ignored",
    file: "src/backend/decisions/withdrawal.ts",
    find: "  return tool_version !== null && tool_version !== version;",
    replace: "  return tool_version !== null && tool_version !== version && false;",
    tests: ["--project", "quick", "test/backend/governed-decisions.test.ts"],
  },
  {
    name: "changed-tool-allowed-by-its-rule",
    file: "src/policy/tool-state.ts",
    find: '    case "changed":\n      return false;',
    replace: '    case "changed":\n      return true;',
    tests: ["--project", "quick", "test/policy/tool-state.test.ts"],
  },
  {
    name: "one-approval-is-a-quorum",
    file: "src/backend/approvals/votes.ts",
    find: "const { quorum } = requirementOf(row);",
    replace: "const quorum = Math.min(1, requirementOf(row).quorum);",
    tests: ["--project", "quick", "test/backend/quorum.test.ts"],
  },
  {
    name: "grant-never-used-up",
    file: "src/backend/grants/grants.ts",
    find: "    if (left === 0) await",
    replace: "    if (left < -99) await",
    tests: ["--project", "quick", "test/backend/grants.test.ts"],
  },
  {
    name: "block-does-not-win",
    file: "src/policy/policy.ts",
    find: 'export const lists = ["block", "review", "allow"] as const;',
    replace: 'export const lists = ["allow", "review", "block"] as const;',
    tests: [
      "--project",
      "quick",
      "test/policy/decide.property.test.ts",
      "test/policy/whole.property.test.ts",
    ],
  },
  {
    name: "unsearched-result-delivered",
    file: "src/gateway/steps/inspect.ts",
    find: '      call.found ??= "result withheld";\n      return withheld(',
    replace: '      if (result.text !== "") return result;\n      return withheld(',
    tests: ["--project", "quick", "test/gateway/inspect.test.ts"],
  },
  {
    name: "lease-not-checked",
    file: "src/gateway/steps/forward.ts",
    find: "if (call.leaseUntil === null || performance.now() > call.leaseUntil) throw new LeaseExpired();",
    replace: "if (call.leaseUntil === undefined) throw new LeaseExpired();",
    tests: ["--project", "slow", "test/gateway/kill.test.ts"],
  },
  {
    name: "page-without-its-form-token",
    file: "src/backend/http/page-sessions.ts",
    find: "theirs.length === ours.length && timingSafeEqual(theirs, ours)",
    replace: "theirs.length > 0 || timingSafeEqual(theirs, ours)",
    tests: ["--project", "quick", "test/backend/http/pages/pages.test.ts"],
  },
];

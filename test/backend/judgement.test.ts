import { afterEach, describe, expect, test, vi } from "vitest";
import { type Judged, judge } from "../../src/backend/decisions/judgement.js";
import { policySet } from "../../src/policy/file/load.js";
import type { PolicyDecision } from "../../src/policy/policy.js";
import { intent } from "../fixtures/backend/store.js";

const decide = vi.hoisted(() => vi.fn());
vi.mock("../../src/policy/decide.js", async (load) => ({ ...(await load<object>()), decide }));

const allowed: PolicyDecision = { decision: "ALLOW", rule: null, reason: "It may." };
const situation = {
  facts: { state: "accepted", suspicious: null, claims: {} },
  now: 0,
  counts: new Map(),
  declared: [],
} as const;

function judged(over: Partial<Judged> = {}): Judged {
  const call = intent("gateway");
  return { intent: call, policies: policySet([]), args: () => call.parsed, found: [], ...over };
}

describe("what policy says of a call", () => {
  afterEach(() => {
    decide.mockReset();
  });

  test.each(["MAYBE", "allow", "", undefined, null, 1, { toString: () => "ALLOW" }])(
    "blocks where its word is %j, and nothing else",
    (decision) => {
      decide.mockReturnValue({ ...allowed, decision });
      expect(judge(judged(), situation)).toMatchObject({
        decision: "BLOCK",
        error: true,
        reason: expect.stringMatching(/^policy_error: .*unknown verdict/),
      });
      decide.mockReturnValue(allowed);
      expect(judge(judged(), situation)).toEqual(allowed);
    },
  );

  test("blocks where it throws, and does not quote what was thrown", () => {
    decide.mockImplementation(() => {
      throw new Error("no such member: hunter2");
    });
    const said = judge(judged(), situation);
    expect(said).toMatchObject({ decision: "BLOCK", error: true });
    expect(said.reason).not.toContain("hunter2");
    decide.mockReturnValue(allowed);
    expect(judge(judged(), situation)).toEqual(allowed);
  });

  test("is asked with everything it may depend on, and with arguments that are parsed when they are looked at", () => {
    const args = vi.fn(() => ({ path: "/srv" }));
    const client = { name: "claude-ai", version: "1" };
    const call = { ...intent("gateway"), client };
    const facts = {
      state: "new",
      suspicious: "it looks like another",
      claims: { readOnlyHint: true },
    } as const;
    decide.mockReturnValue(allowed);
    judge(judged({ intent: call, args }), { ...situation, facts, now: 5 });
    expect(args).not.toHaveBeenCalled();
    expect(decide.mock.calls[0]?.[1]).toMatchObject({
      agent: call.agent,
      action: "files__read",
      args: { path: "/srv" },
      client,
      known: facts,
      now: 5,
    });
  });
});

/** The order of the steps, and that whatever goes wrong in one of them refuses the call. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Approval, Outcome, Verdict } from "../../src/client/backend.js";
import type { Call, CallResult } from "../../src/gateway/call.js";
import { compose, createPipeline, type Step } from "../../src/gateway/pipeline.js";
import type { ServerLink } from "../../src/gateway/servers/link.js";
import type { Services } from "../../src/gateway/services.js";
import { record } from "../../src/gateway/steps/record.js";
import { decide as decideByPolicy } from "../../src/policy/decide.js";
import { parsePolicy, policySet } from "../../src/policy/file/load.js";
import type { Question, ToolFacts } from "../../src/policy/policy.js";
import { noRequirement } from "../../src/requirement.js";
import { allow, callOf, linkToFake, partialBackend, services } from "../fixtures/calls.js";
import { type Execution, readLedger } from "../fixtures/ledger.js";

const folder = mkdtempSync(join(tmpdir(), "aegis-pipeline-"));
const ledger = join(folder, "ledger.jsonl");
let link: ServerLink;
let canaries = 0;
const fresh = (): string => `pipeline-canary-${canaries++}-`;
const runs = (canary: string): Execution[] =>
  readLedger(ledger).executions.filter((run) => run.arguments.includes(canary));

beforeAll(async () => {
  link = await linkToFake(ledger);
});
afterAll(async () => {
  await link?.close();
  rmSync(folder, { recursive: true, force: true });
});

const answered: CallResult = { kind: "not_forwarded", reason: "the end of the line" };

describe("steps", () => {
  it("run in their order, the first one outermost", async () => {
    const said: string[] = [];
    const step =
      (name: string): Step =>
      async (_, next) => {
        said.push(`${name} in`);
        const result = await next();
        said.push(`${name} out`);
        return result;
      };
    const pipeline = compose([step("a"), step("b"), async () => answered]);
    expect(await pipeline(callOf(link, {}))).toBe(answered);
    expect(said).toEqual(["a in", "b in", "b out", "a out"]);
  });

  it("cannot let a call run twice", async () => {
    let ran = 0;
    const last: Step = async () => {
      ran++;
      return answered;
    };
    const twice: Step = async (_, next) => {
      await next();
      return next();
    };
    const atOnce: Step = async (_, next) => {
      const [first] = await Promise.all([next(), next()]);
      return first;
    };
    await expect(compose([twice, last])(callOf(link, {}))).rejects.toThrow("next was called twice");
    await expect(compose([atOnce, last])(callOf(link, {}))).rejects.toThrow("next was called twice");
    expect(ran).toBe(2);
  });

  it("cannot fall through behind the last one", async () => {
    const further: Step = (_, next) => next();
    await expect((async () => compose([further])(callOf(link, {})))()).rejects.toThrow("must not call next");
  });
});

/** What the pipeline makes of a call whose backend behaves like this, and what it wrote down of its end. */
async function through(
  decide: (call: Call) => unknown,
  release: (call: Call) => unknown = () => Promise.reject(new Error("nobody asked for a release")),
): Promise<{ result: CallResult; outcomes: Outcome[]; executions: Execution[] }> {
  const canary = fresh();
  const call = callOf(link, { canary });
  const outcomes: Outcome[] = [];
  const backend = partialBackend({
    // Whatever is not a verdict: that is what this is about.
    decide: async () => (await decide(call)) as Verdict,
    release: async () => (await release(call)) as Verdict,
    outcome: (ended) => void outcomes.push(ended),
  });
  const result = await createPipeline(await services(backend))(call);
  return { result, outcomes, executions: runs(canary) };
}

const allowed = ({ intent }: Call): Verdict => allow(intent, 200);

describe("a call", () => {
  it("runs once where the backend allows it", async () => {
    const { result, outcomes, executions } = await through(allowed);
    expect(result.kind).toBe("answered");
    expect(outcomes).toEqual([expect.objectContaining({ outcome: "ok" }) as Outcome]);
    expect(executions).toHaveLength(1);
  });

  it.each<readonly [string, (call: Call) => unknown]>([
    ["in lower case", (call) => ({ ...allowed(call), decision: "allow" })],
    ["with a space behind it", (call) => ({ ...allowed(call), decision: "ALLOW " })],
    ["in the past tense", (call) => ({ ...allowed(call), decision: "ALLOWED" })],
    ["true", () => true],
    ["true as its decision", (call) => ({ ...allowed(call), decision: true })],
    ["a list of it", (call) => ({ ...allowed(call), decision: ["ALLOW"] })],
    ["null", () => null],
    ["null as its decision", (call) => ({ ...allowed(call), decision: null })],
    ["undefined", () => undefined],
    ["the word alone", () => "ALLOW"],
    ["an empty object", () => ({})],
    ["without a lease", ({ intent }) => ({ ...allow(intent, 200), leaseUntil: undefined })],
    ["with a lease that is null", (call) => ({ ...allowed(call), leaseUntil: null })],
    ["with a lease that is text", (call) => ({ ...allowed(call), leaseUntil: "9999999999" })],
    ["with a lease that is no number", (call) => ({ ...allowed(call), leaseUntil: Number.NaN })],
    ["with an endless lease", (call) => ({ ...allowed(call), leaseUntil: Number.POSITIVE_INFINITY })],
    ["about another call", (call) => ({ ...allowed(call), call: "gw-another" })],
    ["about no call", (call) => ({ ...allowed(call), call: undefined })],
    ["a REVIEW without an approval", (call) => ({ ...allowed(call), decision: "REVIEW" })],
    ["a failure", () => Promise.reject(new Error("the socket broke"))],
    ["a thrown text", () => Promise.reject("ALLOW")],
  ])("is refused where the verdict is none: %s", async (_, decide) => {
    const { result, executions } = await through(decide);
    expect(result).toMatchObject({ kind: "refused", refusal: { decision: "BLOCK" } });
    expect(executions).toEqual([]);
  });

  it("is refused where its lease ran out and the new verdict is none", async () => {
    const late = ({ intent }: Call): Verdict => allow(intent, -1);
    for (const release of [
      () => null,
      () => true,
      (call: Call) => ({ ...allowed(call), call: "gw-another" }),
    ]) {
      const { result, outcomes, executions } = await through(late, release);
      expect(result.kind).toBe("refused");
      expect(outcomes).toHaveLength(1);
      expect(executions).toEqual([]);
    }
  });

  it("keeps what broke to the log: the caller learns that it did not run", async () => {
    const { result } = await through(() => Promise.reject(new Error("/srv/secret/path is broken")));
    expect(JSON.stringify(result)).not.toContain("/srv/secret");
  });
});

describe("a throw", () => {
  const throwing = (at: number): readonly Step[] =>
    Array.from({ length: 3 }, (_, index): Step => {
      if (index < at) return (_call, next) => next();
      return async () => {
        throw new Error("broken");
      };
    });

  it.each([0, 1, 2])("in step %i below the record refuses and is recorded", async (at) => {
    const outcomes: Outcome[] = [];
    const backend = partialBackend({ outcome: (ended) => void outcomes.push(ended) });
    const recording = record(await services(backend));
    const deciding: Step = (call, next) => {
      call.verdict = allowed(call);
      return next();
    };
    const result = await compose([recording, deciding, ...throwing(at)])(callOf(link, {}));
    expect(result).toMatchObject({ kind: "refused", refusal: { decision: "BLOCK" } });
    expect(outcomes).toEqual([expect.objectContaining({ outcome: "not_forwarded" }) as Outcome]);
  });
});

const tool = (over: Partial<ToolFacts>): ToolFacts => ({
  state: "accepted",
  suspicious: null,
  claims: {},
  ...over,
});

describe("a call that waits", () => {
  const pending = async (
    approval: () => Promise<Approval>,
    why: Partial<Verdict> = {},
    howToAllow: Services["howToAllow"] = () => null,
  ): Promise<string> => {
    const waiting = { id: 3, status: "pending", expiresAt: "" } as const;
    const backend = partialBackend({
      decide: async (intent) => ({ ...allow(intent, 200), ...why, decision: "REVIEW", approval: waiting }),
      approval,
      detachWaiter: async () => {},
    });
    const plain = await services(backend);
    const hasty = {
      ...plain,
      howToAllow,
      config: { ...plain.config, hold: { ...plain.config.hold, wait: 20 } },
    };
    const result = await createPipeline(hasty)(callOf(link, {}));
    return result.kind === "waiting" ? result.refusal.reason : result.kind;
  };

  it("says how many people have approved where it takes more than one, and no names (threat A26)", async () => {
    const requirement = { ...noRequirement, quorum: 3, approvers: [["secret-team"]] };
    const votes = [{ by: "os:ann", at: "", reason: "" }];
    const said = await pending(
      async () => ({ id: 3, status: "pending", requirement, votes }) as unknown as Approval,
    );
    expect(said).toContain("1 of the 3 people it takes have approved so far (approval 3)");
    expect(said).not.toMatch(/secret-team|os:ann/);
  });

  // As policy says it: what a gateway makes of these sentences changes when they do.
  it.each<readonly [string, string, Partial<Question>, string, boolean]>([
    [
      "a default",
      "allow: [fake__pay]",
      {},
      "Why: No rule of tester.yaml matches: the default is review.",
      true,
    ],
    [
      "a rule with a reason",
      "review: [{ action: fake__echo, reason: Mail leaves the house, approval: { approvers: [secret-team] } }]",
      {},
      "Why: Mail leaves the house. A person",
      false,
    ],
    [
      "a rule without one",
      "review: [fake__echo]",
      {},
      "Why: A person must decide, says the rule tester.yaml:2 review fake__echo.",
      false,
    ],
    [
      "a new tool",
      "allow: ['*']",
      { known: tool({ state: "new" }) },
      '"aegis tools accept fake echo"',
      false,
    ],
    ["a tool that came later", "", { known: tool({ state: "added" }) }, "the default is review", true],
    [
      "a tool that changed",
      "allow: [fake__echo]",
      { known: tool({ state: "changed" }) },
      'is not what it was: its definition, or its server\'s instructions, changed. See it with "aegis tools diff"',
      false,
    ],
    [
      "a tool that passes for another",
      "allow: ['*']",
      { known: tool({ suspicious: "It looks like echo" }) },
      "Why: It looks like echo: no wildcard and no default allows it",
      false,
    ],
    [
      "an unusual name",
      "allow: ['*']",
      { tool: "é", action: "fake__é" },
      "only a rule with exactly this name",
      false,
    ],
    [
      "data in the arguments",
      "allow: [fake__echo]\ndata: [{ detect: custom, name: salary, pattern: salary, then: review }]",
      { args: { note: "salary" } },
      "Why: A person must decide: the arguments hold salary, says the rule tester.yaml:3 data salary.",
      false,
    ],
  ])(
    "says why, and how to allow it for good only where that helps: %s",
    async (_, text, over, why, helps) => {
      const policy = parsePolicy(`agent: tester\n${text}\n`, "tester.yaml", { bareNames: false });
      const usual = { agent: "tester", server: "fake", tool: "echo", action: "fake__echo", args: {} };
      const { decision, rule, reason } = decideByPolicy(policySet([policy]), {
        ...usual,
        now: Date.now(),
        ...over,
      });
      expect(decision).toBe("REVIEW");
      const approval = { id: 3, status: "pending", requirement: noRequirement, votes: [] };
      const said = await pending(
        async () => approval as unknown as Approval,
        { rule, reason },
        (agent, action) => `To allow ${action} of ${agent}: a rule.`,
      );
      expect(said).toContain(why);
      expect(said.includes("To allow fake__echo of tester: a rule.")).toBe(helps);
      expect(said).not.toContain("secret-team");
      expect(said).toMatch(
        /^fake__echo needs a person's approval and nobody has decided yet \(approval 3\)\. Why: /,
      );
    },
  );

  it("is told to repeat the call, also where the approval cannot be read", async () => {
    const said = await pending(() => Promise.reject(new Error("down")));
    expect(said).toContain("nobody has decided yet (approval 3)");
    expect(said).toContain("Repeat exactly the same call");
  });
});

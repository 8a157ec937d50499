import * as fc from "fast-check";
import { expect, test } from "vitest";
import type {
  Approval,
  Intent,
  NewToken,
  Note,
  Outcome,
  Principal,
  Token,
  Verdict,
} from "../../src/client/backend.js";
import { approvalFromWire, approvalToWire, approvalWire } from "../../src/client/wire/approvals.js";
import {
  decideRequest,
  intentToWire,
  verdictFromWire,
  verdictToWire,
  verdictWire,
} from "../../src/client/wire/decisions.js";
import { fitting, nameField, numberInQuery, textField } from "../../src/client/wire/fields.js";
import { filterFromQuery, ledgerQuery, queryOfFilter } from "../../src/client/wire/ledger.js";
import {
  noteRequest,
  noteToWire,
  outcomeFromWire,
  outcomeToWire,
  outcomeWire,
} from "../../src/client/wire/outcomes.js";
import { principalFromWire, principalToWire, principalWire } from "../../src/client/wire/principals.js";
import {
  newTokenFromWire,
  newTokenRequest,
  newTokenToWire,
  tokenFromWire,
  tokenToWire,
  tokenWire,
} from "../../src/client/wire/tokens.js";

/** What a socket does to it. */
function sent(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

const time = "2026-01-02T03:04:05.006Z";

const approval: Approval = {
  id: 7,
  agent: "claude-desktop",
  principal: "desk",
  server: "files",
  tool: "write",
  action: "files__write",
  arguments: '{"n":9007199254740993}',
  status: "approved",
  rule: null,
  reason: "No rule.",
  digest: "ab".repeat(32),
  redacted: '{"n":9007199254740993}',
  requirement: {
    approvers: [["docs-team"], ["leads", "owners"]],
    quorum: 2,
    reason: true,
    channels: ["page"],
    grant: { uses: 3, expires: 60_000, arguments: { path: "/srv/*" } },
  },
  votes: [{ by: "bob", at: time, reason: "looks right" }],
  waiting: true,
  createdAt: time,
  expiresAt: time,
  decidedAt: time,
  decidedBy: "ann",
  decidedReason: null,
};

const intent: Intent = {
  call: "g-1",
  gateway: "g",
  agent: "claude-desktop",
  principal: "desk",
  server: "files",
  tool: "write",
  action: "files__write",
  definition: "d".repeat(64),
  arguments: '{ "n": 1.0 , "big": 9007199254740993, "text": "\\ud800 é" }',
  parsed: {},
};

test("what is said of an approval, a token and a principal arrives as it was", () => {
  expect(approvalFromWire(approvalWire.parse(sent(approvalToWire(approval))))).toEqual(approval);
  const token: Token = {
    id: 3,
    name: "desk",
    role: "agent",
    agent: "claude-desktop",
    groups: ["g"],
    trustDeclared: true,
    createdAt: time,
    expiresAt: null,
    revokedAt: time,
  };
  expect(tokenFromWire(tokenWire.parse(sent(tokenToWire(token))))).toEqual(token);
  for (const principal of [
    { name: "ada", role: "admin", agent: null, groups: ["ops"], token: null },
    { name: "desk", role: "agent", agent: "a", groups: [], token: 3, trustDeclared: true },
  ] satisfies Principal[]) {
    expect(principalFromWire(principalWire.parse(sent(principalToWire(principal))))).toEqual(principal);
  }
  for (const wanted of [
    { name: "gateway", role: "agent" },
    { name: "desk", role: "agent", agent: "a", groups: ["g"], trustDeclared: true, expires: 5 },
  ] satisfies NewToken[]) {
    expect(newTokenFromWire(newTokenRequest.parse(sent(newTokenToWire(wanted))))).toEqual(wanted);
  }
});

test("the arguments of a call arrive byte for byte", () => {
  expect(decideRequest.parse(sent(intentToWire(intent, undefined))).arguments).toBe(intent.arguments);
  fc.assert(
    fc.property(fc.json(), (text) => {
      const asked = { ...intent, arguments: text };
      expect(decideRequest.parse(sent(intentToWire(asked, "somebody")))).toEqual({
        ...asked,
        principal: "somebody",
        parsed: undefined,
      });
    }),
  );
});

test("what the client claims to be, and that it is its answer that is asked about, arrive with a call", () => {
  const asked = { ...intent, client: { name: "claude-ai", version: "1.2" }, stage: "result" as const };
  expect(decideRequest.parse(sent(intentToWire(asked, undefined)))).toMatchObject({
    client: asked.client,
    stage: "result",
  });
  // A name is cut off, never a reason to refuse the call.
  const loud = { ...intent, client: { name: `\ud800${"x".repeat(9_000)}`, version: "" } };
  expect(decideRequest.parse(sent(intentToWire(loud, undefined))).client?.name).toHaveLength(256);
  expect(decideRequest.safeParse({ ...intentToWire(intent, undefined), stage: "call" }).success).toBe(false);
});

test("what an ALLOW lets through, and what is looked for in the answer, arrive as they are", () => {
  const verdict: Verdict = {
    call: "g-1",
    decision: "ALLOW",
    rule: "a.yaml:1 allow x",
    reason: "Allowed.",
    revision: "r",
    record: 5,
    leaseUntil: 1_000,
    arguments: '{"a":"[ticket]"}',
    inspect: [
      {
        rule: "a.yaml:2 data secrets",
        detect: "secrets",
        name: "secrets",
        pattern: null,
        effect: "redact",
        reason: null,
      },
      {
        rule: "a.yaml:3 data t",
        detect: "custom",
        name: "t",
        pattern: "T-[0-9]+",
        effect: "block",
        reason: "No.",
      },
    ],
  };
  const wire = sent(verdictToWire(verdict, 0, 2_000)) as Record<string, unknown>;
  expect(verdictFromWire(verdictWire.parse(wire), 0)).toEqual(verdict);
  for (const wrong of [
    { ...wire, arguments: { a: 1 } },
    { ...wire, inspect: [{ ...verdict.inspect?.[0], detect: "everything" }] },
    { ...wire, inspect: [{ ...verdict.inspect?.[0], effect: "tell" }] },
    { ...wire, decision: "BLOCK", lease_ms: undefined },
  ])
    expect(verdictWire.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
});

test("a lease counts from before the question was sent, whatever the clocks say", () => {
  const verdict: Verdict = {
    call: "g-1",
    decision: "ALLOW",
    rule: "a.yaml:1 allow x",
    reason: "Allowed.",
    revision: "r",
    record: 5,
    leaseUntil: 10_000.7,
  };
  // Asked at 8,500 on the clock of the backend, sent at 77 on that of the gateway.
  const wire = verdictWire.parse(sent(verdictToWire(verdict, 8_500, 2_000)));
  expect(wire.lease_ms).toBe(1_500);
  expect(verdictFromWire(wire, 77)).toEqual({ ...verdict, leaseUntil: 1_577 });
  expect(verdictToWire(verdict, 1_000, 2_000).lease_ms).toBe(2_000);
  // Used up, or a repeat: nothing is left of it, and nothing is given.
  expect(verdictToWire(verdict, 20_000, 2_000).lease_ms).toBe(0);
  const repeated = { ...verdict, leaseUntil: 0 };
  expect(verdictToWire(repeated, 8_500, 2_000).lease_ms).toBe(0);
  expect(verdictFromWire({ ...wire, lease_ms: 0 }, 77).leaseUntil).toBe(0);
});

test("a verdict that is not exactly one of ours is none", () => {
  const review = sent(
    verdictToWire(
      {
        call: "g-1",
        decision: "REVIEW",
        rule: null,
        reason: "Ask.",
        revision: "r",
        record: 5,
        approval: { id: 1, status: "pending", expiresAt: time },
      },
      0,
      2_000,
    ),
  ) as Record<string, unknown>;
  expect(verdictFromWire(verdictWire.parse(review), 0).approval).toEqual({
    id: 1,
    status: "pending",
    expiresAt: time,
  });
  const allow = { ...review, decision: "ALLOW", lease_ms: 2_000 };
  expect(verdictWire.safeParse(allow).success).toBe(true);
  for (const wrong of [
    { ...allow, decision: "allow" },
    { ...allow, decision: "ALLOWED" },
    { ...allow, decision: ["ALLOW"] },
    { ...allow, extra: 1 },
    { ...allow, lease_ms: undefined },
    { ...allow, lease_ms: -1 },
    { ...allow, lease_ms: "2000" },
    { ...allow, lease_ms: Number.MAX_VALUE },
    { ...allow, record: 0 },
    { ...allow, call: null },
    { ...review, lease_ms: 2_000 },
    { ...review, approval: { id: 1 } },
    { ...review, decision: "BLOCK", lease_ms: 0 },
    null,
    [],
    "ALLOW",
  ]) {
    expect(verdictWire.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
  }
});

test("what a server or a client calls things never makes an outcome or a note unspeakable", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.oneof(fc.double(), fc.constant(Number.NaN), fc.constant(Number.NEGATIVE_INFINITY)),
      (text, duration) => {
        const foreign = `${text}\ud800`;
        const outcome: Outcome = {
          call: "g-1",
          agent: "a",
          principal: "p",
          server: foreign,
          tool: foreign,
          action: foreign,
          outcome: "error",
          duration,
          reason: foreign.repeat(200),
        };
        const arrived = outcomeWire.parse(sent(outcomeToWire(outcome, "p")));
        expect(outcomeFromWire(arrived, "p")).toMatchObject({ call: "g-1", outcome: "error" });
        const note: Note = { kind: "refused", server: foreign, action: foreign, reason: foreign };
        expect(noteRequest.safeParse(sent(noteToWire(note, undefined))).success).toBe(true);
      },
    ),
    { numRuns: 30 },
  );
  expect(fitting("a😀", 2)).toBe("a\ufffd");
  expect(fitting("a😀", 3)).toBe("a😀");
});

test("names are what they are in the store", () => {
  for (const name of ["a", "..", "a/b?c#d", "__proto__", "Zürich 7", "名前"]) {
    expect(nameField.safeParse(name).success, name).toBe(true);
  }
  for (const name of ["", " a", "a\u0000", "a\u200b", "\ud800", "e\u0301", "x".repeat(257), 7, null, ["a"]]) {
    expect(nameField.safeParse(name).success, JSON.stringify(name)).toBe(false);
  }
  expect(textField(5).safeParse("a\udc00").success).toBe(false);
});

test("a number in a query is digits, and within its limits", () => {
  const field = numberInQuery(1, 1_000);
  expect(field.parse("1")).toBe(1);
  expect(field.parse("1000")).toBe(1_000);
  for (const text of ["", "0", "1001", "-1", "1.5", "1e2", "0x10", " 1", "９", "1".repeat(400), "NaN"]) {
    expect(field.safeParse(text).success, text).toBe(false);
  }
});

test("a filter of records survives the query it is asked with", () => {
  for (const filter of [
    { limit: 5 },
    { limit: 1_000, agent: "a/b?c#d", kinds: ["kill", "revive"], after: 0 },
    { limit: 1, before: 77 },
  ]) {
    const query = new URLSearchParams(queryOfFilter(filter));
    expect(filterFromQuery(ledgerQuery.parse(Object.fromEntries(query)))).toEqual(filter);
  }
  expect(queryOfFilter({ limit: 1_000_000 }).limit).toBe("1000");
});

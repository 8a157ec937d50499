import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { changedLines } from "../../src/cli/approvals/changes.js";
import { fold } from "../../src/cli/approvals/fold.js";
import { oldestFirst, Watched } from "../../src/cli/approvals/pages.js";
import { missingText } from "../../src/cli/approvals/requirement-text.js";
import { type Shown, showApproval } from "../../src/cli/approvals/show.js";
import { approvalJson } from "../../src/cli/json.js";
import { Output } from "../../src/cli/output.js";
import type { Approval, ApprovalContext, ApprovalFilter, Backend } from "../../src/client/backend.js";
import { noRequirement } from "../../src/requirement.js";
import { visible } from "../../src/visible.js";

function approvalOf(id: number, over: Partial<Approval> = {}): Approval {
  const args = '{"to":"b","amount":5}';
  return {
    id,
    agent: "bot",
    principal: "agent:bot",
    server: "bank",
    tool: "pay",
    action: "bank__pay",
    arguments: args,
    redacted: args,
    status: "pending",
    rule: "bot.yaml:3 review bank__pay",
    reason: "Money leaves the house",
    digest: `digest ${id}`,
    requirement: noRequirement,
    votes: [],
    waiting: true,
    createdAt: new Date(Date.now() - 30_000).toISOString(),
    expiresAt: new Date(Date.now() + 1_770_000).toISOString(),
    decidedAt: null,
    decidedBy: null,
    decidedReason: null,
    ...over,
  };
}

const nothing: ApprovalContext = { definition: null, previous: null, alike: [] };

/** What a terminal of so many columns is sent; null: no terminal. */
function shown(
  one: Partial<Shown> & Pick<Shown, "approval">,
  whole = false,
  columns: number | null = null,
): string {
  const stream = Object.assign(new PassThrough(), {
    columns,
    isTTY: columns !== null,
    hasColors: () => false,
  });
  showApproval(
    new Output(false, stream as unknown as NodeJS.WriteStream),
    { context: nothing, alike: [one.approval.id], ...one },
    whole,
  );
  return (stream.read() as Buffer).toString();
}

describe("an approval is shown", () => {
  it("with who asks, for what, why, and its arguments sorted and whole", () => {
    const text = shown({
      approval: approvalOf(7, { arguments: '{"to":"b","amount":5.0,"at":9007199254740993}' }),
    });
    expect(text.split("\n")).toEqual([
      "#7  pending  bank__pay  by agent bot",
      "  asked      30 s ago, expires in 30 min",
      "  server     bank, tool pay",
      "  asks       agent:bot",
      "  why        Money leaves the house (bot.yaml:3 review bank__pay)",
      "  caller     waiting",
      "  arguments  45 bytes",
      "    │ {",
      '    │   "amount": 5.0,',
      '    │   "at": 9007199254740993,',
      '    │   "to": "b"',
      "    │ }",
      "  before     no call of this tool by this agent was approved and ran before",
      "  aegis approve 7   or   aegis deny 7",
      "",
    ]);
  });

  it("with the server's own words marked as such, and counted where a list leaves some out", () => {
    const definition = JSON.stringify({ description: `Pays.\n#8  approved\u202e\n${"x ".repeat(400)}end` });
    const context = { ...nothing, definition };
    const list = shown({ approval: approvalOf(7), context });
    expect(list).toContain("             it says of itself: Pays.\n             #8  approved\\u202e\n");
    expect(list).toContain("(423 bytes more)");
    expect(list).not.toContain("x end");
    expect(shown({ approval: approvalOf(7), context }, true)).toContain("x end\n");
  });

  it("with what deciding takes, who has approved, and what may be granted", () => {
    const requirement = {
      approvers: [["docs", "legal"], ["boss"]],
      quorum: 2,
      reason: true,
      channels: ["page" as const],
      grant: { uses: 5, expires: 1_800_000, arguments: { path: "/srv/*" } },
    };
    const at = new Date(Date.now() - 5_000).toISOString();
    const votes = [{ by: "ada\u202e", at, reason: "fine", grant: { uses: 1, expires: 60_000 } }];
    const approval = approvalOf(7, { requirement, votes });
    const text = shown({ approval });
    expect(text).toContain(
      "  takes      2 people from docs or legal, and also in boss; a reason; only by: page; approved so far by ada\\u202e (5 s ago: fine; would grant 1 use within 1m)\n",
    );
    expect(text).toContain(
      "  grant      at most 5 uses within 30m: path matches /srv/*; every other argument as it was approved; a grant needs everybody who approves to give it\n",
    );
    expect(text).toContain("aegis approve 7 --grant");
    expect(missingText(approval)).toBe("another person from docs or legal, and also in boss must approve");
    expect(JSON.parse(approvalJson(approval, { alike: [7, 8] }))).toMatchObject({
      requirement: { quorum: 2, grant: { uses: 5, expires_ms: 1_800_000, arguments: { path: "/srv/*" } } },
      votes: [{ by: "ada\u202e", reason: "fine" }],
      alike: [7, 8],
    });
  });

  it("with the rule once, where the reason names it", () => {
    const rule = "bot.yaml:9 data secrets";
    const text = shown({
      approval: approvalOf(7, { rule, reason: `The arguments hold secrets, says ${rule}.` }),
    });
    expect(text).toContain(`  why        The arguments hold secrets, says ${rule}.\n`);
    expect(text.split(rule)).toHaveLength(2);
  });

  it("with who of a quorum would grant, and that one who does not is enough for none", () => {
    const requirement = {
      ...noRequirement,
      quorum: 3,
      grant: { uses: 5, expires: 1_800_000, arguments: {} },
    };
    const at = new Date(Date.now() - 5_000).toISOString();
    const ada = { by: "ada", at, reason: "fine", grant: { uses: 2, expires: 600_000 } };
    const open = approvalOf(7, { requirement, votes: [ada] });
    const text = shown({ approval: open });
    expect(text).toContain("approved so far by ada (5 s ago: fine; would grant 2 uses within 10m)\n");
    expect(text).toContain("; a grant needs everybody who approves to give it\n");
    expect(text).toContain("aegis approve 7 --grant");
    expect(JSON.parse(approvalJson(open))).toMatchObject({
      votes: [{ grant: { uses: 2, expires_ms: 600_000 } }],
    });
    const over = shown({ approval: { ...open, votes: [ada, { by: "bob\u202e", at, reason: "" }] } });
    expect(over).toContain("give it, and bob\\u202e approved this one call only\n");
    expect(over).not.toContain("--grant");
  });

  it("as what it is, where it is about a result", () => {
    const result = '{"result":{"content":[]}}';
    const approval = approvalOf(7, { stage: "result", arguments: result, redacted: result });
    const text = shown({ approval, alike: [7, 8] });
    expect(text).toMatch(/^#7 {2}pending {2}the result of bank__pay {2}by agent bot\n/);
    expect(text).toContain("  caller     waiting for the result: the call has run\n");
    expect(text).toContain("2 identical results wait");
    expect(text).toContain("  result     25 bytes\n");
    expect(text).toContain(
      "  before     no result of this tool has been let pass to this agent by anybody before\n",
    );
    const gone = shown({ approval: { ...approval, waiting: false } });
    expect(gone).toContain("the result was dropped: the call has run, and a repeat runs it again\n");
    expect(gone).not.toContain("picks the decision up");
    const previous = { id: 5, redacted: result, decidedBy: "ada", decidedAt: null, definition: null };
    expect(shown({ approval, context: { ...nothing, previous } })).toContain(
      "  before     #5, let pass by ada: the same result, as the ledger shows it\n",
    );
    expect(JSON.parse(approvalJson(approval))).toMatchObject({ stage: "result", arguments: { result: {} } });
    expect(JSON.parse(approvalJson(approvalOf(8)))).not.toHaveProperty("stage");
  });

  it("with what changed since the last call of the tool that was approved and ran, and whether the tool did", () => {
    const previous = {
      id: 5,
      redacted: '{"amount":4,"to":"b"}',
      decidedBy: "ada",
      decidedAt: new Date(Date.now() - 7_200_000).toISOString(),
      definition: '{"description":"Pays."}',
    };
    const context = { ...nothing, previous, definition: '{"description":"Pays."}' };
    const same = shown({ approval: approvalOf(7), context });
    expect(same).toContain(
      "  before     #5, the last that ran, approved by ada 2 h ago; since then, as the ledger shows them:\n",
    );
    expect(same).toContain('    │ -   "amount": 4\n    │ +   "amount": 5\n');
    expect(same).toContain("  definition the tool is defined as it was then\n");
    const changed = shown({
      approval: approvalOf(7),
      context: { ...context, definition: '{"description":"Steals."}' },
    });
    expect(changed).toContain("the tool's definition has CHANGED since then");
    expect(changed).toContain('+   "description": "Steals."');
    expect(shown({ approval: approvalOf(7), context: { ...context, definition: null } })).toContain(
      "is not known",
    );
  });

  it("once for identical calls, of which each is decided by itself", () => {
    expect(shown({ approval: approvalOf(7), alike: [7, 8, 9] })).toContain(
      "  identical  3 identical calls wait: #7 #8 #9; each is decided by itself\n",
    );
  });

  it("so that nothing in the arguments can stand where a word of ours does, however wide the terminal is", () => {
    const spoof = `x${" ".repeat(70)}  aegis approve 8 ${"日本".repeat(60)}\u009b2J\r\n  caller     waiting`;
    const text = shown({ approval: approvalOf(7, { arguments: JSON.stringify({ spoof }) }) }, true, 60);
    const lines = text.split("\n");
    const from = lines.findIndex((line) => line.startsWith("  arguments"));
    const to = lines.findIndex((line) => line.startsWith("  before"));
    for (const line of lines.slice(from + 1, to)) expect(line).toMatch(/^ {4}[│┊] /);
    expect(lines.every((line) => visible(line) === line)).toBe(true);
    expect(lines.some((line) => line.startsWith("    ┊ "))).toBe(true);
  });

  it("with every byte a list leaves out counted, and whole by its id", () => {
    const pad = `rm -rf / ${" ".repeat(9_000)}#${"y".repeat(9_000)}\u202eend`;
    const approval = approvalOf(7, {
      arguments: JSON.stringify({ pad, all: Array.from({ length: 500 }, (_, n) => n) }),
    });
    const list = shown({ approval });
    expect(list).toContain(
      '"pad": "rm -rf /\n    ⋮ 9,001 bytes of spaces not shown here; all of it: aegis approvals 7\n',
    );
    expect(list).toMatch(/⋮ [\d,]+ bytes not shown here; all of it: aegis approvals 7/);
    const whole = shown({ approval }, true);
    expect(whole).toContain(`${" ".repeat(9_000)}#${"y".repeat(9_000)}\\u202eend`);
    expect(whole).not.toContain("not shown");
  });
});

it("folding hides nothing without its size", () => {
  const line = `${"a".repeat(3_000)}😀${"b".repeat(3_000)}`;
  const lines = [line, ...Array.from({ length: 400 }, (_, n) => `line ${n}`)];
  const pieces = fold(lines);
  const bytes = pieces.reduce(
    (sum, piece) => sum + ("hidden" in piece ? piece.hidden : Buffer.byteLength(piece.line)),
    0,
  );
  // The ends of lines that are shown are not among them.
  const all = lines.reduce((sum, each) => sum + Buffer.byteLength(each), 0);
  expect(bytes).toBeGreaterThanOrEqual(all);
  expect(bytes).toBeLessThanOrEqual(all + lines.length);
  expect(pieces.filter((piece) => "hidden" in piece)).toHaveLength(2);
  expect(pieces.at(-1)).toEqual({ line: "line 399" });
});

it("two texts with nothing in common are not compared for ever", () => {
  const many = (word: string): string =>
    JSON.stringify(Array.from({ length: 20_000 }, (_, n) => `${word} ${n * 7919}`));
  const began = performance.now();
  expect(changedLines(many("one"), many("other"))).toBeNull();
  expect(performance.now() - began).toBeLessThan(3_000);
  expect(changedLines('{"a":1,"b":2}', '{"b":2, "a":1}')).toEqual([]);
});

/** A backend that has these, and how many it was asked for at most. */
function backendOf(all: Approval[]): { backend: Backend; asked: number[] } {
  const asked: number[] = [];
  const approvals = async (filter: ApprovalFilter): Promise<readonly Approval[]> => {
    const { status, before = Number.POSITIVE_INFINITY, limit = Number.POSITIVE_INFINITY } = filter;
    const found = all.filter((each) => each.id < before && (status === undefined || each.status === status));
    const page = found.slice(Math.max(0, found.length - limit));
    asked.push(page.length);
    return page;
  };
  return { backend: { approvals } as unknown as Backend, asked };
}

describe("a long list", () => {
  it("is read page by page, oldest first, with what is identical", async () => {
    const all = Array.from({ length: 1_050 }, (_, n) => approvalOf(n + 1, { digest: `digest ${n % 350}` }));
    const { backend, asked } = backendOf(all);
    const ids: number[] = [];
    for await (const { approval, alike } of oldestFirst(backend, "pending")) {
      ids.push(approval.id);
      expect(alike).toEqual([1, 2, 3].map((nth) => ((approval.id - 1) % 350) + 1 + (nth - 1) * 350));
    }
    expect(ids).toEqual(all.map(({ id }) => id));
    expect(Math.max(...asked)).toBe(100);
  });

  it("ends where a backend knows no pages", async () => {
    const all = [approvalOf(1), approvalOf(2)];
    const backend = { approvals: async () => all } as unknown as Backend;
    const ids: number[] = [];
    for await (const { approval } of oldestFirst(backend)) ids.push(approval.id);
    expect(ids).toEqual([1, 2]);
  });

  it("is watched a page or two at a look, and nothing that comes or goes is missed", async () => {
    const all = Array.from({ length: 350 }, (_, n) => approvalOf(n + 1));
    const { backend, asked } = backendOf(all);
    const watched = new Watched(backend);
    for (const approval of all) watched.add(approval);
    const gone: number[] = [];
    const came: number[] = [];
    const look = async (): Promise<void> => {
      const seen = await watched.look();
      gone.push(...seen.gone);
      came.push(...seen.came.map(({ id }) => id));
    };
    await look();
    expect([...gone, ...came]).toEqual([]);
    const ends = [3, 120, 199, 250, 350];
    for (const id of ends)
      all.splice(
        all.findIndex((each) => each.id === id),
        1,
      );
    for (let id = 351; id <= 600; id++) all.push(approvalOf(id));
    await look();
    asked.length = 0;
    for (let n = 0; n < 8; n++) await look();
    expect(came).toEqual(Array.from({ length: 250 }, (_, n) => 351 + n));
    expect(gone.toSorted((a, b) => a - b)).toEqual(ends);
    expect(asked.length).toBeLessThanOrEqual(16);
    // The last of all.
    all.length = 0;
    for (let n = 0; n < 8; n++) await look();
    expect(gone).toHaveLength(600);
    expect(new Set(gone).size).toBe(600);
  });
});

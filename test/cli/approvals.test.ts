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
      "  before     no call of this tool by this agent has been approved before",
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
    const votes = [{ by: "ada\u202e", at: new Date(Date.now() - 5_000).toISOString(), reason: "fine" }];
    const approval = approvalOf(7, { requirement, votes });
    const text = shown({ approval });
    expect(text).toContain(
      "  takes      2 people from docs or legal, and also in boss; a reason; only by: page; approved so far by ada\\u202e (5 s ago: fine)\n",
    );
    expect(text).toContain(
      "  grant      at most 5 uses within 30m: path matches /srv/*; every other argument as it was approved\n",
    );
    expect(text).toContain("aegis approve 7 --grant");
    expect(missingText(approval)).toBe("another person from docs or legal, and also in boss must approve");
    expect(JSON.parse(approvalJson(approval, { alike: [7, 8] }))).toMatchObject({
      requirement: { quorum: 2, grant: { uses: 5, expires_ms: 1_800_000, arguments: { path: "/srv/*" } } },
      votes: [{ by: "ada\u202e", reason: "fine" }],
      alike: [7, 8],
    });
  });

  it("with what changed since the last approved call of the tool, and whether the tool did", () => {
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
      "  before     #5, approved by ada 2 h ago; since then, as the ledger shows them:\n",
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

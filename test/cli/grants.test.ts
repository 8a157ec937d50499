import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { approve, deny } from "../../src/cli/approvals/decide.js";
import { list, revoke } from "../../src/cli/approvals/grants.js";
import { run as approvals } from "../../src/cli/approvals/list.js";
import type { Context } from "../../src/cli/context.js";
import { Output } from "../../src/cli/output.js";
import { agent, intent, makeHome, open, person } from "../fixtures/backend/store.js";
import { jsonLines } from "../fixtures/gateway.js";

const policy = `
agent: claude-*
on_change: allow
default: block
data:
  - { detect: custom, name: salary, pattern: 'salary', then: review, in: results }
allow: [files__read]
review:
  - files__write
  - action: files__publish
    approval:
      approvers: [docs-team, legal]
      quorum: 2
      reason: required
      grant: { uses: 5, expires: 30m, arguments: { path: "/srv/drafts/*" } }
`;

let place: ReturnType<typeof makeHome>;
let backend: Service;
let gateway: string;
beforeEach(async () => {
  place = makeHome();
  writeFileSync(join(place.policies, "claude.yaml"), policy);
  backend = await open(place);
  gateway = await backend.attach({ pid: process.pid, label: "wrap", address: null });
});
afterEach(async () => {
  await backend.close();
  place.remove();
});

async function ask(tool: string, text = '{"path":"/srv/drafts/a","mode":1}'): Promise<number> {
  return (await backend.decide(intent(gateway, tool, text))).approval?.id ?? 0;
}

async function tokenOf(name: string, group: string): Promise<string> {
  return (await backend.createToken({ name, role: "approver", groups: [group] }, person())).token;
}

interface Said {
  readonly code: number;
  readonly stdout: string;
}

/** One command in this process, as `main.ts` runs it. */
async function command(
  run: (context: Context) => Promise<number>,
  { json = false, token }: { json?: boolean; token?: string } = {},
): Promise<Said> {
  const stream = new PassThrough();
  const context: Context = {
    env: token === undefined ? {} : { AEGIS_TOKEN: token },
    home: place.home,
    out: new Output(json, stream as unknown as NodeJS.WriteStream),
    embedded: async () => openBackend,
  };
  const code = await run(context);
  return { code, stdout: ((stream.read() as Buffer | null) ?? "").toString() };
}

describe("a quorum", () => {
  it("is reached by distinct people of the groups, each of whom is told what is missing", async () => {
    const id = await ask("publish");
    const [ada, bob] = [await tokenOf("ada", "docs-team"), await tokenOf("bob", "legal")];
    const by = (token: string, reason = "read it"): Promise<Said> =>
      command((context) => approve.run(context, { reason }, [String(id)]), { token });

    await expect(
      command((context) => approve.run(context, { reason: "x" }, [String(id)])),
    ).rejects.toMatchObject({
      code: "not_permitted",
    });
    await expect(by(ada, "")).rejects.toMatchObject({ hint: expect.stringContaining("--reason") });
    expect((await by(ada)).stdout).toMatch(
      new RegExp(
        `^Counted for #${id}, files__publish by agent ${agent}: 1 of 2 approvals; another person from docs-team or legal ` +
          "must approve before it expires \\(in .*\\)\\.\n$",
      ),
    );
    await expect(by(ada)).rejects.toThrow();
    expect((await command((context) => approvals(context, {}, [String(id)]))).stdout).toContain(
      "takes      2 people from docs-team or legal; a reason; approved so far by ada",
    );
    expect((await by(bob)).stdout).toMatch(
      /^Approved #\d+, files__publish .*: the waiting call goes on, once\.\n$/,
    );
    expect(await backend.approval(id)).toMatchObject({ status: "approved" });
  });

  it("is ended by one who denies", async () => {
    const id = await ask("publish");
    const token = await tokenOf("ada", "docs-team");
    const said = await command((context) => deny.run(context, { reason: "no" }, [`#${id}`]), { token });
    expect(said.stdout).toMatch(/^Denied #\d+, .*: it does not run\.\n$/);
    expect(await backend.approval(id)).toMatchObject({ status: "denied", decidedBy: "ada" });
  });
});

describe("who decides on the embedded backend", () => {
  it("is whom AEGIS_TOKEN stands for, and without it the user of the machine", async () => {
    const [one, two] = [await ask("write"), await ask("write", '{"path":"/b"}')];
    await command((context) => approve.run(context, { reason: "" }, [String(one)]));
    expect(await backend.approval(one)).toMatchObject({ decidedBy: expect.stringMatching(/^os:/) });
    const token = await tokenOf("ada", "docs-team");
    await command((context) => approve.run(context, { reason: "" }, [String(two)]), { token });
    expect(await backend.approval(two)).toMatchObject({ decidedBy: "ada" });
  });

  it("is nobody where that token does not hold: never another identity", async () => {
    const id = await ask("write");
    const { id: number, token } = await backend.createToken({ name: "ada", role: "admin" }, person());
    await backend.revokeToken(number, person());
    for (const wrong of [token, "nonsense"]) {
      const tried = command((context) => approve.run(context, { reason: "" }, [String(id)]), {
        token: wrong,
      });
      await expect(tried).rejects.toMatchObject({
        code: "not_permitted",
        message: expect.stringContaining("AEGIS_TOKEN"),
      });
      await expect(tried).rejects.not.toThrow(wrong);
    }
    expect(await backend.approval(id)).toMatchObject({ status: "pending" });
    expect((await command((context) => approve.run(context, { reason: "" }, [String(id)]))).code).toBe(0);
  });

  it("may not be a token that runs tools", async () => {
    const id = await ask("write");
    const { token } = await backend.createToken({ name: "gw", role: "agent" }, person());
    const tried = command((context) => approve.run(context, { reason: "" }, [String(id)]), { token });
    await expect(tried).rejects.toMatchObject({ code: "not_permitted" });
    expect(await backend.approval(id)).toMatchObject({ status: "pending" });
  });
});

describe("a grant", () => {
  async function granted(): Promise<Said> {
    const id = await ask("publish");
    const [ada, bob] = [await tokenOf("ada", "docs-team"), await tokenOf("bob", "legal")];
    const how = { reason: "weekly", grant: true, uses: 2 };
    const first = await command((context) => approve.run(context, how, [String(id)]), { token: ada });
    expect(first.stdout).toContain(
      "Nothing is granted yet: a grant needs everybody who approves to give it.\n",
    );
    return command((context) => approve.run(context, how, [String(id)]), { token: bob });
  }

  it("says what it covers and how it is taken back, is listed, and ends when it is revoked", async () => {
    expect((await command((context) => list.run(context, {}, []))).stdout).toBe(
      "Nothing is granted: every call is asked for.\n",
    );
    expect((await granted()).stdout).toMatch(
      /Granted 2 more such calls, until it expires \(in 30 min\), to stdio:claude-desktop: path matches \/srv\/drafts\/\*; every other argument as it was approved\.\nTake it back: aegis grants revoke 1\n$/,
    );
    const other = intent(gateway, "publish", '{"path":"/srv/drafts/b","mode":1}');
    expect(await backend.decide(other)).toMatchObject({ decision: "ALLOW" });
    const shown = await command((context) => list.run(context, {}, []));
    expect(shown.stdout).toContain(
      `grant 1  active  files__publish  by agent ${agent}\n  left       1 of 2 uses left, expires in`,
    );
    expect(shown.stdout).toContain(
      "  covers     path matches /srv/drafts/*; every other argument as it was approved\n",
    );
    const [listed] = jsonLines(
      (await command((context) => list.run(context, {}, []), { json: true })).stdout,
    );
    expect(listed).toMatchObject({
      id: 1,
      status: "active",
      uses: 2,
      left: 1,
      arguments: { path: "/srv/drafts/*" },
    });

    expect((await command((context) => revoke.run(context, { reason: "over" }, ["1"]))).stdout).toMatch(
      /^Revoked grant 1/,
    );
    const next = intent(gateway, "publish", '{"path":"/srv/drafts/c","mode":1}');
    expect(await backend.decide(next)).toMatchObject({ decision: "REVIEW" });
    expect((await command((context) => list.run(context, {}, []))).stdout).toContain("Nothing is granted");
    expect((await command((context) => list.run(context, { all: true }, []))).stdout).toContain(
      "grant 1  revoked",
    );
  });

  it("needs everybody who approves to give it, and whoever wanted one is told who did not", async () => {
    const [ada, bob] = [await tokenOf("ada", "docs-team"), await tokenOf("bob", "legal")];
    const by = (token: string, id: number, grant: boolean, json = false): Promise<Said> =>
      command(
        (context) => approve.run(context, { reason: "weekly", ...(grant ? { grant } : {}) }, [`${id}`]),
        {
          token,
          json,
        },
      );
    const everybody = "a grant needs everybody who approves to give it.\n";

    const one = await ask("publish");
    expect((await by(ada, one, false)).stdout).not.toContain("grant");
    expect((await by(bob, one, true)).stdout).toContain(
      `\nNothing was granted: ada approved this one call only; ${everybody}`,
    );
    const two = await ask("publish", '{"path":"/srv/drafts/b"}');
    await by(ada, two, true);
    expect((await backend.approval(two)).votes).toMatchObject([
      { by: "ada", grant: { uses: 5, expires: 1_800_000 } },
    ]);
    expect((await by(bob, two, false)).stdout).toContain(
      `\nNothing was granted: bob approved this one call only; ${everybody}`,
    );
    const three = await ask("publish", '{"path":"/srv/drafts/c"}');
    await by(ada, three, false);
    expect(JSON.parse((await by(bob, three, true, true)).stdout)).toMatchObject({
      grant: null,
      votes: [{ by: "ada" }, { by: "bob", grant: { uses: 5, expires_ms: 1_800_000 } }],
    });
    const four = await ask("publish", '{"path":"/srv/drafts/d"}');
    await by(ada, four, false);
    expect((await by(bob, four, false)).stdout).not.toContain("grant");
    expect(await backend.grants(true)).toEqual([]);
  });

  it("that does not exist is an error with a hint", async () => {
    await expect(command((context) => revoke.run(context, { reason: "" }, ["7"]))).rejects.toMatchObject({
      code: "unknown_grant",
      hint: expect.stringContaining("aegis grants"),
    });
  });

  it("is not given by --uses alone, nor where the policy offers none", async () => {
    const id = await ask("write");
    const with_ = (how: object): Promise<Said> =>
      command((context) => approve.run(context, { reason: "", ...how }, [String(id)]));
    await expect(with_({ uses: 2 })).rejects.toMatchObject({ code: "usage" });
    await expect(with_({ grant: true })).rejects.toThrow("offers no grant");
    expect(await backend.approval(id)).toMatchObject({ status: "pending" });
  });
});

describe("a held result", () => {
  async function held(said: string): Promise<{ readonly id: number; readonly call: string }> {
    const call = intent(gateway, "read", "{}");
    await backend.decide(call);
    const parsed = { result: { content: [{ type: "text", text: `${said}: her salary` }] } };
    const answer = {
      call: `${call.call}.result`,
      stage: "result",
      arguments: JSON.stringify(parsed),
      parsed,
    } as const;
    const id = (await backend.decide({ ...call, ...answer })).approval?.id ?? 0;
    return { id, call: answer.call };
  }

  it("is not told of as a call that is still to run", async () => {
    const by = async (run: typeof approve, id: number): Promise<string> =>
      (await command((context) => run.run(context, { reason: "" }, [`${id}`]))).stdout;
    const [waiting, gone, denied] = [await held("one"), await held("two"), await held("three")];
    const what = (id: number): string =>
      `#${id}, the result of files__read by agent ${agent}. The call has run. Its result:`;
    expect(await by(approve, waiting.id)).toBe(
      `Approved ${what(waiting.id)} passed to the waiting caller.\n`,
    );
    await backend.detachWaiter(gone.id, gone.call);
    const late = await by(approve, gone.id);
    expect(late).toContain(
      `Approved ${what(gone.id)} dropped, as its caller is gone; a repeat runs the call again`,
    );
    expect(late).not.toContain("runs once");
    expect(await by(deny, denied.id)).toBe(`Denied ${what(denied.id)} withheld.\n`);
  });

  it("is told apart in --json", async () => {
    const { id } = await held("one");
    await ask("write");
    const { stdout } = await command((context) => approvals(context, {}, []), { json: true });
    expect(
      jsonLines<{ id: number; stage?: string }>(stdout).map(({ id: each, stage }) => [each, stage]),
    ).toEqual([
      [id, "result"],
      [id + 1, undefined],
    ]);
  });
});

it("identical calls are one entry of the list, and one decision releases one of them", async () => {
  const ids = [await ask("write"), await ask("write"), await ask("write")];
  const shown = await command((context) => approvals(context, {}, []));
  expect(shown.stdout.match(/^#\d+ /gm)).toHaveLength(1);
  expect(shown.stdout).toContain(
    `3 identical calls wait: ${ids.map((id) => `#${id}`).join(" ")}; each is decided by itself`,
  );
  const json = await command((context) => approvals(context, {}, []), { json: true });
  expect(jsonLines<{ id: number; alike: number[] }>(json.stdout).map(({ id, alike }) => [id, alike])).toEqual(
    ids.map((id) => [id, ids]),
  );
  await command((context) => approve.run(context, { reason: "" }, [String(ids[0])]));
  expect((await backend.approvals({ status: "pending" })).map(({ id }) => id)).toEqual(ids.slice(1));
});

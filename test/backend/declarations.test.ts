/** What an agent declares holds wherever its calls come from: also through a gateway. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Principal } from "../../src/client/backend.js";
import { type Compat, stores } from "../fixtures/backend/compat.js";
import { agent, intent, person } from "../fixtures/backend/store.js";

const own: Principal = { name: "sdk", role: "agent", agent, groups: [], token: null };

describe.each(stores)("declarations over $name", ({ available, start }) => {
  let server: Compat;
  let gateway: string;
  beforeEach(async ({ skip }) => {
    if (!available) skip("there is no PostgreSQL here");
    server = await start();
    await server.service.ensureAgent(agent);
    gateway = await server.service.attach({ pid: 1, label: "wrap files", address: null });
  });
  afterEach(() => server?.close());

  const decide = async (tool: string) => {
    const { decision, rule } = await server.service.decide(intent(gateway, tool));
    return [decision, rule];
  };
  const declare = (action: string, rule: "ALLOW" | "BLOCK" | "REVIEW", trusted = false, by = own) =>
    server.service.declare({ agent, action, rule, trusted }, by);

  it("tighten what a file allows, and allow nothing that a file speaks of", async () => {
    await server.publish({ "bot.yaml": `agent: ${agent}\nallow: ['files__*']\nblock: [files__drop]` });
    expect(await decide("read")).toEqual(["ALLOW", "bot.yaml:2 allow files__*"]);
    await declare("files__read", "BLOCK");
    await declare("files__list", "REVIEW");
    await declare("files__drop", "ALLOW", true);
    expect(await decide("read")).toEqual(["BLOCK", "declared block files__read"]);
    expect(await decide("list")).toEqual(["REVIEW", "declared review files__list"]);
    expect(await decide("drop")).toEqual(["BLOCK", "bot.yaml:3 block files__drop"]);
    expect(await decide("other")).toEqual(["ALLOW", "bot.yaml:2 allow files__*"]);
    // A function of the agent's own is another tool.
    await declare("other", "BLOCK");
    expect(await decide("other")).toEqual(["ALLOW", "bot.yaml:2 allow files__*"]);
  });

  it("allow where they are trusted and no file speaks, and no tool that nobody has accepted", async () => {
    // A function of the agent's own needs no acceptance; a tool of a server does.
    const decideOwn = async () => {
      const call = { ...intent(gateway, "read"), server: "sdk", action: "sdk__read" };
      const { decision, rule } = await server.service.decide(call);
      return [decision, rule];
    };
    expect((await decideOwn())[0]).toBe("REVIEW");
    await declare("read", "ALLOW");
    expect((await decideOwn())[0]).toBe("REVIEW");
    await declare("read", "ALLOW", true);
    await declare("files__read", "ALLOW", true);
    expect(await decideOwn()).toEqual(["ALLOW", "declared allow sdk__read"]);
    expect(await decide("read")).toEqual(["REVIEW", null]);
    await server.publish({ "bot.yaml": `agent: ${agent}\ndefault: block` });
    expect(await decideOwn()).toEqual(["BLOCK", null]);
  });

  it("are asked again at the release of a hold", async () => {
    await server.publish({ "bot.yaml": `agent: ${agent}\nreview: ['files__*']` });
    const call = intent(gateway, "write");
    const { approval } = await server.service.decide(call);
    const id = approval?.id ?? 0;
    await server.service.decideApproval(id, "approved", person(), "");
    await declare("files__write", "BLOCK");
    expect(await server.service.release(call, id)).toMatchObject({
      decision: "BLOCK",
      rule: "declared block files__write",
    });
    expect((await server.service.approval(id)).status).toBe("void");
  });

  it("hold in the very transaction that follows, from many sides at once", async () => {
    await server.publish({ "bot.yaml": `agent: ${agent}\nallow: ['files__*']` });
    const admin = person("os:eve");
    await Promise.all([
      ...Array.from({ length: 10 }, () => declare("files__read", "ALLOW", true)),
      ...Array.from({ length: 10 }, () => server.service.register(agent, "")),
      declare("files__read", "BLOCK", true, admin),
    ]);
    expect((await decide("read"))[0]).toBe("BLOCK");
    expect(await server.service.ruleOf(agent, "files__read")).toBe("BLOCK");
    expect((await server.service.verify()).ok).toBe(true);
  });

  it("are not for people who decide, nor for a name that is none", async () => {
    for (const role of ["approver", "auditor"] as const)
      await expect(declare("x", "BLOCK", false, person("os:bob", role))).rejects.toMatchObject({
        code: "not_permitted",
      });
    await expect(declare("a\0b", "BLOCK")).rejects.toMatchObject({ code: "usage" });
    expect(await server.service.declarations(agent)).toEqual([]);
  });
});

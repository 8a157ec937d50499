import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Backend, BackendEvent } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, person } from "../fixtures/backend/store.js";

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Backend;
  let gateway: string;

  beforeEach(async () => {
    place = await make();
    backend = await open(place);
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });

  describe("a kill", () => {
    test("is persisted, recorded, voids every open approval, and names the gateways that confirmed", async () => {
      const pending = await backend.decide(intent(gateway, "write", '{"n":1}'));
      const approved = await backend.decide(intent(gateway, "write", '{"n":2}'));
      const ids = [pending.approval?.id ?? 0, approved.approval?.id ?? 0];
      await backend.decideApproval(ids[1] ?? 0, "approved", person(), "");
      const receipt = await backend.kill(agent, person("os:eve"), "it runs wild");
      expect(receipt).toEqual({
        agent,
        already: false,
        gateways: [{ id: gateway, pid: process.pid, confirmed: true }],
        voided: 2,
      });
      for (const id of ids) expect(await backend.approval(id)).toMatchObject({ status: "void" });
      expect(await backend.agents()).toMatchObject([
        { name: agent, status: "KILLED", killed: { by: "os:eve", reason: "it runs wild" } },
      ]);
      const kinds = (await backend.records({ limit: 3 })).map(({ kind, decision }) => decision ?? kind);
      expect(kinds).toEqual(["kill", "void", "void"]);
    });

    test("stops what was approved and not yet released, and what is approved later", async () => {
      const call = intent(gateway, "write");
      const id = (await backend.decide(call)).approval?.id ?? 0;
      await backend.decideApproval(id, "approved", person(), "");
      await backend.kill(agent, person(), "");
      expect((await backend.release(call, id)).decision).toBe("KILLED");
      await expect(backend.decideApproval(id, "approved", person(), "")).rejects.toMatchObject({
        code: "approval_settled",
      });
    });

    test("of an agent nobody has seen changes nothing and names the nearest", async () => {
      await expect(backend.kill("claude-destkop", person(), "")).rejects.toMatchObject({
        code: "unknown_agent",
        hint: `Did you mean "${agent}"?`,
      });
      expect((await backend.decide(intent(gateway))).decision).toBe("ALLOW");
    });

    test("is said to have held already, and is not recorded twice", async () => {
      await backend.kill(agent, person(), "first");
      const records = await backend.records({ limit: 100 });
      expect(await backend.kill(agent, person("os:bob"), "second")).toMatchObject({
        already: true,
        voided: 0,
      });
      expect(await backend.records({ limit: 100 })).toEqual(records);
      expect(await backend.agents()).toMatchObject([{ killed: { by: "os:ada", reason: "first" } }]);
    });

    test("waits for the listeners, which may take their time", async () => {
      let finished = false;
      backend.subscribe(async (event) => {
        if (event.kind !== "kill") return;
        await new Promise((resolve) => setTimeout(resolve, 100));
        finished = true;
      });
      const receipt = await backend.kill(agent, person(), "");
      expect(finished).toBe(true);
      expect(receipt.gateways).toMatchObject([{ confirmed: true }]);
    });

    test("does not wait for a listener that hangs longer than the leases can last", async () => {
      backend.subscribe(() => new Promise(() => {}));
      const before = performance.now();
      const receipt = await backend.kill(agent, person(), "");
      expect(receipt.gateways).toMatchObject([{ id: gateway, confirmed: false }]);
      expect(performance.now() - before).toBeGreaterThanOrEqual(200);
      expect(performance.now() - before).toBeLessThan(1_000);
    });

    test("is not confirmed by a listener that failed", async () => {
      backend.subscribe((event) => {
        if (event.kind === "kill") throw new Error("no");
      });
      expect((await backend.kill(agent, person(), "")).gateways).toMatchObject([{ confirmed: false }]);
    });

    test("is not confirmed by what happens after a listener failed with it", async () => {
      const { id } = await backend.createToken({ name: "ci", role: "auditor" }, person());
      backend.subscribe(async (event) => {
        if (event.kind !== "kill") return;
        // Well within the time that the kill waits.
        setImmediate(() => void backend.revokeToken(id, person()));
        throw new Error("no");
      });
      expect((await backend.kill(agent, person(), "")).gateways).toMatchObject([{ confirmed: false }]);
    });

    test("is not held up by what listeners do with other events", async () => {
      backend.subscribe((event) => (event.kind === "approval" ? new Promise(() => {}) : undefined));
      const kills: BackendEvent[] = [];
      backend.subscribe((event) => {
        if (event.kind === "kill") kills.push(event);
      });
      await backend.decide(intent(gateway, "write"));
      await backend.kill(agent, person(), "");
      expect(kills).toEqual([{ kind: "kill", agent }]);
    });

    test("and decisions in one turn: whatever is written after the kill is KILLED", async () => {
      const [before, , after] = await Promise.all([
        backend.decide(intent(gateway)),
        backend.kill(agent, person(), ""),
        backend.decide(intent(gateway)),
      ]);
      expect([before.decision, after.decision]).toEqual(["ALLOW", "KILLED"]);
    });

    test.each(["agent", "approver", "auditor"] as const)(
      "takes an admin, not a principal of role %s",
      async (role) => {
        for (const act of [
          backend.kill(agent, person("eve", role), ""),
          backend.revive(agent, person("eve", role), ""),
        ]) {
          await expect(act).rejects.toMatchObject({ code: "not_permitted" });
        }
      },
    );
  });

  test("a killed agent stays killed over restarts and new registrations, until a person revives it", async () => {
    const held = await backend.decide(intent(gateway, "write"));
    await backend.kill(agent, person(), "");
    await backend.close();
    // Registers it again, under another owner.
    writeFileSync(
      join(place.policies, "claude.yaml"),
      "agent: claude-*\nowner: other-team\nallow: [files__read]\n",
    );
    backend = await open(place);
    expect(await backend.agents()).toMatchObject([{ owner: "other-team", status: "KILLED" }]);
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
    expect((await backend.decide(intent(gateway))).decision).toBe("KILLED");
    await backend.revive(agent, person("os:bob"), "looked into it");
    expect((await backend.decide(intent(gateway))).decision).toBe("ALLOW");
    expect(await backend.approval(held.approval?.id ?? 0)).toMatchObject({ status: "void" });
    const revived = (await backend.records({ limit: 100 })).find(({ kind }) => kind === "revive");
    expect(revived).toMatchObject({ agent, principal: "os:bob", reason: "looked into it" });
    await expect(backend.revive("claude-x", person(), "")).rejects.toMatchObject({ code: "unknown_agent" });
  });

  test("a gateway that said good-bye is not waited for, and not listed", async () => {
    const other = await open(place);
    const gone = await other.attach({ pid: process.pid, label: "gateway", address: "127.0.0.1:8100" });
    expect((await backend.gateways()).map(({ id, address }) => [id, address])).toEqual([
      [gateway, null],
      [gone, "127.0.0.1:8100"],
    ]);
    await other.close();
    expect((await backend.kill(agent, person(), "")).gateways.map(({ id }) => id)).toEqual([gateway]);
  });
});

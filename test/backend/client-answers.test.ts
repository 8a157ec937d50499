import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { Intent } from "../../src/client/backend.js";
import { AegisError } from "../../src/errors.js";
import { holdCall } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, person } from "../fixtures/backend/store.js";

const policy = `
agent: claude-*
default: block
review:
  - { action: files__form, approval: { channels: [client, cli] } }
  - { action: files__usual }
  - { action: files__page, approval: { channels: [page] } }
  - { action: files__both, approval: { channels: [client, cli], quorum: 2 } }
  - { action: files__team, approval: { channels: [client, cli], approvers: [docs-team] } }
  - { action: files__why, approval: { channels: [client, cli], reason: required } }
  - { action: files__soon, approval: { channels: [client], expires: 100ms } }
  - { action: files__grant, approval: { channels: [client], grant: { uses: 5, expires: 1h } } }
`;

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Service;
  let gateway: string;

  beforeEach(async () => {
    place = await make();
    writeFileSync(`${place.policies}/claude.yaml`, policy);
    backend = await open(place);
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });

  const hold = (tool: string) => holdCall({ backend, gateway }, tool);

  const statusOf = async (id: number): Promise<string> => (await backend.approval(id)).status;

  describe("an answer in the client", () => {
    test("approves the call that waits, once, as the client of its agent, and that is recorded", async () => {
      const { id, call } = await hold("form");
      await backend.answerInClient(id, call.call);
      expect(await backend.approval(id)).toMatchObject({
        status: "approved",
        decidedBy: `client:${agent}`,
        decidedReason: "accepted in the client",
        votes: [{ by: `client:${agent}` }],
      });
      await expect(backend.answerInClient(id, call.call)).rejects.toMatchObject({ code: "approval_settled" });
      expect(await backend.release(call, id)).toMatchObject({
        decision: "ALLOW",
        reason: expect.stringContaining(`approved by client:${agent}`),
      });
      expect((await backend.release(intent(gateway, "form"), id)).decision).toBe("BLOCK");
      const records = await backend.records({ limit: 100, kinds: ["approval"] });
      expect(records.filter(({ approval }) => approval === id)).toMatchObject([
        { decision: "approved", principal: `client:${agent}`, reason: "accepted in the client" },
        { decision: "consumed" },
      ]);
    });

    test.each(["usual", "page", "both", "team", "why"])(
      "counts for nothing where the rule asks for more or does not list it: %s",
      async (tool) => {
        const { id, call } = await hold(tool);
        await expect(backend.answerInClient(id, call.call)).rejects.toMatchObject({ code: "not_permitted" });
        expect(await backend.approval(id)).toMatchObject({ status: "pending", votes: [] });
        expect((await backend.release(call, id)).decision).toBe("BLOCK");
        const listed = await hold("form");
        await backend.answerInClient(listed.id, listed.call.call);
        expect((await backend.release(listed.call, listed.id)).decision).toBe("ALLOW");
      },
    );

    test("is for the call that waits now: not for another, one that left, or one behind a gateway that is gone", async () => {
      const [one, two] = [await hold("form"), await hold("form")];
      const other = await backend.attach({ pid: 1, label: "another", address: null });
      for (const call of [two.call.call, `${other}-1`, gateway, "", "nobody"])
        await expect(backend.answerInClient(one.id, call)).rejects.toMatchObject({ code: "not_permitted" });
      await backend.detachWaiter(one.id, one.call.call);
      await expect(backend.answerInClient(one.id, one.call.call)).rejects.toMatchObject({
        code: "not_permitted",
      });
      const remote = { pid: 1, label: "gone", address: null, host: "desk-1" };
      const { id: dead } = await backend.enlist(remote, person("gateway", "agent"));
      const left = intent(dead, "form");
      const { approval } = await backend.decide(left);
      await place.sql("UPDATE gateways SET heartbeat = heartbeat - 60000 WHERE id = ?", dead);
      await expect(backend.answerInClient(approval?.id ?? 0, left.call)).rejects.toMatchObject({
        code: "not_permitted",
      });
      expect(await statusOf(approval?.id ?? 0)).toBe("pending");
      expect(await Promise.all([one, two].map(({ id }) => statusOf(id)))).toEqual(["pending", "pending"]);
      await expect(backend.answerInClient(999_999, one.call.call)).rejects.toMatchObject({
        code: "unknown_approval",
      });
      await backend.answerInClient(two.id, two.call.call);
      expect(await statusOf(two.id)).toBe("approved");
    });

    test("comes too late where a person has decided, the time is over, or the agent was killed", async () => {
      const [denied, killed] = [await hold("form"), await hold("form")];
      await backend.decideApproval(denied.id, "denied", person(), "no");
      const soon = await hold("soon");
      await new Promise((resolve) => setTimeout(resolve, 150));
      const refused = ({ id, call }: { id: number; call: Intent }) =>
        expect(backend.answerInClient(id, call.call)).rejects.toBeInstanceOf(AegisError);
      await refused(denied);
      await refused(soon);
      await backend.kill(agent, person(), "stop");
      await refused(killed);
      expect(await Promise.all([denied, soon, killed].map(({ id }) => statusOf(id)))).toEqual([
        "denied",
        "expired",
        "void",
      ]);
      await backend.revive(agent, person(), "");
      const { id, call } = await hold("form");
      await backend.answerInClient(id, call.call);
      expect((await backend.release(call, id)).decision).toBe("ALLOW");
    });

    test("grants nothing beyond the call", async () => {
      const { id, call } = await hold("grant");
      await backend.answerInClient(id, call.call);
      expect((await backend.release(call, id)).decision).toBe("ALLOW");
      expect(await backend.grants(true)).toEqual([]);
      expect((await backend.decide(intent(gateway, "grant"))).decision).toBe("REVIEW");
    });

    test("has a name in the ledger that no token can have", async () => {
      const named = (name: string) => backend.createToken({ name, role: "approver" }, person());
      for (const name of [`client:${agent}`, "Client:x"])
        await expect(named(name)).rejects.toMatchObject({ code: "usage" });
      await expect(named("clients")).resolves.toMatchObject({ id: expect.any(Number) });
    });
  });
});

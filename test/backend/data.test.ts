import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Intent } from "../../src/client/backend.js";
import { type Governed, govern } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { person } from "../fixtures/backend/store.js";

const policy = `
default: block
on_change: allow
allow:
  - files__read
  - files__post
  - { action: files__short, when: 'args.note.size() < 12' }
review: [files__write]
data:
  - { detect: custom, name: ticket, pattern: 'TCK-[0-9]+', then: redact }
  - { detect: custom, name: ticket, pattern: 'TCK-666', then: block, in: arguments }
  - { detect: card_numbers, then: block, in: [arguments, results], action: files__post }
  - { detect: custom, name: salary, pattern: 'salary', then: review }
`;

const card = "4111111111111111";

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let governed: Governed;

  beforeEach(async () => {
    place = await make();
    governed = await govern(place, policy);
  });
  afterEach(async () => {
    await governed.backend.close();
    await place.remove();
  });

  const records = async () => governed.backend.records({ limit: 100 });

  describe("data in arguments", () => {
    test("that is to be redacted is redacted in what is forwarded, recorded and digested", async () => {
      const verdict = await governed.decide("read", { note: "see TCK-123", n: 1 });
      expect(verdict).toMatchObject({ decision: "ALLOW", arguments: '{"note":"see [ticket]","n":1}' });
      const record = await governed.newest();
      expect(record).toMatchObject({
        arguments: '{"note":"see [ticket]","n":1}',
        findings: "ticket in arguments: redacted",
      });
      await governed.decide("read", { note: "see [ticket]", n: 1 });
      expect(await governed.newest()).toMatchObject({ digest: record.digest });
      expect(JSON.stringify(await records())).not.toContain("TCK-123");
    });

    test("without any is forwarded as it came, and nothing is said of it", async () => {
      const verdict = await governed.decide("read", { note: "see nothing" });
      expect(verdict.decision).toBe("ALLOW");
      expect(verdict.arguments).toBeUndefined();
      expect(await governed.newest()).not.toHaveProperty("findings");
    });

    test("is what an approver sees: what is approved is what is forwarded", async () => {
      const call = governed.call("write", { note: "see TCK-123" });
      const held = await governed.backend.decide(call);
      expect(held.decision).toBe("REVIEW");
      expect(held.arguments).toBeUndefined();
      const id = held.approval?.id ?? 0;
      expect((await governed.backend.approval(id)).arguments).toBe('{"note":"see [ticket]"}');
      await governed.backend.decideApproval(id, "approved", person(), "");
      expect(await governed.backend.release(call, id)).toMatchObject({
        decision: "ALLOW",
        arguments: '{"note":"see [ticket]"}',
      });
    });

    test("is seen redacted by conditions", async () => {
      expect((await governed.decide("short", { note: "TCK-1234567890" })).decision).toBe("ALLOW");
      expect((await governed.decide("short", { note: "ticket 1234567890" })).decision).toBe("BLOCK");
    });

    test("that blocks does so though another rule redacts it, and is not in the ledger", async () => {
      const verdict = await governed.decide("read", { note: "TCK-666" });
      expect(verdict).toMatchObject({ decision: "BLOCK", rule: expect.stringContaining("data ticket") });
      expect((await governed.decide("post", { card })).decision).toBe("BLOCK");
      expect(await governed.newest()).toMatchObject({
        arguments: '{"card":"[card_numbers]"}',
        findings: "card_numbers in arguments: blocked",
      });
      expect(JSON.stringify(await records())).not.toContain(card);
      expect((await governed.decide("post", { card: "4111111111111112" })).decision).toBe("ALLOW");
    });

    test("that wants a person holds the call, whatever allows it", async () => {
      const call = governed.call("read", { note: "her salary" });
      const held = await governed.backend.decide(call);
      expect(held).toMatchObject({ decision: "REVIEW", rule: expect.stringContaining("data salary") });
      const id = held.approval?.id ?? 0;
      expect((await governed.backend.approval(id)).arguments).toBe('{"note":"her salary"}');
      await governed.backend.decideApproval(id, "approved", person(), "");
      expect((await governed.backend.release(call, id)).decision).toBe("ALLOW");
    });

    test("that was shown otherwise than it would be forwarded now voids the approval", async () => {
      const call = governed.call("write", { note: "see TCK-123 and PO-9" });
      const held = await governed.backend.decide(call);
      const id = held.approval?.id ?? 0;
      await governed.backend.decideApproval(id, "approved", person(), "");
      await governed.backend.close();
      governed = await govern(
        place,
        `${policy}  - { detect: custom, name: order, pattern: 'PO-[0-9]+', then: redact }\n`,
      );
      const refused = await governed.backend.release({ ...call, gateway: governed.gateway }, id);
      expect(refused.decision).toBe("BLOCK");
      expect(refused.approval?.status).not.toBe("consumed");
    });
  });

  describe("data in results", () => {
    const result = (of: Intent, value: unknown): Intent => ({
      ...of,
      call: `${of.call}.result`,
      arguments: JSON.stringify({ result: value }),
      parsed: { result: value },
      stage: "result",
    });
    const text = (said: string) => ({ content: [{ type: "text", text: said }] });

    test("is what an ALLOW says is to be looked for", async () => {
      const verdict = await governed.decide("post", {});
      expect(verdict.inspect?.map(({ name, effect }) => [name, effect])).toEqual([
        ["ticket", "redact"],
        ["card_numbers", "block"],
        ["salary", "review"],
      ]);
      const held = await governed.decide("write", {});
      expect(held.inspect).toBeUndefined();
    });

    test("is redacted, withheld, or held for a person, and recorded as what it is", async () => {
      const call = governed.call("post", {});
      await governed.backend.decide(call);
      expect(await governed.backend.decide(result(call, text("TCK-1 is open")))).toMatchObject({
        decision: "ALLOW",
        arguments: JSON.stringify({ result: text("[ticket] is open") }),
      });
      expect(await governed.newest()).toMatchObject({
        stage: "result",
        call: `${call.call}.result`,
        findings: "ticket in results: redacted",
      });
      const other = governed.call("post", {});
      await governed.backend.decide(other);
      expect(await governed.backend.decide(result(other, text(`pay ${card}`)))).toMatchObject({
        decision: "BLOCK",
        rule: expect.stringContaining("data card_numbers"),
      });
      const third = governed.call("post", {});
      await governed.backend.decide(third);
      const answer = result(third, text("her salary"));
      const held = await governed.backend.decide(answer);
      expect(held.decision).toBe("REVIEW");
      const id = held.approval?.id ?? 0;
      await governed.backend.decideApproval(id, "approved", person(), "");
      expect((await governed.backend.release(answer, id)).decision).toBe("ALLOW");
      expect(JSON.stringify(await records())).not.toMatch(/TCK-1|4111/);
    });

    test("is no call: it counts for nobody, is not open, and no approval of it lets a call run", async () => {
      const call = governed.call("write", {});
      const [before] = await governed.backend.agents();
      const answer = result(call, text("her salary"));
      const held = await governed.backend.decide(answer);
      await governed.backend.decide(result(governed.call("post", {}), text("nothing")));
      expect((await governed.backend.agents())[0]).toEqual(before);
      expect(await governed.backend.verify()).toMatchObject({ ok: true, open: 0 });
      const id = held.approval?.id ?? 0;
      await governed.backend.decideApproval(id, "approved", person(), "");
      // Nobody waits on it: a call of the same digest would find it.
      await governed.backend.detachWaiter(id, answer.call);
      const posing = { ...call, arguments: answer.arguments, parsed: answer.parsed };
      const asked = await governed.backend.decide(posing);
      expect(asked.approval?.id).not.toBe(id);
      expect((await governed.backend.release(posing, id)).decision).toBe("BLOCK");
    });

    test("is told apart from a call, and is neither the one before a call nor the newest of its action", async () => {
      const held = async (asked: Intent): Promise<number> =>
        (await governed.backend.decide(asked)).approval?.id ?? 0;
      const pass = async (asked: Intent): Promise<number> => {
        const id = await held(asked);
        await governed.backend.decideApproval(id, "approved", person(), "");
        expect((await governed.backend.release(asked, id)).decision).toBe("ALLOW");
        return id;
      };
      const next = (n: number): Intent => governed.call("write", { n });
      const ran = await pass(next(1));
      const passed = await pass(result(next(2), text("her salary")));
      const [call, answer] = [await held(next(3)), await held(result(next(4), text("his salary")))];
      const { backend } = governed;
      expect(await backend.approval(call)).not.toHaveProperty("stage");
      expect(await backend.approval(answer)).toMatchObject({ stage: "result" });
      expect(await backend.approvalContext(call)).toMatchObject({ previous: { id: ran }, alike: [call] });
      expect(await backend.approvalContext(answer)).toMatchObject({
        previous: { id: passed },
        alike: [answer],
      });
      const { agent, action } = next(5);
      expect(await backend.latestApproval(agent, action)).toMatchObject({ id: call });
      await backend.decideApproval(answer, "denied", person(), "");
      await expect(backend.decideApproval(answer, "approved", person(), "")).rejects.toMatchObject({
        hint: expect.stringContaining("runs it again"),
      });
    });

    test("of a killed agent reaches nobody", async () => {
      const call = governed.call("read", {});
      await governed.backend.decide(call);
      await governed.backend.kill(call.agent, person(), "");
      expect((await governed.backend.decide(result(call, text("fine")))).decision).toBe("KILLED");
    });

    test("has an id of its own, which no call has", async () => {
      const call = governed.call("read", {});
      await expect(governed.backend.decide({ ...call, stage: "result" })).rejects.toMatchObject({
        code: "usage",
      });
      await expect(governed.backend.decide({ ...call, call: `${call.call}.result` })).rejects.toMatchObject({
        code: "usage",
      });
    });
  });
});

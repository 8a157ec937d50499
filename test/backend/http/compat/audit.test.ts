/** What a gateway's calls look like to clients of the original. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Compat, stores } from "../../../fixtures/backend/compat.js";
import { agent, intent, outcomeOf, person, waitFor } from "../../../fixtures/backend/store.js";

describe.each(stores)("the calls of a gateway over $name", ({ available, start }) => {
  let server: Compat;
  let gateway: string;
  beforeEach(async ({ skip }) => {
    if (!available) skip("there is no PostgreSQL here");
    server = await start();
    await server.service.ensureAgent(agent);
    gateway = await server.service.attach({ pid: 1, label: "wrap files", address: null });
    await server.publish({
      "bot.yaml": `agent: ${agent}\nallow: [files__read]\nblock: [files__drop]\nreview: [files__write]`,
    });
  });
  afterEach(() => server?.close());

  const logs = async () =>
    ((await server.said(`/agents/${agent}/logs`, "auditor")) as Array<Record<string, string>>).map(
      ({ action, status, details }) => [action, status, details],
    );

  it("have a row for each decision and each end of an approval, and none for what has no place there", async () => {
    const { service } = server;
    const read = intent(gateway, "read");
    await service.decide(read);
    // A renewed lease is the same call; an outcome, a token, a note are no entries.
    expect((await service.release(read, null)).decision).toBe("ALLOW");
    service.outcome(outcomeOf(read));
    await service.note({ kind: "refused", agent, reason: "a bad frame" });
    await service.decide(intent(gateway, "drop"));
    const write = intent(gateway, "write");
    const { approval } = await service.decide(write);
    await service.decideApproval(approval?.id ?? 0, "approved", person("os:ada"), "fine by me");
    await service.release(write, approval?.id ?? 0);
    const held = intent(gateway, "write", '{"path":"/b"}');
    await service.decide(held);
    await service.kill(agent, person("os:eve"), "enough");
    await service.decide(intent(gateway, "read"));
    expect((await logs()).toReversed()).toEqual([
      ["files__read", "ALLOWED", "Allowed by the rule bot.yaml:2 allow files__read."],
      ["files__drop", "BLOCKED", "Blocked by the rule bot.yaml:3 block files__drop."],
      [
        "files__write",
        "PENDING",
        "Approval #1 — A person must decide, says the rule bot.yaml:4 review files__write.",
      ],
      ["files__write", "APPROVED", "Approval #1 was approved by os:ada: fine by me"],
      [
        "files__write",
        "ALLOWED",
        expect.stringMatching(/^Approval 1 was approved by os:ada at .* \(fine by me\)\.$/),
      ],
      ["files__write", "PENDING", expect.stringMatching(/^Approval #2 — /)],
      ["files__write", "DENIED", `Approval #2 is void: ${agent} was killed by os:eve.`],
      [
        "files__read",
        "KILLED",
        expect.stringMatching(/^The agent claude-desktop was stopped by os:eve at .*: enough\.$/),
      ],
    ]);
  });

  it("are found behind any number of records that have no place", async () => {
    const { service } = server;
    await service.decide(intent(gateway, "drop"));
    const read = intent(gateway, "read");
    await service.decide(read);
    await Promise.all(Array.from({ length: 150 }, () => service.release(read, null)));
    expect((await logs()).map(([, status]) => status)).toEqual(["ALLOWED", "BLOCKED"]);
  });

  it("count together with what the agent reports", async () => {
    const { service } = server;
    for (const tool of ["read", "read", "drop", "write"]) await service.decide(intent(gateway, tool));
    const only = await server.said("/agents", "approver");
    expect(only).toMatchObject([
      { total_logs: 4, allowed_count: 2, blocked_count: 1, risk_score: 25, framework: "MCP" },
    ]);
    await server.did("/sdk/log", "agent", { agent_name: agent, action: "x", status: "BLOCKED" });
    expect(await server.said("/agents", "approver")).toMatchObject([
      { total_logs: 5, allowed_count: 2, blocked_count: 2, risk_score: 40, framework: "Custom Python" },
    ]);
    expect(await server.said("/stats", "approver")).toMatchObject({
      total_blocks_24h: 2,
      pending_approvals: 1,
      risk_level: "MEDIUM",
    });
  });

  it("can be decided by the original's routes, and wake the call that waits", async () => {
    const { service } = server;
    const heard: string[] = [];
    service.subscribe((event) => {
      if (event.kind === "approval") heard.push(event.status);
    });
    // A gateway behind the same token as the one that looks.
    const call = intent(gateway, "write", "{}", { principal: "agent" });
    const { approval } = await service.decide(call);
    const id = approval?.id ?? 0;
    // Its agent may look, uses nothing up that a call waits on, and is not told to run what that call runs.
    expect(await server.said(`/sdk/approval-status/${id}`, "agent")).toEqual({ status: "PENDING" });
    await server.did(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" });
    expect(await server.said(`/sdk/approval-status/${id}`, "agent")).toEqual({ status: "PENDING" });
    await waitFor(() => heard.includes("approved"), "the event");
    expect((await service.release(call, id)).decision).toBe("ALLOW");
    expect(await server.said(`/sdk/approval-status/${id}`, "agent")).toEqual({ status: "PENDING" });
  });
});

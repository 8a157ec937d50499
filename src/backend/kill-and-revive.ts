import { setTimeout as sleep } from "node:timers/promises";
import type { KillReceipt, Principal } from "../client/backend.js";
import type { Agents } from "./agents.js";
import type { Approvals } from "./approvals.js";
import type { Batch } from "./batch.js";
import type { GatewayRow, Gateways } from "./gateways.js";
import type { GroupCommit } from "./store/commit.js";
import { patiently } from "./store/patience.js";
import type { Store } from "./store/store.js";

/** Milliseconds over the longest lease: two looks at the store, and a commit of a gateway that confirms late. */
const MARGIN = 150;
const LOOK = 5;

export interface KillParts {
  readonly store: Store;
  readonly commit: GroupCommit<Batch>;
  readonly agents: Agents;
  readonly approvals: Approvals;
  readonly gateways: Gateways;
}

/**
 * Stops an agent, and waits until nothing of it can be forwarded any more (invariant 4): every gateway that lives has
 * told its calls, or the leases it may hold have run out.
 *
 * @throws AegisError `unknown_agent`
 */
export async function kill(
  { store, commit, agents, approvals, gateways }: KillParts,
  agent: string,
  by: Principal,
  reason: string,
): Promise<KillReceipt> {
  const killed = await commit.write(async (batch) => {
    const done = await agents.kill(batch, agent, by, reason);
    const why = `${agent} was killed by ${by.name}`;
    const voided = done.already ? 0 : await approvals.voidAll(batch, agent, why);
    return { ...done, voided, alive: await gateways.alive(batch.now, "writer") };
  });
  const { event, alive } = killed;
  const silent = await silentAfter(store, gateways, alive, event);
  return {
    agent,
    already: killed.already,
    gateways: alive.map((gateway) => ({
      id: gateway.id,
      pid: gateway.pid,
      confirmed: !silent.includes(gateway),
    })),
    voided: killed.voided,
  };
}

/**
 * Lets an agent go on, and waits until the gateways that live know: a call right after is not refused by one that has
 * not heard yet.
 *
 * @throws AegisError `unknown_agent`
 */
export async function revive(
  { store, commit, agents, gateways }: Omit<KillParts, "approvals">,
  agent: string,
  by: Principal,
  reason: string,
): Promise<void> {
  const revived = await commit.write(async (batch) => ({
    event: await agents.revive(batch, agent, by, reason),
    alive: await gateways.alive(batch.now, "writer"),
  }));
  if (revived.event !== null) await silentAfter(store, gateways, revived.alive, revived.event);
}

/** The gateways that have not confirmed the event when the leases they may hold have run out. */
async function silentAfter(
  store: Store,
  gateways: Gateways,
  alive: readonly GatewayRow[],
  event: number,
): Promise<readonly GatewayRow[]> {
  const deadline = performance.now() + MARGIN + Math.max(0, ...alive.map(({ lease }) => lease));
  for (;;) {
    const now = await patiently(store, () => gateways.all("reader"));
    const silent = alive.filter((gateway) => !hasConfirmed(gateway, now, event));
    if (silent.length === 0 || performance.now() >= deadline) return silent;
    await sleep(LOOK);
  }
}

/** A gateway that said good-bye in the meantime forwards nothing either. */
function hasConfirmed({ id }: GatewayRow, now: readonly GatewayRow[], event: number): boolean {
  const row = now.find((gateway) => gateway.id === id);
  return row === undefined || row.seen >= event;
}

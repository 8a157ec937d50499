import { setTimeout as sleep } from "node:timers/promises";
import type { KillReceipt, Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import type { Agents } from "./agents.js";
import type { ApprovalEnds } from "./approvals/ends.js";
import type { Batch } from "./batch.js";
import type { GatewayRow, Gateways } from "./gateways/gateways.js";
import type { GroupCommit } from "./store/commit.js";
import { patiently } from "./store/patience.js";
import type { Store } from "./store/store.js";
import type { Tokens } from "./tokens.js";

/** Milliseconds over the longest lease: two looks at the store, and a commit of a gateway that confirms late. */
const MARGIN = 150;
const LOOK = 5;
/** Milliseconds a kill waits until the approvals of its agent are void: of thousands, the last ones become so after it. */
const VOIDING = 500;

export interface KillParts {
  readonly store: Store;
  readonly commit: GroupCommit<Batch>;
  readonly agents: Agents;
  readonly ends: ApprovalEnds;
  readonly gateways: Gateways;
  readonly tokens: Tokens;
}

/**
 * Stops an agent, and waits until nothing of it can be forwarded any more (invariant 4): every gateway that lives has
 * told its calls, or the leases it may hold have run out.
 *
 * @throws AegisError `unknown_agent`; `not_permitted` where the token of `by` was revoked meanwhile
 */
export async function kill(
  { store, commit, agents, ends, gateways, tokens }: KillParts,
  agent: string,
  by: Principal,
  reason: string,
): Promise<KillReceipt> {
  const killed = await commit.write(async (batch) => {
    await tokens.require(batch, by);
    const done = await agents.kill(batch, agent, by, reason);
    // They become void below; from here on none of them lets anything run.
    const voided = done.already ? 0 : await ends.openOf(agent);
    return { ...done, voided, alive: await gateways.alive(batch.now, "writer") };
  });
  const { event, alive } = killed;
  const voiding = voidAll({ commit, ends }, agent).catch(leaveToSweep);
  const [silent] = await Promise.all([
    silentAfter(store, gateways, alive, event),
    Promise.race([voiding, sleep(VOIDING, undefined, { ref: false })]),
  ]);
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

/** The open approvals of a killed agent, some at a time: the calls of other agents are not to wait for all of them. */
export async function voidAll(
  { commit, ends }: Pick<KillParts, "commit" | "ends">,
  agent: string,
): Promise<void> {
  while (await commit.write((batch) => ends.voidSome(batch, agent)));
}

/** The kill holds, whatever the store refuses now: the sweep goes on, and a revive comes after it. */
function leaveToSweep(thrown: unknown): void {
  if (!(thrown instanceof AegisError)) throw thrown;
}

/**
 * Lets an agent go on, and waits until the gateways that live know: a call right after is not refused by one that has
 * not heard yet. What was held before the kill is void by then.
 *
 * @throws AegisError `unknown_agent`; `not_permitted` where the token of `by` was revoked meanwhile
 */
export async function revive(
  { store, commit, agents, ends, gateways, tokens }: KillParts,
  agent: string,
  by: Principal,
  reason: string,
): Promise<void> {
  const begin = (): Promise<{ event: number | null; alive: GatewayRow[] } | null> =>
    commit.write(async (batch) => {
      await tokens.require(batch, by);
      if (await ends.voidSome(batch, agent)) return null;
      const event = await agents.revive(batch, agent, by, reason);
      return { event, alive: await gateways.alive(batch.now, "writer") };
    });
  let revived = await begin();
  while (revived === null) revived = await begin();
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

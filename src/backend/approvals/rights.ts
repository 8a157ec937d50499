import type { DecisionOptions, Principal } from "../../client/backend.js";
import { formatDuration } from "../../duration.js";
import { AegisError } from "../../errors.js";
import type { Channel, GrantTerms, Requirement } from "../../requirement.js";
import { visible } from "../../visible.js";
import type { ApprovalRow } from "./rows.js";
import { samePerson } from "./votes.js";

/** Something that can be read: a reason of spaces or of characters without a shape says nothing. */
const legible = /[\p{L}\p{N}\p{P}\p{S}]/u;

/**
 * Why this principal can not decide this approval, in either way; null where it may. The role was asked before. Being an
 * admin stands for no group.
 */
export function mayDecide(
  { id, agent, principal }: Pick<ApprovalRow, "id" | "agent" | "principal">,
  { approvers, channels }: Requirement,
  by: Principal,
  channel: Channel,
): AegisError | null {
  if (samePerson(by.name, principal) || samePerson(by.name, agent) || by.agent !== null) {
    return new AegisError(
      "not_permitted",
      `${by.name} made this call and so can not decide approval ${id}.`,
      {
        hint: "Another person with the role approver or admin decides.",
      },
    );
  }
  const missing = approvers.filter((groups) => !groups.some((group) => by.groups.includes(group)));
  const [group] = missing[0] ?? [];
  if (missing.length > 0) {
    const asked = missing.map(anyOf).join(", and ");
    return new AegisError(
      "not_permitted",
      `${by.name} is not in a group that may decide approval ${id}: its rule asks for ${asked}.`,
      {
        hint: `A token of that group: aegis token create --role approver --name NAME --group ${group ?? "GROUP"}`,
      },
    );
  }
  return channels.includes(channel) ? null : wrongChannel(id, channels, channel);
}

/**
 * Why the client that made this call can not approve it by a form, null where it may: only where the policy lists the
 * channel, and only the call that waits on it now, at a gateway that is alive. Nobody knows who answers there: for groups,
 * for a reason that is asked for, and for a quorum (below) it is nobody (`policy.md`).
 *
 * @param live ids of the gateways that are alive
 */
export function mayAnswerInClient(
  { id, waiter_gateway, waiter_call }: Pick<ApprovalRow, "id" | "waiter_gateway" | "waiter_call">,
  { approvers, reason, channels }: Requirement,
  call: string,
  live: ReadonlySet<string>,
): AegisError | null {
  if (!channels.includes("client")) return wrongChannel(id, channels, "client");
  if (approvers.length > 0 || reason) {
    return new AegisError(
      "not_permitted",
      `Approval ${id} asks for certain people or for a reason, and an answer in the client is nobody's.`,
      { hint: "Decide it with `aegis approve` or on its page." },
    );
  }
  if (waiter_call === call && waiter_gateway !== null && live.has(waiter_gateway)) return null;
  return new AegisError("not_permitted", `Approval ${id} is not what the call ${visible(call)} waits on.`, {
    hint: "Repeat the call: it asks again.",
  });
}

function wrongChannel(id: number, channels: Requirement["channels"], channel: Channel): AegisError {
  const ways = channels.map((way) => waysText[way]).join(" or ");
  return new AegisError(
    "not_permitted",
    `Approval ${id} can not be decided ${waysText[channel]}: its rule asks for a decision ${ways === "" ? "in no way at all" : ways}.`,
    ways === "" ? {} : { hint: `Decide it ${ways}.` },
  );
}

/** Why this approval does not count, of whoever may decide; null where it does. */
export function problemOfApproval(
  { id }: Pick<ApprovalRow, "id">,
  requirement: Requirement,
  reason: string,
  channel: Channel,
): AegisError | null {
  // Nobody knows who answers in the client: policy.md, “its answer never satisfies a quorum”.
  if (channel === "client" && requirement.quorum > 1) {
    return new AegisError(
      "not_permitted",
      `Approval ${id} takes ${requirement.quorum} people, and an answer in the client is nobody's.`,
      { hint: "Decide it with `aegis approve` or on its page." },
    );
  }
  if (requirement.reason && !legible.test(reason)) {
    return new AegisError("usage", `Approval ${id} is not approved without a reason; nothing was changed.`, {
      hint: `Say why: aegis approve ${id} --reason "…"`,
    });
  }
  return null;
}

/** What is granted, of what the policy offers, or why nothing is. */
export function grantedTerms(
  { id }: Pick<ApprovalRow, "id">,
  { grant: offer }: Requirement,
  wanted: NonNullable<DecisionOptions["grant"]>,
): { readonly uses: number; readonly expires: number } | AegisError {
  if (offer === null) {
    return new AegisError(
      "not_permitted",
      `The policy offers no grant with approval ${id}; nothing was changed.`,
      {
        hint: "Approve this one call, or let the rule offer one: `approval: { grant: … }`.",
      },
    );
  }
  const { uses = offer.uses, expires = offer.expires } = wanted;
  const within = (value: number, most: number): boolean =>
    Number.isSafeInteger(value) && value >= 1 && value <= most;
  if (within(uses, offer.uses) && within(expires, offer.expires)) return { uses, expires };
  return new AegisError(
    "usage",
    `${uses} ${uses === 1 ? "call" : "calls"} within ${formatDuration(expires)} is not what may be granted with approval ${id}; nothing was changed.`,
    { hint: `The policy offers ${offerText(offer)}.` },
  );
}

/** What a grant covers, in words. */
export function offerText({ uses, expires, arguments: patterns }: GrantTerms): string {
  const named = Object.entries(patterns).map(([name, pattern]) => `${name} like ${pattern}`);
  const what =
    named.length === 0 ? "with the very same arguments" : `that differ in ${named.join(", ")} only`;
  return `at most ${uses} ${uses === 1 ? "call" : "calls"} within ${formatDuration(expires)} ${what}`;
}

const waysText: Readonly<Record<Channel, string>> = {
  cli: "by `aegis approve` or the API",
  page: "on its page",
  client: "in the client",
};

function anyOf(groups: readonly string[]): string {
  return groups.length === 1 ? `${groups[0]}` : `one of ${groups.join(", ")}`;
}

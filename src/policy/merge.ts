import { channels, type GrantTerms, noRequirement, type Requirement, usualChannels } from "../requirement.js";
import type { CompiledRule } from "./compile.js";
import { compareText } from "./order.js";
import type { ApprovalTerms, PolicyDecision } from "./policy.js";

/**
 * A REVIEW together with what every matching review rule asks of its approval: each must be content, so the order of
 * rules changes nothing. `grantable` false: something beside the rules wants a person, and no grant may stand in.
 */
export function withRequirement(
  decision: PolicyDecision,
  rules: readonly CompiledRule[],
  grantable: boolean,
): PolicyDecision {
  if (rules.every(({ rule }) => rule.approval === undefined)) return decision;
  const terms = rules.map(({ rule }): ApprovalTerms => rule.approval ?? {});
  const expiries = terms.flatMap(({ expires }) => expires ?? []);
  const requirement = requirementOf(terms, grantable);
  return {
    ...decision,
    ...(expiries.length === 0 ? {} : { expires: Math.min(...expiries) }),
    ...(isUsual(requirement) ? {} : { requirement }),
  };
}

/** All terms at once. */
export function requirementOf(terms: readonly ApprovalTerms[], grantable: boolean): Requirement {
  const groups = new Map(
    terms.flatMap(({ approvers }) => (approvers ? [[approvers.join("\n"), approvers]] : [])),
  );
  const stated = terms.flatMap((each) => (each.channels === undefined ? [] : [each.channels]));
  return {
    approvers: [...groups].toSorted(([a], [b]) => compareText(a, b)).map(([, names]) => names),
    quorum: Math.max(1, ...terms.map(({ quorum = 1 }) => quorum)),
    reason: terms.some((each) => each.reason === true),
    channels:
      stated.length === 0
        ? usualChannels
        : channels.filter((channel) => stated.every((each) => each.includes(channel))),
    grant: grantable ? grantOf(terms.map(({ grant }) => grant)) : null,
  };
}

/** Only where every rule offers one, for the same arguments: the least of what they offer. */
function grantOf(offers: ReadonlyArray<GrantTerms | undefined>): GrantTerms | null {
  const offered = offers.filter((offer) => offer !== undefined);
  const [first, ...others] = offered;
  if (first === undefined || offered.length < offers.length) return null;
  const patterns = patternsOf(first);
  if (others.some((other) => patternsOf(other) !== patterns)) return null;
  return {
    uses: Math.min(...offered.map(({ uses }) => uses)),
    expires: Math.min(...offered.map(({ expires }) => expires)),
    arguments: Object.fromEntries(Object.entries(first.arguments).toSorted(([a], [b]) => compareText(a, b))),
  };
}

function patternsOf(terms: GrantTerms): string {
  return JSON.stringify(Object.entries(terms.arguments).toSorted(([a], [b]) => compareText(a, b)));
}

function isUsual({ approvers, quorum, reason, channels: by, grant }: Requirement): boolean {
  return (
    approvers.length === 0 &&
    quorum === noRequirement.quorum &&
    !reason &&
    by.length === usualChannels.length &&
    by.every((channel) => usualChannels.includes(channel)) &&
    grant === null
  );
}

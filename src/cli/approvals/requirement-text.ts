import type { Approval, Vote } from "../../client/backend.js";
import { formatDuration } from "../../duration.js";
import type { GrantTerms, Requirement } from "../../requirement.js";
import { visible } from "../../visible.js";
import { relativeTime } from "../output.js";

/** What deciding takes, and who has approved so far; null where any one approver will do. */
export function requirementText({ requirement, votes }: Approval): string | null {
  const { approvers, quorum, reason, channels } = requirement;
  const parts = [
    ...(quorum === 1 && approvers.length === 0
      ? []
      : [`${people(quorum)}${approvers.length === 0 ? "" : ` from ${groupsText(approvers)}`}`]),
    ...(reason ? ["a reason"] : []),
    ...(channels.length === 2 && channels.includes("cli") && channels.includes("page")
      ? []
      : [
          `only by: ${channels.length === 0 ? "nothing, its rules exclude each other" : channels.join(", ")}`,
        ]),
  ];
  if (parts.length === 0 && votes.length === 0) return null;
  const so = votes.map(({ by, at, reason: why, grant }) => {
    const said = why === "" ? "" : `: ${visible(why)}`;
    const more = grant === undefined ? "" : `; would grant ${grantedText(grant)}`;
    return `${visible(by)} (${relativeTime(at)}${said}${more})`;
  });
  const given = so.length === 0 ? "nobody has approved yet" : `approved so far by ${so.join(", ")}`;
  return `${parts.join("; ") || "one approver"}; ${given}`;
}

/** Whose approval is missing, as the end of a sentence: `another person from docs-team must approve`. */
export function missingText({ requirement, votes }: Approval): string {
  const { approvers, quorum } = requirement;
  const left = Math.max(1, quorum - votes.length);
  const from = approvers.length === 0 ? "" : ` from ${groupsText(approvers)}`;
  return left === 1 ? `another person${from} must approve` : `${left} more people${from} must approve`;
}

/** `docs-team or mail-team`, `docs-team, and also in legal` where two rules ask for one each. */
function groupsText(approvers: Requirement["approvers"]): string {
  return approvers.map((groups) => groups.map(visible).join(" or ")).join(", and also in ");
}

/** What a grant covers, beside one agent and one tool. */
export function coverText(patterns: GrantTerms["arguments"]): string {
  const named = Object.entries(patterns).map(
    ([name, pattern]) => `${visible(name)} matches ${visible(pattern)}`,
  );
  return named.length === 0
    ? "every argument as it was approved"
    : `${named.join(", ")}; every other argument as it was approved`;
}

/** What an approver may grant. */
export function termsText(terms: GrantTerms): string {
  return `at most ${grantedText(terms)}: ${coverText(terms.arguments)}`;
}

function grantedText({ uses, expires }: NonNullable<Vote["grant"]>): string {
  return `${uses} ${uses === 1 ? "use" : "uses"} within ${formatDuration(expires)}`;
}

/** What more than one person must do for a grant. */
export const allGrant = "a grant needs everybody who approves to give it";

/** Who approved without granting, so that nothing is: as a clause; null where all have granted. */
export function onlyOnceText({ votes }: Pick<Approval, "votes">): string | null {
  const names = votes.filter(({ grant }) => grant === undefined).map(({ by }) => visible(by));
  return names.length === 0 ? null : `${names.join(" and ")} approved this one call only`;
}

function people(count: number): string {
  return count === 1 ? "1 person" : `${count} people`;
}

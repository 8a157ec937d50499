import { formatDuration } from "../duration.js";
import type { CompiledLimit } from "./entries.js";
import type { PolicyDecision, Question } from "./policy.js";

/** The limit that this call would exceed, as a refusal that passes; null where there is none. */
export function limitRefusal(limits: readonly CompiledLimit[], { counts }: Question): PolicyDecision | null {
  for (const { limit, label, counted } of limits) {
    const count = counts?.get(counted);
    if (count === undefined) {
      const reason = `policy_error: the calls that the limit ${label} counts are not known. The call is blocked.`;
      return { decision: "BLOCK", rule: label, reason, error: true };
    }
    const most = "per" in limit.of ? limit.of.calls : limit.of.concurrent;
    if (count < most) continue;
    const why = limit.reason === null ? "" : ` (${limit.reason})`;
    return { decision: "BLOCK", rule: label, reason: sentence(limit.of, `${label}${why}`), passing: true };
  }
  return null;
}

function sentence(of: CompiledLimit["limit"]["of"], label: string): string {
  if ("concurrent" in of) {
    const calls = of.concurrent === 1 ? "1 such call is" : `${of.concurrent} such calls are`;
    return `Blocked for now by the limit ${label}: ${calls} running. Try again when one has ended.`;
  }
  const per = formatDuration(of.per);
  const calls = of.calls === 1 ? "1 such call was" : `${of.calls} such calls were`;
  return `Blocked for now by the limit ${label}: ${calls} let through in the last ${per}. Try again in at most ${per}.`;
}

import type { List } from "../../policy/policy.js";
import { visible } from "../../visible.js";
import { wordWrap } from "../columns.js";
import type { Output } from "../output.js";
import type { NewRule } from "./edit.js";
import type { Effect, Subject } from "./effect.js";
import type { KnownTool } from "./known-tool.js";

/** A rule that would be added, and what becomes of the file and of the call it is made for. */
export interface Shown {
  readonly file: string;
  readonly text: string | null;
  readonly changed: string;
  readonly list: List;
  readonly rule: NewRule;
  readonly effect: Effect | null;
  readonly subject: Subject;
  readonly tool: KnownTool;
}

/** What was asked for is there: a second one would change nothing. */
export function showStanding(
  out: Output,
  standing: string,
  { file, list, rule, effect, subject, tool }: Shown,
): void {
  if (out.json) {
    const { agent } = subject;
    const tool_state = tool.facts?.state ?? null;
    out.document({ file, agent, list, ...rule, written: false, standing, diff: "", effect, tool_state });
    return;
  }
  wrapped(out, `Nothing was written: the rule is there already, ${visible(standing)}.`);
  if (effect !== null && effect.decision !== outcomes[list])
    wrapped(out, visible(`Still ${effect.decision}. ${effect.reason}`));
}

const outcomes = { allow: "ALLOW", block: "BLOCK", review: "REVIEW" } as const;

export async function diffOf({ file, text, changed }: Shown): Promise<string> {
  const { createTwoFilesPatch } = await import("diff");
  const from = text === null ? "/dev/null" : file;
  const diff = createTwoFilesPatch(from, file, text ?? "", changed, undefined, undefined, { context: 3 });
  return diff.slice(diff.indexOf("--- "));
}

export async function show(out: Output, shown: Shown): Promise<void> {
  const { list, effect, subject, tool } = shown;
  for (const line of (await diffOf(shown)).trimEnd().split("\n")) {
    const style = line.startsWith("+") ? "green" : line.startsWith("-") ? "red" : "dim";
    out.line(out.style(style, visible(line.replace(/\r$/, ""))));
  }
  out.line();
  if (effect === null) return;
  const { action, agent } = subject;
  // Of a tool that nobody accepted, the warning says why.
  const by = effect.rule ?? ((tool.facts?.state ?? "accepted") === "accepted" ? "the default" : null);
  const now = by === null ? effect.decision : `${effect.decision} by ${by}`;
  wrapped(out, `${visible(action)} by agent ${visible(agent)}: was ${effect.was}, then ${visible(now)}`);
  if (tool.unknown !== null) wrapped(out, visible(tool.unknown));
  if (effect.decision === outcomes[list]) return;
  const why =
    effect.rule === null ? effect.reason : `${effect.rule} is stronger, or its condition does not hold.`;
  out.warn(`the new rule does not decide this call: ${why}`);
}

function wrapped(out: Output, text: string): void {
  for (const line of wordWrap(text, out.columns ?? Number.POSITIVE_INFINITY)) out.line(line);
}

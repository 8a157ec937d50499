import { acceptCommand, onlyExactly } from "../tool-reasons.js";
import { visible } from "../visible.js";
import { type CompiledRule, rulesFor } from "./compile.js";
import { literalServer, ofAction } from "./pattern.js";
import type { List, PolicyDecision, PolicySet, Question, ToolFacts } from "./policy.js";

/** What happens to the tools of an agent that nobody has accepted as they are now. */
export function onChangeFor(set: PolicySet, agent: string): List {
  return rulesFor(set, agent).onChange;
}

export function isAccepted(known: ToolFacts | undefined): boolean {
  return known === undefined || (known.state === "accepted" && known.suspicious === null);
}

/**
 * Whether a rule speaks of a tool that nobody has accepted: of one of a new server, if it names the server; of one that
 * came later, if it names the tool. Of one that is not what it was, no rule does.
 */
export function standsFor({ rule, exact }: CompiledRule, { known, server }: Question): boolean {
  switch (known?.state) {
    case undefined:
    case "accepted":
      return true;
    case "new":
      return namesServer(rule.pattern, server);
    case "added":
      return exact;
    case "changed":
      return false;
  }
}

/** A tool's own name names the one server there is (`wrap`). */
function namesServer(pattern: string, server: string): boolean {
  if (!ofAction(pattern)) return /[^*]/.test(pattern);
  return literalServer(pattern) !== null && pattern.startsWith(`${server}__`);
}

const said = {
  new: "is new: its server was first seen with it, and nobody has accepted it",
  added: "came to a server that was known, and nobody has accepted it",
  changed: "is not what it was: its definition, or its server's instructions, changed",
} as const;

/** A call that policy would let further, of a tool that nobody has accepted as it is now. */
export function unaccepted(
  onChange: "block" | "review",
  { known, server, tool, action }: Question,
): PolicyDecision {
  const what = known === undefined || known.state === "accepted" ? "is not accepted" : said[known.state];
  const [key, name] = [word(server), word(tool)];
  return {
    decision: onChange === "block" ? "BLOCK" : "REVIEW",
    rule: null,
    reason:
      `${onChange === "block" ? "Blocked" : "A person must decide"}: the tool ${visible(action.slice(0, 300))} ${what}. ` +
      `See it with "aegis tools diff", accept it with "${acceptCommand} ${key} ${name}".`,
  };
}

/** For a command line. */
function word(text: string): string {
  const shown = visible(text.slice(0, 140));
  return /^[A-Za-z0-9_.-]+$/.test(shown) ? shown : JSON.stringify(shown);
}

/** Names that look the same to every reader. Any other may pass for a name it is not (threat P14). */
const ordinaryName = /^[A-Za-z0-9_.-]{1,128}$/;

const unusualName: PolicyDecision = {
  decision: "REVIEW",
  rule: null,
  reason:
    "The tool's name is empty, longer than 128 characters, or holds characters other than A-Z a-z 0-9 _ . - and may " +
    `pass for a name it is not: ${onlyExactly} this name.`,
};

/** Why only a rule with exactly its name allows this tool; null where any may. */
export function mistakable({ tool, known }: Question): PolicyDecision | null {
  if (!ordinaryName.test(tool)) return unusualName;
  if (known === undefined || known.suspicious === null) return null;
  return {
    decision: "REVIEW",
    rule: null,
    reason: `${visible(known.suspicious)}: ${onlyExactly} its whole action.`,
  };
}

/** Whether a rule may allow a tool that can be taken for another. */
export function namesExactly({ rule, exact }: CompiledRule, { known }: Question): boolean {
  return exact && (known === undefined || known.suspicious === null || ofAction(rule.pattern));
}

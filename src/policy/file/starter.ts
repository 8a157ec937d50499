import { visible } from "../../visible.js";
import type { List } from "../policy.js";

export interface StarterTool {
  readonly name: string;
  readonly description?: string;
  /** The server's annotations: claims, used to sort comments and for nothing else (threat D4). */
  readonly hints?: { readonly readOnly?: boolean; readonly destructive?: boolean };
}

export interface StarterServer {
  readonly key: string;
  readonly tools: readonly StarterTool[];
}

/** Characters of a description that are shown, and of a name up to which a rule is offered. */
const shownDescription = 80;
const longestName = 200;

/** Where the list of tools ends, in characters: far below what the loader takes. */
const longestFile = 512 * 1_024;

/**
 * The text of a first policy for `agent`: it leaves every call to a person, and lists every tool as a comment that
 * becomes a rule when its `# ` is removed. Names and descriptions come from servers: each stays within its comment.
 */
export function starterPolicy(
  agent: string,
  servers: readonly StarterServer[],
  { bareNames }: { readonly bareNames: boolean },
): string {
  const sections = new Map<List, string[]>([
    ["allow", []],
    ["block", []],
    ["review", []],
  ]);
  let room = longestFile;
  let left = 0;
  for (const { key, tools } of servers) {
    for (const tool of tools) {
      const line = toolLine(key, tool, bareNames);
      room -= line.length;
      if (room < 0) left++;
      else sections.get(section(tool))?.push(line);
    }
  }
  return [
    `# The policy of the agent ${visible(JSON.stringify(agent))}. As it stands, a person decides every call.`,
    '# Remove the "# " before a line to make it a rule, and move it to the list you want. Of rules that match the same',
    "# call, block wins over review and review over allow; * in a rule stands for any run of characters.",
    "# The tools are sorted by what their servers claim of them. Nothing has checked these claims.",
    "",
    `agent: ${scalar(agent)}`,
    "default: review",
    ...[...sections].flatMap(([list, lines]) => ["", `${list}:`, ...lines]),
    ...(left === 0 ? [] : ["", `# ${left} more tools are not listed: a person decides those too.`]),
    "",
  ].join("\n");
}

function section({ hints }: StarterTool): List {
  if (hints?.destructive === true) return "block";
  return hints?.readOnly === true ? "allow" : "review";
}

function toolLine(key: string, tool: StarterTool, bareNames: boolean): string {
  const claims = claimsOf(tool);
  // Read as a rule, a star would stand for other names too, and cutting a name makes it another one.
  if (tool.name.includes("*") || tool.name.length > longestName) {
    const start = escaped(tool.name.slice(0, shownDescription));
    return `  # (no rule is offered for the tool ${start}, ${tool.name.length} characters)${claims}`;
  }
  // With `__` in it a name alone would be read as a whole action.
  const pattern =
    bareNames && !tool.name.includes("__") && tool.name !== "" ? tool.name : `${key}__${tool.name}`;
  return `  # - ${scalar(pattern)}${claims}`;
}

function claimsOf({ hints, description }: StarterTool): string {
  const claims = [
    ...(hints?.readOnly === true ? ["read-only"] : []),
    ...(hints?.destructive === true ? ["destructive"] : []),
    ...(description === undefined || description === "" ? [] : [quotedStart(description)]),
  ];
  return claims.length === 0 ? "" : `  # the server claims: ${claims.join(", ")}`;
}

function quotedStart(description: string): string {
  const cut = description.length > shownDescription;
  return `"${visible(description.slice(0, shownDescription))}${cut ? "…" : ""}"`;
}

/** Text as a YAML scalar that reads back as exactly this text; anything but plain ASCII letters is escaped. */
function scalar(text: string): string {
  const plain =
    /^[A-Za-z][A-Za-z0-9_.-]*$/.test(text) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text);
  return plain ? text : escaped(text);
}

/** JSON with every character outside printable ASCII as `\uXXXX`, which YAML reads alike: nothing hides or breaks out. */
function escaped(text: string): string {
  return JSON.stringify(text).replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

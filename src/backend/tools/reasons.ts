import { visible } from "../../visible.js";
import { instructions } from "./effect.js";
import { hiddenIn, textsIn } from "./hidden-text.js";
import { imitated, skeleton } from "./look-alikes.js";

/** What the servers of an agent are called, and their tools, as far as they were seen before. */
export class Neighbours {
  private readonly bySkeleton = new Map<string, { readonly server: string; readonly tool: string }>();
  /** By skeleton. */
  private readonly servers = new Map<string, string>();

  constructor(others: Iterable<{ readonly server: string; readonly tool: string }>) {
    for (const { server, tool } of others) {
      // Every server has a row for its instructions.
      if (tool === instructions) {
        const looks = skeleton(server);
        if (!this.servers.has(looks)) this.servers.set(looks, server);
        continue;
      }
      const key = skeleton(tool);
      if (!this.bySkeleton.has(key)) this.bySkeleton.set(key, { server, tool });
    }
  }

  alike(tool: string): { readonly server: string; readonly tool: string } | undefined {
    return this.bySkeleton.get(skeleton(tool));
  }

  imitatedBy(tool: string): string | undefined {
    const looks = imitated(tool);
    return looks === null ? undefined : this.servers.get(looks);
  }
}

/** Why a tool may be taken for another: sentences without their full stop. */
export function reasonsOf(tool: string, text: string, others: Neighbours): string[] {
  const reasons: string[] = [];
  const whose = tool === instructions ? "The server's instructions hold" : "Its definition holds";
  const hidden = hiddenIn(textsIn(JSON.parse(text)));
  if (hidden.length > 0) reasons.push(`${whose} ${hidden.join(" and ")}`);
  if (tool === instructions) return reasons;
  if (!/^[A-Za-z0-9_.-]{1,128}$/.test(tool))
    reasons.push("Its name holds other characters than letters, digits, _ . and -, or more than 128");
  const alike = others.alike(tool);
  if (alike !== undefined) reasons.push(resemblance(tool, alike));
  const server = others.imitatedBy(tool);
  if (server !== undefined) reasons.push(imitation(server));
  return reasons;
}

/** Said of a tool whose name looks like one of this server's. */
export function imitation(server: string): string {
  return `Its name begins as if it were a tool of the server ${shown(server)}`;
}

/** Said of a tool whose name is taken for that of another server's. */
export function resemblance(tool: string, alike: { readonly server: string; readonly tool: string }): string {
  const how = alike.tool === tool ? "that of" : `like that of ${shown(alike.tool)},`;
  return `Its name is ${how} a tool of the server ${shown(alike.server)}`;
}

export const listedTwice = "The server lists it more than once, and not the same each time";

function shown(name: string): string {
  return visible(name).slice(0, 128);
}

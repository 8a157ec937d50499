import type { Intent } from "../../client/backend.js";
import { sdkServer } from "../../names.js";
import type { ToolFacts } from "../../policy/policy.js";
import type { Batch } from "../batch.js";
import type { Statement, Store } from "../store/store.js";
import { effectiveState, suspicionOf, versionOf } from "./effect.js";
import type { PinRow } from "./row.js";
import { ToolTable } from "./table.js";

/** Servers, and definitions, of which something is remembered: a gateway that invents them costs time, not memory. */
const remembered = 1_024;

/** What is known of a tool at a decision, and which pinning of it that is; null where tools are not pinned. */
export interface KnownTool {
  readonly facts: ToolFacts;
  readonly version: number | null;
}

type Claims = ToolFacts["claims"];

const noClaims: Claims = {};

/** What decisions know of the tools that servers offer, as it was pinned for each agent. */
export class ToolPins {
  readonly writer: ToolTable;
  readonly reader: ToolTable;
  /** The rows of servers, by agent and server, as of `counter`. */
  private readonly servers = new Map<string, ReadonlyMap<string, PinRow>>();
  private counter = -1;
  private readonly newestRevision: Statement;
  /** By hash: what is said under a hash never changes. */
  private readonly claims = new Map<string, Claims>();

  constructor({ reader, writer }: Store) {
    this.reader = new ToolTable(reader);
    this.writer = new ToolTable(writer);
    this.newestRevision = reader.prepare("SELECT max(number) AS number FROM policy_revisions");
  }

  /** Number of the newest revision of the policies, beside a transaction; 0 where none was published. */
  async revision(): Promise<number> {
    return ((await this.newestRevision.get()) as { number: number | null }).number ?? 0;
  }

  /** In memory, as long as no process has pinned, changed or accepted anything since. */
  async facts(
    batch: Batch,
    { agent, server, tool, definition }: Pick<Intent, "agent" | "server" | "tool" | "definition">,
  ): Promise<KnownTool> {
    if (server === sdkServer)
      return { facts: { state: "accepted", suspicious: null, claims: noClaims }, version: null };
    const rows = await this.rows(batch, agent, server);
    const row = rows.get(tool);
    const state = effectiveState(rows, tool, definition);
    return {
      facts: {
        state,
        suspicious: suspicionOf(rows, tool),
        // Another definition than the one that was seen: nobody knows what that one claims.
        claims: row?.seen === definition ? await this.claimsOf(definition) : noClaims,
      },
      version: versionOf(rows, tool, definition),
    };
  }

  private async rows(batch: Batch, agent: string, server: string): Promise<ReadonlyMap<string, PinRow>> {
    // What this very transaction has changed may still be rolled back.
    if (batch.toolsChanged) return this.read(agent, server);
    if (batch.tools !== this.counter) {
      this.servers.clear();
      this.counter = batch.tools;
    }
    const key = `${agent}\n${server}`;
    let rows = this.servers.get(key);
    if (rows === undefined) {
      rows = await this.read(agent, server);
      if (this.servers.size >= remembered) this.servers.clear();
      this.servers.set(key, rows);
    }
    return rows;
  }

  private async read(agent: string, server: string): Promise<ReadonlyMap<string, PinRow>> {
    return new Map((await this.writer.rowsOf(agent, server)).map((row) => [row.tool, row]));
  }

  private async claimsOf(definition: string): Promise<Claims> {
    let claims = this.claims.get(definition);
    if (claims === undefined) {
      const text = (await this.writer.textsOf([definition])).get(definition);
      claims = text === undefined ? noClaims : claimsIn(text);
      if (this.claims.size >= remembered) this.claims.clear();
      if (text !== undefined) this.claims.set(definition, claims);
    }
    return claims;
  }
}

function claimsIn(text: string): Claims {
  const tool: unknown = JSON.parse(text);
  if (typeof tool !== "object" || tool === null || !Object.hasOwn(tool, "annotations")) return noClaims;
  const { annotations } = tool as { readonly annotations: unknown };
  return typeof annotations === "object" && annotations !== null && !Array.isArray(annotations)
    ? (annotations as Claims)
    : noClaims;
}

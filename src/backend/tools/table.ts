import type { ToolFilter } from "../../client/backend.js";
import type { Connection, Statement, Value } from "../store/store.js";
import type { PinRow } from "./row.js";

/** Hashes of one question. */
const SOME = 50;

/** The tables `tools` and `definitions`, through one connection. */
export class ToolTable {
  private readonly ofServer: Statement;
  private readonly others: Statement;
  private readonly countServers: Statement;
  private readonly texts: Statement;
  private readonly upsert: Statement;
  private readonly insertText: Statement;
  private readonly forgetTexts: Statement;
  /** One for each set of columns that was asked by. */
  private readonly found = new Map<string, Statement>();

  constructor(private readonly connection: Connection) {
    const some = Array.from({ length: SOME }, () => "?").join(", ");
    this.ofServer = connection.prepare("SELECT * FROM tools WHERE agent = ? AND server = ?");
    this.others = connection.prepare(
      "SELECT server, tool, state, flags FROM tools WHERE agent = ? AND server <> ?",
    );
    this.countServers = connection.prepare(
      "SELECT count(*) AS count FROM tools WHERE agent = ? AND tool = ''",
    );
    this.texts = connection.prepare(`SELECT hash, text FROM definitions WHERE hash IN (${some})`);
    this.upsert = connection.prepare(
      `INSERT INTO tools (agent, server, tool, state, pinned, seen, version, flags, seen_at, changed_at, accepted_at,
         accepted_by)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (agent, server, tool) DO UPDATE SET state = excluded.state, pinned = excluded.pinned,
         seen = excluded.seen, version = excluded.version, flags = excluded.flags, changed_at = excluded.changed_at,
         accepted_at = excluded.accepted_at, accepted_by = excluded.accepted_by`,
    );
    this.insertText = connection.prepare(
      "INSERT INTO definitions (hash, text) VALUES (?, ?) ON CONFLICT DO NOTHING",
    );
    // What an approval was shown with is shown again beside the next one.
    this.forgetTexts = connection.prepare(
      `DELETE FROM definitions WHERE hash IN (${some})
         AND NOT EXISTS (SELECT 1 FROM tools WHERE pinned = definitions.hash OR seen = definitions.hash)
         AND NOT EXISTS (SELECT 1 FROM approvals WHERE definition = definitions.hash)`,
    );
  }

  async rowsOf(agent: string, server: string): Promise<PinRow[]> {
    return (await this.ofServer.all(agent, server)) as PinRow[];
  }

  /** The tools of the agent's other servers. */
  async rowsBeside(
    agent: string,
    server: string,
  ): Promise<Array<Pick<PinRow, "server" | "tool" | "state" | "flags">>> {
    return (await this.others.all(agent, server)) as PinRow[];
  }

  /** Servers that the agent was shown: each has a row for its instructions. */
  async serversOf(agent: string): Promise<number> {
    return ((await this.countServers.get(agent)) as { count: number }).count;
  }

  /** By agent, server and tool. */
  async find({ agent, server, tool }: ToolFilter): Promise<PinRow[]> {
    const conditions: string[] = [];
    const values: Value[] = [];
    for (const [column, value] of [
      ["agent", agent],
      ["server", server],
      ["tool", tool],
    ] as const) {
      if (value === undefined) continue;
      conditions.push(`${column} = ?`);
      values.push(value);
    }
    const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
    let select = this.found.get(where);
    if (select === undefined) {
      select = this.connection.prepare(`SELECT * FROM tools${where} ORDER BY agent, server, tool`);
      this.found.set(where, select);
    }
    return (await select.all(...values)) as PinRow[];
  }

  /** Texts of definitions by hash, as far as they are known. */
  async textsOf(hashes: Iterable<string>): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const some of chunks(hashes)) {
      for (const row of (await this.texts.all(...some)) as Array<{ hash: string; text: string }>)
        found.set(row.hash, row.text);
    }
    return found;
  }

  async put(row: PinRow): Promise<void> {
    await this.upsert.run(
      row.agent,
      row.server,
      row.tool,
      row.state,
      row.pinned,
      row.seen,
      row.version,
      row.flags,
      row.seen_at,
      row.changed_at,
      row.accepted_at,
      row.accepted_by,
    );
  }

  async putText(hash: string, text: string): Promise<void> {
    await this.insertText.run(hash, text);
  }

  /** Of these, what nothing refers to any more: a server that changes with every look must not fill the store. */
  async forget(hashes: Iterable<string>): Promise<void> {
    for (const some of chunks(hashes)) await this.forgetTexts.run(...some);
  }
}

/** So many at a time, the last ones filled up with one of them. */
function* chunks(hashes: Iterable<string>): Iterable<string[]> {
  const all = [...new Set(hashes)];
  for (let from = 0; from < all.length; from += SOME) {
    const some = all.slice(from, from + SOME);
    yield [...some, ...Array.from({ length: SOME - some.length }, () => some[0] ?? "")];
  }
}

import type { LedgerRecord, RecordFilter } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { Connection, Statement, Value } from "../store/store.js";

/** Records of one answer: `follow` and export come back for more. */
const MOST = 10_000;
/** Records looked at in one go for those of some kinds. */
const PAGE = 1_000;

/** The ledger's read side. */
export class Records {
  private readonly statements = new Map<string, Statement>();
  private readonly selectNewest: Statement;

  constructor(private readonly reader: Connection) {
    this.selectNewest = reader.prepare("SELECT max(id) AS id FROM ledger");
  }

  /** 0 where there is none. */
  async newest(): Promise<number> {
    return ((await this.selectNewest.get()) as { id: number | null }).id ?? 0;
  }

  /**
   * Oldest first: the first ones behind `after`, else the newest (before `before`).
   *
   * @throws AegisError `usage` where the limit is not a whole number of at least 1; more than 10,000 count as 10,000
   */
  async list(filter: RecordFilter): Promise<LedgerRecord[]> {
    if (!Number.isSafeInteger(filter.limit) || filter.limit < 1) {
      throw new AegisError("usage", `A limit is a whole number of at least 1, not ${filter.limit}.`);
    }
    const limit = Math.min(filter.limit, MOST);
    const kinds = filter.kinds === undefined ? null : new Set(filter.kinds);
    const found: LedgerRecord[] = [];
    let { after, before } = filter;
    for (;;) {
      const size = kinds === null ? limit : Math.max(limit, PAGE);
      const page = await this.page({ agent: filter.agent, after, before, rare: isRare(kinds) }, size);
      for (const record of page) {
        if (kinds === null || kinds.has(record.kind)) found.push(record);
        if (found.length === limit) break;
      }
      const last = page.at(-1);
      if (found.length === limit || page.length < size || last === undefined) break;
      if (after === undefined) before = last.id;
      else after = last.id;
    }
    return after === undefined ? found.toReversed() : found;
  }

  /** Upwards behind `after`; without it, downwards. */
  private async page(
    {
      agent,
      after,
      before,
      rare,
    }: {
      readonly agent: string | undefined;
      readonly after: number | undefined;
      readonly before: number | undefined;
      readonly rare: boolean;
    },
    limit: number,
  ): Promise<LedgerRecord[]> {
    const where: string[] = rare ? ["key IS NULL"] : [];
    const values: Value[] = [];
    for (const [condition, value] of [
      ["agent = ?", agent],
      ["id > ?", after],
      ["id < ?", before],
    ] as const) {
      if (value === undefined) continue;
      where.push(condition);
      values.push(value);
    }
    const condition = where.length === 0 ? "" : `WHERE ${where.join(" AND ")}`;
    const order = after === undefined ? "DESC" : "ASC";
    const sql = `SELECT body FROM ledger ${condition} ORDER BY id ${order} LIMIT ?`;
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.reader.prepare(sql);
      this.statements.set(sql, statement);
    }
    const rows = (await statement.all(...values, limit)) as Array<{ readonly body: string }>;
    return rows.map(({ body }) => JSON.parse(body) as LedgerRecord);
  }
}

/** Decisions and outcomes have keys, and are nearly everything: the others have an index of their own. */
function isRare(kinds: ReadonlySet<string> | null): boolean {
  return kinds !== null && !kinds.has("decision") && !kinds.has("outcome");
}

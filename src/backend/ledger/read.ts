import type { LedgerRecord } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { Connection, Statement } from "../store/driver.js";

/** Records of one answer: `follow` and export come back for more. */
const MOST = 10_000;

/** The ledger's read side. */
export class Records {
  private readonly newest: Statement;
  private readonly newestOf: Statement;
  private readonly after: Statement;
  private readonly afterOf: Statement;

  constructor(connection: Connection) {
    this.newest = connection.prepare("SELECT body FROM ledger ORDER BY id DESC LIMIT ?");
    this.newestOf = connection.prepare("SELECT body FROM ledger WHERE agent = ? ORDER BY id DESC LIMIT ?");
    this.after = connection.prepare("SELECT body FROM ledger WHERE id > ? ORDER BY id LIMIT ?");
    this.afterOf = connection.prepare(
      "SELECT body FROM ledger WHERE agent = ? AND id > ? ORDER BY id LIMIT ?",
    );
  }

  /** @throws AegisError `usage` where the limit is not a whole number of at least 1; more than 10,000 count as 10,000 */
  list(filter: { readonly agent?: string; readonly limit: number; readonly after?: number }): LedgerRecord[] {
    const { agent, after } = filter;
    if (!Number.isSafeInteger(filter.limit) || filter.limit < 1) {
      throw new AegisError("usage", `A limit is a whole number of at least 1, not ${filter.limit}.`);
    }
    const limit = Math.min(filter.limit, MOST);
    if (after === undefined) {
      const rows = agent === undefined ? this.newest.all(limit) : this.newestOf.all(agent, limit);
      return parsed(rows).toReversed();
    }
    return parsed(agent === undefined ? this.after.all(after, limit) : this.afterOf.all(agent, after, limit));
  }
}

function parsed(rows: readonly unknown[]): LedgerRecord[] {
  return (rows as Array<{ readonly body: string }>).map(({ body }) => JSON.parse(body) as LedgerRecord);
}

import type { CustomTypesConfig, QueryConfig } from "pg";
import { types } from "pg";
import { AegisError } from "../../errors.js";
import type { Connection, Statement, Value } from "./store.js";

export interface Answer {
  readonly rows: unknown[];
  readonly rowCount: number | null;
}

/** A connection whose statements are asked by `ask`, each prepared once by every session that meets it. */
export function connectionOver(ask: (query: QueryConfig) => Promise<Answer>): Connection {
  return {
    prepare(sql: string): Statement {
      const text = numbered(sql);
      const name = nameOf(text);
      const run = async (values: Value[]): Promise<Answer> => {
        for (const value of values) if (typeof value === "string") refuseNul(value);
        return ask({ name, text, values });
      };
      return {
        run: async (...values) => (await run(values)).rowCount ?? 0,
        get: async (...values) => (await run(values)).rows[0],
        all: async (...values) => (await run(values)).rows,
      };
    },
  };
}

/** @throws AegisError `usage`: PostgreSQL's text has no NUL, so that nothing with one is stored, or is to be found */
function refuseNul(text: string): void {
  if (!text.includes("\0")) return;
  throw new AegisError("usage", "A text with a NUL character is no name of anything here.");
}

/** Writes `$1`, `$2`, … for every `?` that stands outside of quotes. */
export function numbered(sql: string): string {
  let count = 0;
  return sql.replace(/'[^']*'|"[^"]*"|\?/g, (part) => (part === "?" ? `$${++count}` : part));
}

/** The same text has the same name: on one connection it is prepared once, whoever asks. */
const names = new Map<string, string>();

function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `aegis_${names.size + 1}`;
    names.set(text, name);
  }
  return name;
}

type Parse = (text: string) => unknown;

const toBytes: Parse = (text) => Uint8Array.from(Buffer.from(text.slice(2), "hex"));
const toTruth: Parse = (text) => (text === "t" ? 1 : 0);

/** By the number of the type in the catalogue: int8, numeric (a sum of int8), bool, bytea. */
const parsers = new Map<number, Parse>([
  [20, Number],
  [1700, Number],
  [16, toTruth],
  [17, toBytes],
]);

/** Values as SQLite gives them: numbers for all of the numbers that we keep, 0 and 1 for truth, bytes as bytes. */
export const asSqliteGives: CustomTypesConfig = {
  getTypeParser: ((id, format) =>
    parsers.get(id) ?? types.getTypeParser(id, format)) as typeof types.getTypeParser,
};

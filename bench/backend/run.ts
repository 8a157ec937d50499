/**
 * The backend against the least that could do its work, side by side: each round measures one right after the other.
 *
 *   npm run bench -- backend [--quick] [--records N] [--only appends|http|growth|postgres]
 */
import { cpus, release } from "node:os";
import { parseArgs } from "node:util";
import { binaries, startCluster } from "../../test/fixtures/postgres/cluster.js";
import { type AppendResult, measureAppends } from "./appends.js";
import { measureGrowth } from "./growth.js";
import { measureHttp } from "./http.js";
import { measurePostgres } from "./postgres.js";

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    records: { type: "string", default: "1000000" },
    only: { type: "string" },
  },
});
const { rounds, slice } = values.quick ? { rounds: 1, slice: 250 } : { rounds: 5, slice: 1_000 };
const most = values.quick ? 20_000 : Number(values.records);
const wanted = (name: string): boolean => values.only === undefined || values.only === name;
const begin = performance.now();

const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? "unknown CPU"}, ${process.platform} ${release()}`;
console.log(`${machine}; ${rounds} interleaved rounds of ${slice} ms each.\n`);

if (wanted("appends")) {
  console.log(
    "Durable records a second in process, SQLite (bare: the same rows, ready made, in one transaction)\n",
  );
  printAppends(await measureAppends(rounds, slice), "≥ 0.7");
}
if (wanted("http")) {
  const results = await measureHttp(rounds, slice);
  console.log("\nA decision by `/v1` over loopback (noop: a Fastify route that does nothing)\n");
  print(
    ["callers", "noop/s", "aegis/s", "aegis ÷ noop", "aim", "p50 noop µs", "aegis", "p99 noop", "aegis"],
    results.map(({ callers, noop, aegis }) => [
      String(callers),
      whole(noop.rate),
      whole(aegis.rate),
      (aegis.rate / noop.rate).toFixed(2),
      callers === 16 ? "≥ 0.5" : "",
      whole(noop.p50),
      whole(aegis.p50),
      whole(noop.p99),
      whole(aegis.p99),
    ]),
  );
}
if (wanted("growth")) {
  const sizes = [0, most / 10, most].map(Math.round);
  const results = await measureGrowth(sizes);
  console.log("\nOne decision at a time in process, by the length of the ledger\n");
  const first = results[0]?.p50 ?? Number.NaN;
  print(
    ["records", "p50 µs", "p99 µs", "p50 ÷ empty", "aim"],
    results.map(({ records, p50, p99 }) => [
      records.toLocaleString("en"),
      whole(p50),
      whole(p99),
      (p50 / first).toFixed(2),
      "≤ 1.2",
    ]),
  );
}
if (wanted("postgres")) {
  if (binaries === null) console.log("\nPostgreSQL: none here (initdb), not measured.");
  else {
    const cluster = await startCluster();
    try {
      const results = await measurePostgres(
        `postgres://postgres@/postgres?host=${encodeURIComponent(cluster.host)}`,
        rounds,
        slice,
      );
      console.log(
        "\nDurable records a second, PostgreSQL (bare: a connection for each writer, which inserts)\n",
      );
      printAppends(results, "≥ 0.6");
    } finally {
      await cluster.stop();
    }
  }
}
console.log(`\n${Math.round((performance.now() - begin) / 1000)} s in all.`);

function printAppends(results: readonly AppendResult[], aim: string): void {
  print(
    ["callers", "bare/s", "aegis/s", "aegis ÷ bare", "aim"],
    results.map(({ callers, bare, aegis }) => [
      String(callers),
      whole(bare),
      whole(aegis),
      (aegis / bare).toFixed(2),
      aim,
    ]),
  );
}

function print(head: readonly string[], rows: ReadonlyArray<readonly string[]>): void {
  const rule = head.map(() => "---:");
  for (const row of [head, rule, ...rows]) console.log(`| ${row.join(" | ")} |`);
}

function whole(value: number): string {
  return String(Math.round(value));
}

import type { Payload } from "./calls.mjs";
import { type PathName, pathNames, type TransportName } from "./paths.js";

/** One path in one cell: medians over the rounds. */
export interface Figures {
  /** Calls a second. */
  readonly rate: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Microseconds of CPU a call, of the process in the middle alone; null for the direct path and off Linux. */
  readonly cpu: number | null;
}

export interface CellResult {
  readonly transport: TransportName;
  readonly payload: Payload;
  readonly callers: number;
  readonly paths: Readonly<Record<PathName, Figures>>;
}

/** Milliseconds from spawn to the first tools/list answer, medians. */
export type StartTimes = Readonly<Record<PathName, number>>;

/** What the project wants of the governed gateway, relative to the raw forwarder. */
export function aimOf({ payload, callers }: CellResult): number | null {
  if (callers === 1) return null;
  if (payload === "100 KB result") return 0.8;
  return payload === "200 B" ? 0.5 : 0.4;
}

/** The tables, ready for the README. */
export function markdown(cells: readonly CellResult[], start: StartTimes | null): string {
  const label = (cell: CellResult): string[] => [cell.transport, cell.payload, String(cell.callers)];
  const throughput = table(
    ["", "payload", "callers", "direct", "raw", "aegis", "aegis ÷ direct", "aegis ÷ raw", "aim"],
    cells.map((cell) => {
      const { direct, raw, aegis } = cell.paths;
      const rates = pathNames.map((name) => whole(cell.paths[name].rate));
      const aim = aimOf(cell);
      const ofRaw = ratio(aegis.rate, raw.rate);
      return [
        ...label(cell),
        ...rates,
        ratio(aegis.rate, direct.rate),
        ofRaw,
        aim === null ? "" : `≥ ${aim}`,
      ];
    }),
  );
  const latency = table(
    [
      "",
      "payload",
      "callers",
      "p50 direct",
      "raw",
      "aegis",
      "÷ direct",
      "÷ raw",
      "p99 direct",
      "raw",
      "aegis",
      "÷ direct",
      "÷ raw",
    ],
    cells.map((cell) => [...label(cell), ...times(cell, "p50"), ...times(cell, "p99")]),
  );
  const cpu = table(
    ["", "payload", "callers", "raw", "aegis", "aegis ÷ raw"],
    cells.map((cell) => {
      const { raw, aegis } = cell.paths;
      return [...label(cell), whole(raw.cpu), whole(aegis.cpu), ratio(aegis.cpu, raw.cpu)];
    }),
  );
  const parts = [
    "Throughput (calls/s)",
    throughput,
    "Latency (µs)",
    latency,
    "CPU of the process in the middle (µs a call)",
    cpu,
  ];
  if (start !== null) {
    const over = Math.round(start.aegis - start.direct);
    parts.push(
      "stdio: spawn to the first `tools/list` answer (ms)",
      table(
        ["direct", "raw", "aegis", "aegis − direct", "aim"],
        [[whole(start.direct), whole(start.raw), whole(start.aegis), String(over), "≤ 250"]],
      ),
    );
  }
  return parts.join("\n\n");
}

function times(cell: CellResult, which: "p50" | "p99"): string[] {
  const { direct, raw, aegis } = cell.paths;
  return [
    ...pathNames.map((name) => whole(cell.paths[name][which])),
    ratio(aegis[which], direct[which]),
    ratio(aegis[which], raw[which]),
  ];
}

/** The middle value; of an even number the upper of the two in the middle. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const rule = head.map((_, index) => (index < 2 ? "---" : "---:"));
  return [head, rule, ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

function whole(value: number | null): string {
  return value === null ? "–" : String(Math.round(value));
}

function ratio(value: number | null, base: number | null): string {
  return value === null || base === null || base === 0 ? "–" : (value / base).toFixed(2);
}

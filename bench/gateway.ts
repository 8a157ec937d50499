/**
 * The governed gateway against a raw frame forwarder and a direct connection, interleaved: each round measures every
 * path of a cell right after the other, so that whatever else the machine does meets all three.
 *
 *   npm run bench -- [--quick] [--only HTTP|stdio] [--json FILE]
 */
import { writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { parseArgs } from "node:util";
import { makePlace } from "../test/fixtures/gateway.js";
import type { Payload } from "./calls.mjs";
import { cpuOf, Load } from "./load.js";
import type { Measured } from "./load.mjs";
import {
  type OpenPaths,
  openHttp,
  openStdio,
  type PathName,
  pathNames,
  policies,
  stdioTargets,
  type TransportName,
  transports,
} from "./paths.js";
import { aimOf, type CellResult, type Figures, markdown, median, type StartTimes } from "./report.js";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    json: { type: "string" },
  },
});
// 54 measurements a round: 3 × 54 × 0.9 s and the starts are three minutes, the quick run half a minute.
const { rounds, slice, warm, starts } = values.quick
  ? { rounds: 1, slice: 250, warm: 100, starts: 3 }
  : { rounds: 3, slice: 900, warm: 1500, starts: 10 };
const payloads: readonly Payload[] = ["200 B", "100 KB result", "100 KB arguments"];
const callerCounts = [1, 16, 64] as const;

type Sample = Measured & { readonly cpu: number | null };
type Samples = Record<PathName, Sample[]>;

const begin = performance.now();
const place = makePlace(policies);
const load = new Load();
try {
  const cells: CellResult[] = [];
  for (const transport of transports) {
    if (values.only !== undefined && values.only !== transport) continue;
    const paths = await (transport === "HTTP"
      ? openHttp(load, place, Math.max(...callerCounts))
      : openStdio(load, place));
    try {
      cells.push(...(await measure(transport, paths)));
    } finally {
      await paths.close();
    }
  }
  const start = values.only === "HTTP" ? null : await measureStart();
  report(cells, start);
} finally {
  await load.close();
  place.remove();
}

async function measure(transport: TransportName, { pids }: OpenPaths): Promise<CellResult[]> {
  const shapes = payloads.flatMap((payload) => callerCounts.map((callers) => ({ payload, callers })));
  const samples = new Map(
    shapes.map((shape): [typeof shape, Samples] => [shape, { direct: [], raw: [], aegis: [] }]),
  );
  // Compiled code and warm caches for all three before anything counts.
  for (const name of pathNames) {
    for (const payload of payloads) await load.run(`${transport} ${name}`, payload, 16, warm);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [{ payload, callers }, taken] of samples) {
      for (const name of pathNames) {
        const pid = pids.get(name);
        const before = pid === undefined ? null : cpuOf(pid);
        const measured = await load.run(`${transport} ${name}`, payload, callers, slice);
        const after = pid === undefined ? null : cpuOf(pid);
        taken[name].push({ ...measured, cpu: before === null || after === null ? null : after - before });
      }
      process.stderr.write(".");
    }
  }
  process.stderr.write("\n");
  return [...samples].map(([shape, taken]) => ({
    transport,
    ...shape,
    paths: { direct: figures(taken.direct), raw: figures(taken.raw), aegis: figures(taken.aegis) },
  }));
}

function figures(samples: readonly Sample[]): Figures {
  const cpu = samples.every((sample) => sample.cpu !== null);
  const sum = (pick: (sample: Sample) => number): number =>
    samples.reduce((all, each) => all + pick(each), 0);
  return {
    rate: median(samples.map((sample) => sample.calls / sample.seconds)),
    p50: median(samples.map((sample) => sample.p50)),
    p99: median(samples.map((sample) => sample.p99)),
    // The kernel counts in ticks of 10 ms: summed over the rounds before dividing.
    cpu: cpu ? sum((sample) => sample.cpu ?? 0) / sum((sample) => sample.made) : null,
  };
}

async function measureStart(): Promise<StartTimes> {
  const targets = stdioTargets(place);
  const taken: Record<PathName, number[]> = { direct: [], raw: [], aegis: [] };
  for (let time = 0; time < starts; time++) {
    for (const name of pathNames) taken[name].push(await load.start(targets[name]));
  }
  return { direct: median(taken.direct), raw: median(taken.raw), aegis: median(taken.aegis) };
}

function report(cells: readonly CellResult[], start: StartTimes | null): void {
  const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? "unknown CPU"}, ${process.platform} ${release()}`;
  const seconds = Math.round((performance.now() - begin) / 1000);
  console.log(
    `${machine}; ${rounds} interleaved rounds of ${slice} ms a path and cell, ${seconds} s in all.\n`,
  );
  console.log(markdown(cells, start));
  const missed = cells.filter((cell) => {
    const aim = aimOf(cell);
    return aim !== null && cell.paths.aegis.rate < aim * cell.paths.raw.rate;
  });
  const names = missed.map(({ transport, payload, callers }) => `${transport} ${payload} ${callers}`);
  console.log(`\nAims missed: ${names.length === 0 ? "none" : names.join(", ")}.`);
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ machine, rounds, slice, cells, start }, null, 2)}\n`);
  }
}

import type { LedgerRecord } from "../client/backend.js";
import { visible } from "../visible.js";
import { type CommonOptions, type Context, requireAgent, withBackend } from "./context.js";
import { recordJson } from "./json.js";
import { type Output, styleOf } from "./output.js";
import { untilInterrupted } from "./until-interrupted.js";

interface Options extends CommonOptions {
  readonly limit: number;
  readonly follow?: boolean;
}

/** Kinds of which it matters most who did it. */
const acts = new Set(["approval", "grant", "kill", "revive", "token"]);

/** Records fetched at a time while following. */
const page = 200;

/** `aegis log [AGENT]`: the newest records, oldest of them first. */
export async function run(context: Context, options: Options, [agent]: readonly string[]): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async ({ backend }) => {
    if (agent !== undefined) await requireAgent(backend, agent);
    const filter = agent === undefined ? {} : { agent };
    let after = 0;
    const print = (records: readonly LedgerRecord[]): void => {
      for (const record of records) {
        if (out.json) out.document(recordJson(record));
        else out.line(recordLine(out, record));
        after = record.id;
      }
    };
    const records = await backend.records({ ...filter, limit: options.limit });
    print(records);
    if (options.follow !== true) {
      if (records.length === 0 && !out.json) out.line("The ledger has no record here yet.");
      return 0;
    }
    await untilInterrupted(async () => {
      let next: readonly LedgerRecord[];
      do {
        next = await backend.records({ ...filter, limit: page, after });
        print(next);
      } while (next.length === page);
    });
    return 0;
  });
}

/** `#12  18:45:03  decision  bot  ALLOW  files__read  the reason (the rule)`; the day is named where it is another. */
function recordLine(out: Output, record: LedgerRecord): string {
  const word = text(record.decision) || text(record.outcome);
  const name = text(record.action) || text(record.server);
  const duration = record.duration;
  const approval = record.approval;
  const reason = text(record.reason);
  const rule = text(record.rule);
  const findings = text(record.findings);
  const principal = text(record.principal);
  const details = [
    reason,
    ...(rule === "" || reason.includes(rule) ? [] : [`(${rule})`]),
    ...(findings === "" ? [] : [`[${findings}]`]),
    ...(typeof approval === "number" && !reason.includes(`pproval ${approval}`)
      ? [`approval ${approval}`]
      : []),
    ...(typeof duration === "number" ? [`${Math.round(duration)} ms`] : []),
    ...(acts.has(text(record.kind)) && principal !== "" && !reason.includes(principal)
      ? [`by ${principal}`]
      : []),
  ].filter((detail) => detail !== "");
  return [
    out.style("dim", `#${record.id}`.padEnd(6)),
    out.style("dim", timeOf(record.at)),
    text(record.kind).padEnd(9),
    text(record.agent).padEnd(12),
    out.style(styleOf(word), word.padEnd(8)),
    name.padEnd(24),
    details.join(" "),
  ]
    .join("  ")
    .trimEnd();
}

function text(value: unknown): string {
  return typeof value === "string" ? visible(value) : "";
}

/** Local time, with the day where it is not today. */
function timeOf(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return visible(iso);
  const pad = (value: number): string => String(value).padStart(2, "0");
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return at.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
}

import { z } from "zod";
import type { LedgerRecord } from "../../../client/backend.js";
import { sentAction } from "../../sdk/action.js";
import type { Service } from "../../service.js";
import { wireTime } from "./wire.js";

const entry = {
  id: z.int(),
  timestamp: z.string(),
  agent_name: z.string(),
  action: z.string(),
  status: z.string(),
  details: z.string(),
};

export const entryWire = z.object(entry);
export const logWire = z.object({ ...entry, severity: z.string() });

export type Entry = z.infer<typeof entryWire>;

/** The kinds of records that have a place on this wire. */
const kinds = ["decision", "approval", "report", "thought"] as const;

/** Records asked for at a time: some of them have no place here. */
const page = 100;

const decisions: ReadonlyMap<unknown, string> = new Map([
  ["ALLOW", "ALLOWED"],
  ["BLOCK", "BLOCKED"],
  ["KILLED", "KILLED"],
  ["REVIEW", "PENDING"],
]);

const ends: ReadonlyMap<unknown, string> = new Map([
  ["approved", "APPROVED"],
  ["denied", "DENIED"],
  ["expired", "TIMEOUT"],
  ["void", "DENIED"],
]);

const severities: ReadonlyMap<string, string> = new Map([
  ["ALLOWED", "success"],
  ["APPROVED", "success"],
  ["BLOCKED", "failure"],
  ["DENIED", "failure"],
  ["TIMEOUT", "failure"],
  ["KILLED", "critical"],
  ["PENDING", "warning"],
]);

export function withSeverity(one: Entry): z.infer<typeof logWire> {
  return { ...one, severity: severities.get(one.status) ?? "info" };
}

/** The newest entries, newest first. */
export async function newestEntries(
  service: Service,
  agent: string | undefined,
  limit: number,
): Promise<Entry[]> {
  const found: Entry[] = [];
  const size = Math.max(limit, page);
  let before: number | undefined;
  for (;;) {
    const records = await service.records({
      kinds,
      limit: size,
      ...(agent === undefined ? {} : { agent }),
      ...(before === undefined ? {} : { before }),
    });
    for (const record of records.toReversed()) {
      const one = entryOf(record);
      if (one !== null) found.push(one);
      if (found.length === limit) return found;
    }
    before = records[0]?.id;
    if (records.length < size || before === undefined) return found;
  }
}

/** Null where the record has no place on this wire. */
export function entryOf(record: LedgerRecord): Entry | null {
  const said = saidBy(record);
  if (said === null) return null;
  return {
    id: record.id,
    timestamp: wireTime(record.at),
    agent_name: record.agent ?? "",
    action: sentAction(record),
    ...said,
  };
}

function saidBy(record: LedgerRecord): Pick<Entry, "status" | "details"> | null {
  switch (record.kind) {
    case "decision":
      return ofDecision(record);
    case "approval":
      return ofApproval(record);
    case "report":
    case "thought":
      return { status: typeof record.status === "string" ? record.status : "", details: record.reason ?? "" };
    default:
      return null;
  }
}

function ofDecision(record: LedgerRecord): Pick<Entry, "status" | "details"> | null {
  const { approval, decision, reason = "" } = record;
  const status = decisions.get(decision);
  // A lease that was renewed: the call has its entry.
  if (status === undefined || (record.release === true && status === "ALLOWED" && approval === undefined))
    return null;
  return { status, details: status === "PENDING" ? `Approval #${String(approval)} — ${reason}` : reason };
}

/** Who decided, and what they said: a person's denial does not read like a rule's (threat Z23). */
function ofApproval(record: LedgerRecord): Pick<Entry, "status" | "details"> | null {
  const { decision, principal, reason = "" } = record;
  const status = ends.get(decision);
  if (status === undefined) return null;
  const name = `Approval #${String(record.approval)}`;
  if (typeof principal === "string") {
    const said = reason === "" ? "." : `: ${reason}`;
    return { status, details: `${name} was ${String(decision)} by ${principal}${said}` };
  }
  return { status, details: decision === "void" ? `${name} is void: ${reason}.` : `${reason}.` };
}

import type { Approval, ApprovalFilter, LedgerRecord, RecordFilter } from "./backend.js";
import type { Api } from "./http-api.js";
import { PATIENCE } from "./requests.js";
import { approvalFromWire, approvalsAnswer, mostApprovals } from "./wire/approvals.js";
import { mostRecords, queryOfFilter, recordsAnswer } from "./wire/ledger.js";

/** The approvals of a filter, oldest first, in as many pages as it takes. */
export async function approvalsOf(api: Api, filter: ApprovalFilter): Promise<Approval[]> {
  const { status, limit = Number.POSITIVE_INFINITY } = filter;
  const found: Approval[] = [];
  for (;;) {
    const before = found[0]?.id ?? filter.before;
    const query = new URLSearchParams({
      limit: String(Math.min(mostApprovals, limit - found.length)),
      ...(status === undefined ? {} : { status }),
      ...(before === undefined ? {} : { before: String(before) }),
    });
    const { approvals, more } = await api.get(`/v1/approvals?${query.toString()}`, approvalsAnswer, {
      deadline: PATIENCE,
    });
    found.unshift(...approvals.map(approvalFromWire));
    if (!more || approvals.length === 0 || found.length >= limit) return found;
  }
}

/** The records of a filter, in as many pages as it takes. */
export async function recordsOf(api: Api, filter: RecordFilter): Promise<LedgerRecord[]> {
  const found: LedgerRecord[] = [];
  for (;;) {
    const page = await pageOf(api, restOf(filter, found));
    if (filter.after === undefined) found.unshift(...page);
    else found.push(...page);
    if (page.length < Math.min(mostRecords, filter.limit) || found.length >= filter.limit) return found;
  }
}

/** What is still asked for, behind or before what was found. */
function restOf(filter: RecordFilter, found: readonly LedgerRecord[]): RecordFilter {
  const limit = filter.limit - found.length;
  const [first] = found;
  const last = found.at(-1);
  if (first === undefined || last === undefined) return { ...filter, limit };
  return filter.after === undefined
    ? { ...filter, limit, before: first.id }
    : { ...filter, limit, after: last.id };
}

async function pageOf(api: Api, filter: RecordFilter): Promise<LedgerRecord[]> {
  const query = new URLSearchParams(queryOfFilter(filter));
  const { records } = await api.get(`/v1/ledger?${query.toString()}`, recordsAnswer, { deadline: PATIENCE });
  return records;
}

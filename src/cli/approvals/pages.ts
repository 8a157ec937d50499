import type { Approval, ApprovalStatus, Backend } from "../../client/backend.js";

/** Approvals, and bytes, that are read in one go: each may hold as much as a call may send. */
const PAGE = 100;
const BYTES = 8 * 1024 * 1024;

export interface Listed {
  readonly approval: Approval;
  /** Ids of the open approvals of the same call, this one among them; its own alone where it is not open. */
  readonly alike: readonly number[];
}

/** Page by page, oldest first: of ten thousand, a page at a time is in memory. */
export async function* oldestFirst(backend: Backend, status?: ApprovalStatus): AsyncGenerator<Listed> {
  const groups = new Map<string, number[]>();
  const starts: Array<number | undefined> = [];
  let oldest: readonly Approval[] = [];
  for (let before: number | undefined; ; ) {
    const page = await pageBefore(backend, status, before);
    const [first] = page;
    // Also where a backend knows no pages, and gives the same again.
    if (first === undefined || (before !== undefined && first.id >= before)) break;
    for (const approval of page.toReversed()) {
      if (isOpen(approval))
        groups.set(keyOf(approval), [approval.id, ...(groups.get(keyOf(approval)) ?? [])]);
    }
    starts.push(before);
    oldest = page;
    before = first.id;
  }
  let shown = 0;
  for (const [index, before] of starts.toReversed().entries()) {
    const page = index === 0 ? oldest : await pageBefore(backend, status, before);
    for (const approval of page) {
      // What was decided meanwhile has moved others between pages.
      if (approval.id <= shown) continue;
      shown = approval.id;
      const alike = isOpen(approval) ? groups.get(keyOf(approval)) : undefined;
      yield { approval, alike: alike ?? [approval.id] };
    }
  }
}

/** How many there are. */
export async function countOf(backend: Backend, status: ApprovalStatus): Promise<number> {
  let count = 0;
  for (let before: number | undefined; ; ) {
    const page = await pageBefore(backend, status, before);
    const [first] = page;
    if (first === undefined || (before !== undefined && first.id >= before)) return count;
    count += page.length;
    before = first.id;
  }
}

/** What comes and goes among those that wait. */
export class Watched {
  /** By id, what they have in common with others that are alike. */
  private readonly known = new Map<number, string>();
  private newest = 0;
  /** Where the next page begins that is held against what is known; undefined: at the newest. */
  private before: number | undefined;

  constructor(private readonly backend: Backend) {}

  add(approval: Approval): void {
    this.known.set(approval.id, keyOf(approval));
    this.newest = Math.max(this.newest, approval.id);
  }

  /** Ids of those that are alike. */
  alike(approval: Approval): number[] {
    const key = keyOf(approval);
    return [...this.known].filter(([, other]) => other === key).map(([id]) => id);
  }

  /**
   * New ones, and one page of the others: a look costs the same however many wait.
   *
   * @returns those that came, oldest first, and the ids of those that wait no more
   */
  async look(): Promise<{ readonly came: readonly Approval[]; readonly gone: readonly number[] }> {
    const gone: number[] = [];
    const came: Approval[] = [];
    const known = this.newest;
    let page = await this.compare(undefined, gone);
    for (;;) {
      const fresh = page.filter(({ id }) => id > known);
      came.unshift(...fresh);
      const [first] = page;
      if (first === undefined || fresh.length < page.length) break;
      page = await this.compare(first.id, gone);
    }
    if (this.before !== undefined) page = await this.compare(this.before, gone);
    this.before = page[0]?.id;
    if (this.before !== undefined && !this.anyBefore(this.before)) this.before = undefined;
    for (const id of gone) this.known.delete(id);
    for (const approval of came) this.add(approval);
    return { came, gone: [...new Set(gone)].toSorted((one, other) => one - other) };
  }

  private async compare(before: number | undefined, gone: number[]): Promise<readonly Approval[]> {
    const page = await pageBefore(this.backend, "pending", before);
    const first = page[0]?.id ?? 0;
    const there = new Set(page.map(({ id }) => id));
    for (const id of this.known.keys())
      if (id >= first && (before === undefined || id < before) && !there.has(id)) gone.push(id);
    return page;
  }

  private anyBefore(id: number): boolean {
    for (const known of this.known.keys()) if (known < id) return true;
    return false;
  }
}

async function pageBefore(
  backend: Backend,
  status: ApprovalStatus | undefined,
  before: number | undefined,
): Promise<readonly Approval[]> {
  return backend.approvals({
    ...(status === undefined ? {} : { status }),
    ...(before === undefined ? {} : { before }),
    limit: PAGE,
    bytes: BYTES,
  });
}

function isOpen({ status }: Approval): boolean {
  return status === "pending" || status === "approved";
}

/** The digest binds agent, tool and arguments; who asks does too. */
function keyOf({ digest, principal }: Approval): string {
  return JSON.stringify([digest, principal]);
}

import { join, resolve } from "node:path";
import { AegisError } from "../../errors.js";
import type { CommonOptions, Context } from "../context.js";
import { person } from "../person.js";
import { besideTheBackend, type LedgerFlags, ledgerPlace, remoteLedger } from "./source.js";

interface Options extends CommonOptions, LedgerFlags {
  readonly before: { readonly age: number } | { readonly id: number };
  readonly out?: string;
}

/** `aegis audit rotate`: moves the oldest records into segment files, which continue to verify. */
export async function run(context: Context, options: Options): Promise<number> {
  const { home, out } = context;
  const remote = await remoteLedger(context, options);
  if (remote !== null) {
    throw new AegisError(
      "backend_unsupported",
      `A ledger is rotated where its database is, and ${remote.where} names a backend on the other side of HTTP.`,
      { hint: `${besideTheBackend(remote)} (with its owner's login).` },
    );
  }
  const [{ writeLedgerOf }, { rotate }] = await Promise.all([
    import("../../backend/open-ledger.js"),
    import("../../backend/ledger/rotate.js"),
  ]);
  const { before } = options;
  const folder = options.out === undefined ? join(home, "segments") : resolve(options.out);
  return writeLedgerOf(await ledgerPlace(context, options), async (parts) => {
    const limit = "id" in before ? before : { time: Date.now() - before.age };
    let segments = 0;
    for await (const { path, first, last } of rotate(parts, { before: limit, folder, by: person() })) {
      segments++;
      if (out.json) out.document({ file: path, first, last });
      else out.line(`Records ${first} to ${last} are in ${path} now.`);
    }
    if (segments === 0 && !out.json) {
      out.line("Nothing was moved: no checkpoint is that old, or a call that is open began before it.");
    }
    return 0;
  });
}

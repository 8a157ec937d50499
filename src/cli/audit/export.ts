import { open } from "node:fs/promises";
import { resolve } from "node:path";
import type { ExportQuery } from "../../backend/ledger/export.js";
import { AegisError, reasonOf } from "../../errors.js";
import type { CommonOptions, Context } from "../context.js";
import { person } from "../person.js";
import { besideTheBackend, type LedgerFlags, ledgerPlace, remoteLedger } from "./source.js";

interface Options extends CommonOptions, LedgerFlags {
  readonly format: "jsonl" | "csv";
  readonly from?: number;
  readonly to?: number;
  readonly agent?: string;
  readonly out?: string;
}

/**
 * `aegis audit export`: the ledger as text, which verifies with the public key alone. That it was taken out is a record
 * of its own, and signed: so is all that is exported.
 */
export async function run(context: Context, options: Options): Promise<number> {
  const remote = await remoteLedger(context, options);
  if (remote !== null) {
    throw new AegisError(
      "backend_unsupported",
      `${remote.where} names a backend on the other side of HTTP, which exports over its API.`,
      { hint: `GET /v1/ledger/export, with a token of role auditor. ${besideTheBackend(remote)}` },
    );
  }
  const [{ writeLedgerOf }, { exportHead, exportLines, storeSource }] = await Promise.all([
    import("../../backend/open-ledger.js"),
    import("../../backend/ledger/export.js"),
  ]);
  const { format, from, to, agent, out: file } = options;
  const query: ExportQuery = {
    format,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(agent === undefined ? {} : { agent }),
  };
  return writeLedgerOf(await ledgerPlace(context, options), async ({ commit, store }) => {
    const { recordExport } = await import("../../backend/ledger/export-record.js");
    const source = storeSource(store);
    // Refused before it is recorded.
    await exportHead(source, query);
    await recordExport(commit, query, person());
    const lines = exportLines(source, query);
    if (file === undefined) for await (const text of lines) await written(process.stdout, text);
    else context.out.say(`aegis: ${await writeFile(resolve(file), lines)} bytes written to ${file}`);
    if (agent !== undefined)
      context.out.say(
        "aegis: an export of one agent has gaps: it cannot be verified, as one of the whole ledger can",
      );
    return 0;
  });
}

/** Complete and on the disk when it resolves; what it holds is for its owner alone. */
async function writeFile(path: string, lines: AsyncIterable<string>): Promise<number> {
  const file = await open(path, "w", 0o600).catch((thrown: unknown) => {
    throw new AegisError("usage", `${path} cannot be written: ${reasonOf(thrown)}.`, { cause: thrown });
  });
  try {
    let bytes = 0;
    for await (const text of lines) {
      await file.appendFile(text);
      bytes += Buffer.byteLength(text);
    }
    // A pipe or a device has no disk.
    if ((await file.stat()).isFile()) await file.sync();
    return bytes;
  } finally {
    await file.close();
  }
}

/** A reader that is slower than the ledger is waited for; one that is gone (`| head`) ends it. */
function written(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((done, failed) => {
    stream.write(text, (error) => {
      if (!error) done();
      else if ("code" in error && error.code === "EPIPE") process.exit(0);
      else failed(error);
    });
  });
}

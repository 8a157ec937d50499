import { resolve } from "node:path";
import type { VerifyReport } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { visible } from "../../visible.js";
import { type CommonOptions, type Context, withBackend } from "../context.js";
import type { Output } from "../output.js";
import { besideTheBackend, type LedgerFlags, ledgerPlace, readKeys, remoteLedger } from "./source.js";

interface Options extends CommonOptions, LedgerFlags {
  readonly file?: string;
  readonly key?: readonly string[];
  /** False: --no-anchor. */
  readonly anchor?: readonly string[] | false;
  readonly segments?: string;
  readonly allowUnsigned?: boolean;
}

/** `aegis audit verify`: 0 where everything holds, 1 where something does not. */
export async function run(context: Context, options: Options): Promise<number> {
  const { out } = context;
  const { report, source } = await verified(context, options);
  if (out.json) out.document({ ...report, backend: source });
  else print(out, report, source);
  return report.ok ? 0 : 1;
}

interface Verified {
  readonly report: VerifyReport;
  /** What was verified, for people. */
  readonly source: string;
}

async function verified(context: Context, options: Options): Promise<Verified> {
  if (options.file !== undefined) return verifyFile(context, options, options.file);
  if (options.allowUnsigned) {
    throw new AegisError("usage", "--allow-unsigned is about an export.", { hint: "Name it with --file." });
  }
  const remote = await remoteLedger(context, options);
  if (remote === null) return verifyStore(context, options);
  if (options.key ?? options.anchor ?? options.segments) {
    throw new AegisError(
      "usage",
      `${remote.where} names a backend on the other side of HTTP, which verifies with what it has itself.`,
      {
        hint: `${besideTheBackend(remote)}. Elsewhere: take GET /v1/ledger/export, then run aegis audit verify --file FILE --key ledger.pub`,
      },
    );
  }
  return withBackend(context, options, async ({ backend }) => ({
    report: await backend.verify(),
    source: backend.description,
  }));
}

/** An export, with public keys alone: neither a database nor AEGIS_HOME is needed. */
async function verifyFile({ home }: Context, options: Options, file: string): Promise<Verified> {
  const [{ verifyExport }, { Signer }, { readAnchor }] = await Promise.all([
    import("../../backend/ledger/export-file.js"),
    import("../../backend/ledger/signer.js"),
    import("../../backend/ledger/anchor-file.js"),
  ]);
  const keys = await readKeys(options.key, () => new Signer(home).trusted());
  if (keys === null) {
    throw new AegisError("usage", "There is no public key to verify the export with.", {
      hint: "Give one: --key ledger.pub",
    });
  }
  const anchors = options.anchor
    ? await Promise.all(options.anchor.map((path) => readAnchor(resolve(path))))
    : null;
  const { allowUnsigned = false } = options;
  return { report: await verifyExport(resolve(file), { keys, anchors, allowUnsigned }), source: file };
}

/** The store itself, opened beside whoever writes to it. Nothing is signed by that: what is found is verified. */
async function verifyStore(context: Context, options: Options): Promise<Verified> {
  const [{ readLedgerOf }, { verify }, { anchorFiles }] = await Promise.all([
    import("../../backend/open-ledger.js"),
    import("../../backend/ledger/verify.js"),
    import("../../backend/ledger/anchors.js"),
  ]);
  return readLedgerOf(await ledgerPlace(context, options), async ({ store, signer, ledger }) => {
    const { anchor, segments } = options;
    const report = await verify(store, {
      keys: await readKeys(options.key, () => signer.trusted()),
      anchors: anchor === false ? null : (anchor?.map((path) => resolve(path)) ?? anchorFiles(ledger.anchor)),
      unsigned: ledger.checkpoint.records,
      segments: segments === undefined ? null : resolve(segments),
    });
    return { report, source: store.description };
  });
}

function print(out: Output, report: VerifyReport, source: string): void {
  const { ok, records, head, broken, open, evidence } = report;
  if (!ok && broken === null) {
    out.line(`${out.style("red", "This cannot be verified")}: ${visible(source)}.`);
    for (const note of evidence?.notes ?? []) out.line(visible(note));
    return;
  }
  if (broken !== null) {
    const where = ` at record ${broken.id}: ${visible(broken.reason)}`;
    out.line(`${out.style("red", "The ledger is broken")}${where}.`);
    out.line(
      `The ${records} records before it hold. Keep a copy of ${visible(source)} before anything else is done to it.`,
    );
    return;
  }
  const newest = head === "" ? "" : `; the newest has the hash ${visible(head)}`;
  out.line(`${out.style("green", "The ledger holds")}: ${records} records${newest}.`);
  if (evidence !== undefined) {
    const { anchors, checkpoints, first, keys, notes, signed } = evidence;
    const behind = first + records - 1 - signed;
    if (checkpoints === 0) out.line("Nothing is signed yet.");
    else {
      out.line(
        `Signed up to record ${signed} by ${keys.map(visible).join(", ")} (${checkpoints} checkpoints)${
          behind > 1 ? `; the ${behind} records behind it are chained, and not signed yet` : ""
        }.`,
      );
    }
    for (const anchor of anchors ?? []) {
      const late = anchor.behind > 0 ? `, and lacks the newest ${anchor.behind}` : "";
      if (anchor.checkpoints + anchor.behind > 0)
        out.line(`The anchor ${visible(anchor.name)} holds ${anchor.checkpoints} checkpoints${late}.`);
    }
    if (anchors === null && checkpoints > 0) {
      out.line("No anchor was compared: whether the end was cut off cannot be told.");
    }
    for (const note of notes) out.line(visible(note));
  }
  if (open > 0) {
    out.line(
      `Allowed calls without an outcome: ${open}. They run now, or their gateway died and it is unknown.`,
    );
  }
}

import { channels } from "../../requirement.js";
import { dataLabel } from "../label.js";
import type { ApprovalTerms, HostRule, Limit, PlacedDataRule, PolicyFile, Rule } from "../policy.js";
import type { YamlDocument } from "./document.js";
import { listOf, type WrittenPolicy } from "./schema.js";

type ReviewEntry = Exclude<NonNullable<WrittenPolicy["review"]>[number], string>;
type Written = Omit<ReviewEntry, "approval"> & { readonly approval?: ReviewEntry["approval"] };
type LineOf = (...path: PropertyKey[]) => number;

/** A file as it was written, in the form that decisions are made from. */
export function normalize(written: WrittenPolicy, file: string, document: YamlDocument): PolicyFile {
  const lineOf: LineOf = (...path) => document.positionOf(path).line;
  const hidden = (entry: { readonly shadow?: boolean | undefined }) =>
    written.shadow === true || entry.shadow === true ? ({ shadow: true } as const) : {};
  return {
    file,
    agent: written.agent,
    owner: written.owner ?? null,
    default: written.default ?? null,
    rules: rulesOf(written, file, lineOf, hidden),
    limits: (written.limits ?? []).map(
      ({ action, calls = 1, per, concurrent, reason, ...entry }, index): Limit => ({
        pattern: action,
        of: concurrent === undefined ? { calls, per: per ?? 1 } : { concurrent },
        reason: reason ?? null,
        file,
        line: lineOf("limits", index),
        ...hidden(entry),
      }),
    ),
    hosts: (["block", "allow"] as const).flatMap((list) =>
      (written.servers?.[list] ?? []).map((entry, index): HostRule => {
        const { host, action = "*", reason, ...rest } = typeof entry === "string" ? { host: entry } : entry;
        const line = lineOf("servers", list, index);
        return { list, host, pattern: action, reason: reason ?? null, file, line, ...hidden(rest) };
      }),
    ),
    data: (written.data ?? []).map((entry, index): PlacedDataRule => {
      const line = lineOf("data", index);
      const name = entry.name ?? entry.detect;
      const places = entry.in ?? ["arguments", "results"];
      return {
        rule: dataLabel({ file, line }, name),
        detect: entry.detect,
        name,
        pattern: entry.pattern ?? null,
        effect: entry.then,
        reason: entry.reason ?? null,
        action: entry.action ?? "*",
        in: typeof places === "string" ? [places] : [...new Set(places)],
        file,
        line,
        ...hidden(entry),
      };
    }),
    onChange: written.on_change ?? null,
    ...(written.shadow === true ? { shadow: true } : {}),
  };
}

function rulesOf(
  written: WrittenPolicy,
  file: string,
  lineOf: LineOf,
  hidden: (entry: Written) => { readonly shadow?: true },
): Rule[] {
  const rules: Rule[] = [];
  for (const [key, list] of listOf) {
    const entries: ReadonlyArray<string | Written> = written[key] ?? [];
    for (const [index, entry] of entries.entries()) {
      const { action, reason, when, approval, ...rest }: Written =
        typeof entry === "string" ? { action: entry } : entry;
      rules.push({
        list,
        pattern: action,
        reason: reason ?? null,
        file,
        line: lineOf(key, index),
        ...(when === undefined ? {} : { when }),
        ...hidden({ action, ...rest }),
        ...(approval === undefined ? {} : { approval: termsOf(approval) }),
      });
    }
  }
  return rules;
}

function termsOf(written: NonNullable<ReviewEntry["approval"]>): ApprovalTerms {
  const { approvers, quorum, reason, expires, channels: stated, grant } = written;
  return {
    ...(approvers === undefined ? {} : { approvers: [...new Set(approvers)].toSorted() }),
    ...(quorum === undefined ? {} : { quorum }),
    ...(reason === undefined ? {} : { reason: true }),
    ...(expires === undefined ? {} : { expires }),
    ...(stated === undefined ? {} : { channels: channels.filter((channel) => stated.includes(channel)) }),
    ...(grant === undefined
      ? {}
      : { grant: { uses: grant.uses, expires: grant.expires, arguments: grant.arguments ?? {} } }),
  };
}

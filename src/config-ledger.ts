import { isAbsolute, join, resolve } from "node:path";
import type { Section } from "./config-yaml.js";
import { longestTimer } from "./duration.js";
import { isLoopback } from "./listen.js";

/** `ledger:` of AEGIS_HOME/config.yaml. */
export interface LedgerConfig {
  /** Absolute paths of files, and URLs of webhooks, that are told of every checkpoint. */
  readonly anchor: readonly string[];
  readonly checkpoint: {
    /** Records between two signatures. */
    readonly records: number;
    /** Milliseconds a record waits for a signature at most. */
    readonly every: number;
  };
  /** Members of arguments whose values are secrets here, such as `arguments.customer.ssn`. */
  readonly redact: readonly string[];
}

export function ledgerDefaults(home: string): LedgerConfig {
  return {
    anchor: [join(home, "ledger.anchor")],
    checkpoint: { records: 1_000, every: 5 * 60_000 },
    redact: [],
  };
}

/**
 * Reads the section `ledger` of a configuration.
 *
 * @param base the folder that relative paths are relative to: AEGIS_HOME
 * @throws AegisError config_invalid
 */
export function readLedger(root: Section, base: string): LedgerConfig {
  const defaults = ledgerDefaults(base);
  const section = root.section("ledger")?.only(["anchor", "checkpoint", "redact"]);
  if (section === undefined) return defaults;
  const checkpoint = section.section("checkpoint")?.only(["records", "every"]);
  return {
    anchor: readAnchors(section, base) ?? defaults.anchor,
    checkpoint: {
      records: checkpoint?.integer("records", 1, 1_000_000) ?? defaults.checkpoint.records,
      every: checkpoint?.duration("every", 1_000, longestTimer) ?? defaults.checkpoint.every,
    },
    redact: readPaths(section),
  };
}

function readAnchors(section: Section, base: string): string[] | undefined {
  return section.texts("anchor")?.map((text) => {
    if (text === "") throw section.refuse("anchor", "ledger.anchor holds an empty text");
    if (!/^[a-z][a-z0-9+.-]+:\/\//i.test(text)) return isAbsolute(text) ? text : resolve(base, text);
    const url = URL.canParse(text) ? new URL(text) : null;
    const safe = url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(url.hostname));
    if (safe) return text;
    throw section.refuse(
      "anchor",
      "a webhook of ledger.anchor must begin with https://, or lead to this machine",
      "On the way to http:// anybody could answer, and the anchor would hold nothing.",
    );
  });
}

/** Words of letters, digits, `_` and `-`, or `*`, joined by dots. */
const path = /^(?:[^.\s*]+|\*)(?:\.(?:[^.\s*]+|\*))*$/;

function readPaths(section: Section): string[] {
  return (section.texts("redact") ?? []).map((text) => {
    const plain = text.replace(/^\$\./, "");
    if (plain.length <= 512 && path.test(plain)) return plain;
    throw section.refuse(
      "redact",
      "ledger.redact lists paths of members",
      "Write them as arguments.customer.ssn; * stands for any member, or any item of a list.",
    );
  });
}

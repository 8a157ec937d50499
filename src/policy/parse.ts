import type * as z from "zod";
import { nearest } from "../suggest.js";
import { visible } from "../visible.js";
import { type Problem, readDocument, type YamlDocument } from "./document.js";
import type { PolicyFile, Rule } from "./policy.js";
import { keysAt, listOf, policySchema, unsupportedKeys } from "./schema.js";

export interface ParseOptions {
  /** One server is governed (`wrap`): a pattern without `__` means the tool's own name. */
  readonly bareNames: boolean;
}

type Entry =
  | string
  | {
      readonly action: string;
      readonly reason?: string | undefined;
      readonly approval?: { readonly expires?: number | undefined } | undefined;
    };

type Parsed = { readonly policy: PolicyFile } | { readonly problems: readonly Problem[] };

/** Reads the text of one policy file, or says everything that is wrong with it, in the order of the file. */
export function readPolicy(text: string, file: string, options: ParseOptions): Parsed {
  const document = readDocument(text);
  if (!("value" in document)) return { problems: document };
  const result = policySchema(options).safeParse(document.value);
  if (!result.success) {
    const problems = result.error.issues.flatMap((issue) => problemsOf(issue, [], document));
    return { problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) };
  }
  const { agent, owner, default: stated, ...written } = result.data;
  const entries: Readonly<Record<string, readonly Entry[] | null | undefined>> = written;
  const rules: Rule[] = [];
  for (const [key, list] of listOf) {
    for (const [index, entry] of (entries[key] ?? []).entries()) {
      const { action, reason, approval } = typeof entry === "string" ? { action: entry } : entry;
      const expires = approval?.expires;
      rules.push({
        list,
        pattern: action,
        reason: reason ?? null,
        file,
        line: document.positionOf([key, index]).line,
        ...(expires === undefined ? {} : { expires }),
      });
    }
  }
  return { policy: { file, agent, owner: owner ?? null, default: stated ?? null, rules } };
}

function problemsOf(
  issue: z.core.$ZodIssue,
  parent: readonly PropertyKey[],
  document: YamlDocument,
): Problem[] {
  const path = [...parent, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      ...document.positionOfKey(path, key),
      message: `${placeName(path)}${unknownKey(key, path)}`,
    }));
  }
  const value = valueAt(document.value, path);
  if (issue.code === "invalid_union") {
    // An entry is a string or a mapping; what is wrong inside the one that was written is what helps.
    const branch =
      typeof value === "string" ? issue.errors[0] : isMapping(value) ? issue.errors[1] : undefined;
    if (branch !== undefined) return branch.flatMap((inner) => problemsOf(inner, path, document));
  }
  return [
    {
      ...document.positionOf(path),
      message: visible(`${placeName(path)}found ${shown(value)}, expected ${issue.message}`),
    },
  ];
}

function unknownKey(key: string, path: readonly PropertyKey[]): string {
  const found = visible(JSON.stringify(key.slice(0, 60)));
  if (unsupportedKeys.has(key)) {
    return `found ${found}, which this version of aegis does not support yet, expected a policy without it`;
  }
  if (key === "approval") return `found ${found} outside review, expected it under review only`;
  const keys = keysAt(path);
  const guess = nearest(key, keys);
  return `found the unknown key ${found}${guess === null ? "" : ` (did you mean "${guess}"?)`}, expected ${keys.join(", ")}`;
}

function placeName(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "";
  const steps = path.map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`));
  return `${steps.join("").slice(1)}: `;
}

function isMapping(value: unknown): value is Readonly<Record<PropertyKey, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const step of path) {
    if (Array.isArray(value)) value = value[Number(step)];
    else if (isMapping(value) && Object.hasOwn(value, step)) value = value[step];
    else return undefined;
  }
  return value;
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value !== "string") return "a mapping";
  return value.length <= 80 ? JSON.stringify(value) : `${JSON.stringify(value.slice(0, 80))}…`;
}

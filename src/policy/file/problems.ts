import type * as z from "zod";
import { nearest } from "../../suggest.js";
import { visible } from "../../visible.js";
import type { Position, Problem, YamlDocument } from "./document.js";
import { keysAt } from "./schema.js";

/** What one issue of the schema means to whoever wrote the file: where, what was found, what was expected. */
export function problemsOf(
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
    // An entry is a string or something of several parts; what is wrong inside the one that was written is what helps.
    const parts = isMapping(value) || Array.isArray(value);
    const branch = typeof value === "string" ? issue.errors[0] : parts ? issue.errors[1] : undefined;
    const fits = branch?.some((inner) => inner.path.length > 0 || inner.code !== "invalid_type");
    if (branch !== undefined && fits) return branch.flatMap((inner) => problemsOf(inner, path, document));
  }
  const message = visible(`${placeName(path)}found ${shown(value)}, expected ${issue.message}`);
  return [{ ...placeOf(issue, path, document), message }];
}

function placeOf(issue: z.core.$ZodIssue, path: readonly PropertyKey[], document: YamlDocument): Position {
  const offset = issue.code === "custom" ? issue.params?.offset : undefined;
  return typeof offset === "number" ? document.positionWithin(path, offset) : document.positionOf(path);
}

function unknownKey(key: string, path: readonly PropertyKey[]): string {
  const found = visible(JSON.stringify(key.slice(0, 60)));
  if (key === "approval" && path.length === 2)
    return `found ${found} outside review, expected it under review only`;
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

import type { PolicyFile } from "../policy.js";
import { type Problem, readDocument } from "./document.js";
import { normalize } from "./normalize.js";
import { problemsOf } from "./problems.js";
import { policySchema } from "./schema.js";

export interface ParseOptions {
  /** One server is governed (`wrap`): a pattern without `__` means the tool's own name. */
  readonly bareNames: boolean;
}

type Parsed = { readonly policy: PolicyFile } | { readonly problems: readonly Problem[] };

/** Reads the text of one policy file, or says everything that is wrong with it, in the order of the file. */
export function readPolicy(text: string, file: string, options: ParseOptions): Parsed {
  const document = readDocument(text);
  if (!("value" in document)) return { problems: document };
  const result = schemaFor(options).safeParse(document.value);
  if (result.success) return { policy: normalize(result.data, file, document) };
  const problems = result.error.issues.flatMap((issue) => problemsOf(issue, [], document));
  return { problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) };
}

const schemas = new Map<boolean, ReturnType<typeof policySchema>>();

/** Putting a schema together takes longer than reading a file with it. */
function schemaFor(options: ParseOptions): ReturnType<typeof policySchema> {
  let schema = schemas.get(options.bareNames);
  if (schema === undefined) {
    schema = policySchema(options);
    schemas.set(options.bareNames, schema);
  }
  return schema;
}

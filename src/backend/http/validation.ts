import type { FastifySchemaCompiler } from "fastify";
import { type core, z } from "zod";

/** One problem of what was sent, as FastAPI names it: `["body", "name"]`, `["query", "limit"]`, `["path", "id"]`. */
export interface Problem {
  readonly loc: ReadonlyArray<string | number>;
  readonly msg: string;
  readonly type: string;
}

/** Problems one answer lists: an array of a million wrong values is not answered with a million. */
const listed = 20;
/** Characters of a foreign key in an answer. */
const shown = 100;

const places: Record<string, string> = {
  body: "body",
  querystring: "query",
  params: "path",
  headers: "header",
};

/** A part of the request does not fit its schema. */
export class InvalidRequest extends Error {
  /** Set by Fastify: which part. */
  readonly validationContext?: string;

  constructor(private readonly issues: readonly core.$ZodIssue[]) {
    super("the request does not fit its schema");
    this.name = "InvalidRequest";
  }

  problems(): Problem[] {
    const place = places[this.validationContext ?? "body"] ?? "body";
    return this.issues.flatMap((issue) => problemsOf(place, issue)).slice(0, listed);
  }
}

function problemsOf(place: string, issue: core.$ZodIssue): Problem[] {
  const loc = [place, ...issue.path.map((key) => (typeof key === "number" ? key : short(String(key))))];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.slice(0, listed).map((key) => ({
      loc: [...loc, short(key)],
      msg: "Extra inputs are not permitted",
      type: "extra_forbidden",
    }));
  }
  // Zod does not tell a missing member from one of another type, save in its message.
  if (issue.code === "invalid_type" && issue.message.endsWith("received undefined"))
    return [{ loc, msg: "Field required", type: "missing" }];
  return [{ loc, msg: issue.message, type: issue.code }];
}

function short(text: string): string {
  return text.length <= shown ? text : `${text.slice(0, shown)}…`;
}

/** Checks a part of the request against its zod schema; the handler gets what the schema made of it. */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> = ({ schema }) => {
  return (data: unknown) => {
    const result = z.safeParse(schema, data);
    return result.success ? { value: result.data } : { error: new InvalidRequest(result.error.issues) };
  };
};

import type { z } from "zod";
import { AegisError, type ErrorCode, errorCodes } from "../errors.js";
import type { Answer, Question, Requests } from "./requests.js";
import { problemText, problemWire } from "./wire/problem.js";

/**
 * Questions to `/v1`, whose answers are exactly what their schema says. Everything else is an error: another status than
 * 200, a redirect, a page for people, JSON of another shape.
 */
export class Api {
  constructor(readonly requests: Requests) {}

  get shown(): string {
    return this.requests.address.shown;
  }

  get<T>(path: string, schema: z.ZodType<T>, options: Options = {}): Promise<T> {
    return this.read({ method: "GET", path, ...options }, schema);
  }

  post<T>(path: string, body: unknown, schema: z.ZodType<T>, options: Options = {}): Promise<T> {
    return this.read({ method: "POST", path, body, ...options }, schema);
  }

  /** @throws AegisError what the backend said, `backend_unavailable` where that is not known */
  async read<T>(question: Question, schema: z.ZodType<T>): Promise<T> {
    return this.parse(await this.requests.ask(question), schema);
  }

  /** @throws AegisError */
  parse<T>(answer: Answer, schema: z.ZodType<T>): T {
    if (answer.status !== 200) throw this.refusal(answer);
    const parsed = schema.safeParse(jsonOf(answer));
    if (parsed.success) return parsed.data;
    throw foreign(this.shown, "its answer is not of the form that this version knows");
  }

  private refusal(answer: Answer): AegisError {
    const { status } = answer;
    const problem = problemWire.safeParse(jsonOf(answer));
    if (status === 401) return this.notLetIn();
    if (!problem.success) return foreign(this.shown, statusText(status));
    const { code, hint } = problem.data;
    const message = problemText(problem.data);
    const options = hint === undefined ? {} : { hint };
    if (isErrorCode(code)) return new AegisError(code, message, options);
    if (status === 403) return new AegisError("not_permitted", message, options);
    // Something in the question itself: the same again would be refused again.
    if ([400, 413, 415, 422].includes(status)) return new AegisError("usage", `Refused: ${message}`, options);
    return new AegisError("backend_unavailable", `The backend at ${this.shown} refused: ${message}`, options);
  }

  private notLetIn(): AegisError {
    const { shown, authorization, remedy } = this.requests.address;
    return new AegisError(
      "not_permitted",
      authorization === null
        ? `The backend at ${shown} asks for a token, and none is given.`
        : `The backend at ${shown} does not know the token, or it has expired or was revoked.`,
      { hint: remedy },
    );
  }
}

type Options = Pick<Question, "deadline" | "longest" | "authorization">;

/** What stands in an answer, if it is JSON and says so. */
export function jsonOf({ type, body }: Answer): unknown {
  if (type !== "application/json") return undefined;
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}

function foreign(shown: string, what: string): AegisError {
  return new AegisError("backend_unavailable", `The backend at ${shown} cannot be used: ${what}.`, {
    hint: "`aegis doctor` says what answers at that address.",
  });
}

export function statusText(status: number): string {
  if (status >= 300 && status < 400)
    return `it answers HTTP ${status}, a redirect, and none is followed: name the address where it is`;
  return `it answers HTTP ${status}`;
}

function isErrorCode(code: string | undefined): code is ErrorCode {
  return code !== undefined && Object.hasOwn(errorCodes, code);
}

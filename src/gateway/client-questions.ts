import { randomUUID } from "node:crypto";
import { isObject } from "../frame/parse.js";
import type { Json, ResponseFrame } from "../frame/types.js";
import type { Exchange } from "./request.js";
import type { Scope } from "./scope.js";

/** A form of one question: what it says, and the JSON Schema of what it takes. */
export interface Form {
  readonly message: string;
  readonly requestedSchema: Json;
}

/** Asks, and tells of the first answer; the function that is returned takes the question back. */
export type AskForm = (form: Form, answered: (answer: ResponseFrame) => void) => () => void;

/** What the gateway itself asks a client: its requests, among those of the servers. */
export class ClientQuestions {
  private readonly open = new Map<string, (answer: ResponseFrame) => void>();

  /** Whether this is the id of one that is open: no request of a server is shown under it. */
  has(key: string): boolean {
    return this.open.has(key);
  }

  /** @param exchange the request it is about: the question goes where its answer will */
  ask(
    exchange: Exchange,
    method: string,
    params: object,
    answered: (answer: ResponseFrame) => void,
  ): () => void {
    // Random: a server alone on its connection uses ids of its own there, and must not be able to use this one before we
    // do (invariant 6).
    const key = JSON.stringify(`aegis:${randomUUID()}`);
    this.open.set(key, answered);
    exchange.send(`{"jsonrpc":"2.0","id":${key},"method":"${method}","params":${JSON.stringify(params)}}`);
    return () => {
      if (!this.open.delete(key)) return;
      exchange.send(
        `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${key},"reason":"No longer asked."}}`,
      );
    };
  }

  /** Takes the answer to a question of ours, once; false where it is none: then it is for a server, or for nobody. */
  take(answer: ResponseFrame): boolean {
    const answered = answer.key === null ? undefined : this.open.get(answer.key);
    if (answer.key === null || answered === undefined) return false;
    this.open.delete(answer.key);
    answered(answer);
    return true;
  }
}

/**
 * How to ask the client of this scope by a form, if it said in `initialize` that it has them: since 2025-06-18, where it
 * is the only kind; in 2025-11-25 an empty `elicitation` means the same, and one that names only others does not.
 */
export function formsOf(scope: Scope, exchange: Exchange): AskForm | null {
  const mode = modes.get(scope.protocolVersion ?? "");
  const declared = Object.hasOwn(scope.capabilities, "elicitation")
    ? scope.capabilities.elicitation
    : undefined;
  if (mode === undefined || !isObject(declared)) return null;
  const hasForms =
    Object.keys(declared).length === 0 || (Object.hasOwn(declared, "form") && isObject(declared.form));
  if (!hasForms) return null;
  return (form, answered) =>
    scope.questions.ask(exchange, "elicitation/create", { ...mode, ...form }, answered);
}

/** What a request says of its kind, by revision of the protocol. */
const modes: ReadonlyMap<string, object> = new Map([
  ["2025-06-18", {}],
  ["2025-11-25", { mode: "form" }],
]);

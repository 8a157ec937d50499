/**
 * Every local error the product raises on purpose. `code` is stable and documented in `docs/errors.md`; the message
 * says what happened, to what and why; `hint` says what to do next.
 *
 * Wire errors (JSON-RPC) are another type: see `frame/types.ts`.
 */
export const errorCodes = {
  usage: "The command line was wrong: an unknown command or flag, or a value of the wrong form.",
  config_invalid: "The configuration file cannot be read, or holds something it must not.",
  policy_invalid: "A policy file cannot be read, or holds something it must not.",
  home_reachable: "A server could reach AEGIS_HOME, the configuration or the policies.",
  home_insecure: "AEGIS_HOME or a file in it can be read or written by other users.",
  unknown_agent: "No agent of that name has ever been seen by this backend.",
  unknown_approval: "No approval of that id exists, or it may not be seen.",
  unknown_grant: "No grant of that id exists.",
  unknown_tool: "No server of that key has shown such a tool to this backend.",
  unknown_token: "No token of that id exists.",
  unknown_gateway: "The gateway is not registered with this backend, or not by this principal.",
  too_many_gateways: "The principal has as many live gateways as one may have.",
  already_approved: "The same person has approved this approval before: a quorum counts people.",
  approval_settled: "The approval was already decided, has expired, or is void.",
  approval_differs: "The approval is for something else than what its approver saw.",
  not_permitted: "The principal's role or group does not allow this.",
  backend_unavailable: "The backend did not answer in time, or could not write.",
  backend_unsupported: "The backend that was asked for cannot be used.",
  store_newer: "The store was written by a newer version of aegis.",
  store_corrupt: "The store cannot be read.",
  store_key: "AEGIS_HOME does not hold the key of the database.",
  server_unavailable: "An MCP server did not start, or is not answering.",
  address_in_use: "The address to listen on is taken.",
  ledger_broken: "The ledger does not verify.",
  ledger_key: "The key that signs the ledger, or a public key to verify it with, cannot be used.",
} as const;

export type ErrorCode = keyof typeof errorCodes;

export class AegisError extends Error {
  readonly code: ErrorCode;
  /** What the reader can do about it: one sentence, often a command. */
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AegisError";
    this.code = code;
    this.hint = options.hint;
  }
}

/** What a foreign throw says, in one line, for a log or an error of ours. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

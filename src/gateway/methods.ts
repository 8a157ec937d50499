/** The methods of the legacy revisions (2024-10-07 … 2025-11-25), and what each needs to know where it goes. */

export const legacyRevisions: readonly string[] = [
  "2025-11-25",
  "2025-06-18",
  "2025-03-26",
  "2024-11-05",
  "2024-10-07",
];

/** Requests a client may make, beyond those an extension or the configuration adds. */
export const clientRequests: ReadonlySet<string> = new Set([
  "initialize",
  "ping",
  "tools/list",
  "tools/call",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "resources/subscribe",
  "resources/unsubscribe",
  "prompts/list",
  "prompts/get",
  "completion/complete",
  "logging/setLevel",
]);

/** Requests of the tasks feature (2025-11-25), for a server that declared it. */
export const taskRequests: ReadonlySet<string> = new Set([
  "tasks/get",
  "tasks/result",
  "tasks/list",
  "tasks/cancel",
]);

export const clientNotifications: ReadonlySet<string> = new Set([
  "notifications/initialized",
  "notifications/cancelled",
  "notifications/progress",
  "notifications/roots/list_changed",
  "notifications/tasks/status",
]);

/** Requests a server may make, and the client capability each needs; null: none. */
export const serverRequests: ReadonlyMap<string, string | null> = new Map([
  ["ping", null],
  ["sampling/createMessage", "sampling"],
  ["elicitation/create", "elicitation"],
  ["roots/list", "roots"],
  ["tasks/get", "tasks"],
  ["tasks/result", "tasks"],
  ["tasks/list", "tasks"],
  ["tasks/cancel", "tasks"],
]);

/** What still works for an agent that was killed: nothing of it reaches a server's data. */
export const harmless: ReadonlySet<string> = new Set(["initialize", "ping", "tools/list", "tools/call"]);

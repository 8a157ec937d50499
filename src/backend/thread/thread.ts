/** The thread in which the backend of a gateway, or of `aegis backend`, runs, or arguments are read: see `threaded.ts`. */
import { parentPort } from "node:worker_threads";
import { createLogger } from "../../log.js";
import type { PreparedIntent } from "../decisions/prepare.js";
import { readArguments } from "../decisions/unread-intent.js";
import { redactArguments } from "../ledger/redact.js";
import { openBackend } from "../open-backend.js";
import type { Service } from "../service.js";
import {
  clockOffset,
  type Order,
  type PlainMethod,
  type Report,
  type SentIntent,
  sendError,
  type ThreadOptions,
} from "./messages.js";

const port = parentPort;
if (port === null) throw new Error("this module runs as a thread");

/** Reports of one turn travel in one message: a commit ends many calls at once. */
let reports: Report[] = [];
function report(one: Report): void {
  reports.push(one);
  if (reports.length > 1) return;
  queueMicrotask(() => {
    const sent = reports;
    reports = [];
    port?.postMessage(sent);
  });
}

const heard = new Map<number, (well: boolean) => void>();
let events = 0;

let backend: Service | null = null;

port.on("message", (orders: readonly Order[]) => {
  for (const order of orders) {
    if (order.kind === "open")
      open(order.options).catch((thrown: unknown) => report({ kind: "failed", error: sendError(thrown) }));
    else if (order.kind === "read") answer(order.id, async () => redactArguments(readArguments(order.text)));
    else if (backend !== null) take(backend, order);
  }
});

async function open(options: ThreadOptions): Promise<void> {
  const opened = await openBackend({ ...options, log: createLogger() });
  opened.subscribe((event) => {
    const number = ++events;
    return new Promise<void>((resolve, reject) => {
      heard.set(number, (well) => {
        if (well) resolve();
        else reject(new Error("a listener outside of the thread failed"));
      });
      report({ kind: "event", number, event });
    });
  });
  backend = opened;
  report({ kind: "ready", description: opened.description, clock: clockOffset() });
}

function take(opened: Service, order: Exclude<Order, { kind: "open" | "read" }>): void {
  switch (order.kind) {
    case "outcome":
      opened.outcome(order.outcome);
      return;
    case "heard":
      heard.get(order.event)?.(order.well);
      heard.delete(order.event);
      return;
    case "decide":
      answer(order.id, () => opened.decide(whole(order.intent)));
      return;
    case "release":
      answer(order.id, () => opened.release(whole(order.intent), order.approval));
      return;
    case "call":
      answer(order.id, () => call(opened, order.method, order.args));
  }
}

function answer(id: number, work: () => Promise<unknown>): void {
  const refuse = (thrown: unknown): void => report({ kind: "refused", id, error: sendError(thrown) });
  try {
    work().then((result) => report({ kind: "done", id, result }), refuse);
  } catch (thrown) {
    refuse(thrown);
  }
}

/** Its arguments are parsed when a rule looks at them, and once. */
function whole(intent: SentIntent): PreparedIntent {
  let parsed: { readonly value: unknown } | null = null;
  return {
    ...intent,
    get parsed(): unknown {
      parsed ??= { value: intent.arguments === "" ? {} : JSON.parse(intent.arguments) };
      return parsed.value;
    },
  };
}

/** The orders come from our own proxy, which is typed; here only their form is left. */
function call(opened: Service, method: PlainMethod, args: readonly unknown[]): Promise<unknown> {
  const asked = opened[method] as (...values: unknown[]) => Promise<unknown>;
  return asked.apply(opened, [...args]);
}

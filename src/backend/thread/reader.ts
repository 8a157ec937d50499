import { Worker } from "node:worker_threads";
import { AegisError, reasonOf } from "../../errors.js";
import { type Order, type Report, receiveError } from "./messages.js";

interface Asked {
  readonly resolve: (redacted: string) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Reads large arguments in a thread of its own, which is started for the first of them: neither the thread that answers
 * nor the one that decides could do anything else meanwhile.
 */
export class Reader {
  private worker: Worker | null = null;
  private readonly asked = new Map<number, Asked>();
  private counter = 0;

  /** @param file the built `thread.ts` */
  constructor(private readonly file: URL) {}

  /** @returns their redacted form @throws AegisError as `readArguments`, `backend_unavailable` where the thread ended */
  read(text: string): Promise<string> {
    this.worker ??= this.start();
    const id = ++this.counter;
    const order: Order = { kind: "read", id, text };
    this.worker.postMessage([order]);
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
    });
  }

  async close(): Promise<void> {
    await this.worker?.terminate();
  }

  private start(): Worker {
    const worker = new Worker(this.file);
    worker.unref();
    worker.on("message", (reports: readonly Report[]) => {
      for (const report of reports) {
        if (report.kind !== "done" && report.kind !== "refused") continue;
        const asked = this.asked.get(report.id);
        this.asked.delete(report.id);
        if (report.kind === "done") asked?.resolve(String(report.result));
        else asked?.reject(receiveError(report.error));
      }
    });
    const ended = (reason: string): void => {
      if (this.worker !== worker) return;
      // The next one starts another.
      this.worker = null;
      const error = new AegisError("backend_unavailable", `The arguments could not be read: ${reason}.`);
      for (const { reject } of this.asked.values()) reject(error);
      this.asked.clear();
    };
    worker.once("error", (error) => ended(reasonOf(error)));
    worker.once("exit", () => ended("the thread that reads them ended"));
    return worker;
  }
}

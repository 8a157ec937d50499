import type { ChildProcess } from "node:child_process";
import type { StdioServer } from "../../config.js";
import { AegisError, reasonOf } from "../../errors.js";
import { LineSplitter } from "../../frame/lines.js";
import { oneLine } from "../../frame/text.js";
import type { Logger } from "../../log.js";
import { serverEnvironment } from "./environment.js";
import { endProcess, startProcess } from "./process.js";
import { relayStderr } from "./stderr.js";
import { NotSent, type SendOptions, type Transport, type TransportEvents } from "./transport.js";

/** A server that is a child process: one JSON-RPC frame a line. */
export class StdioTransport implements Transport {
  private child: ChildProcess | undefined;
  private over = false;
  /** Resolves when the frame that was written last has left this process. */
  private flushed: Promise<void> = Promise.resolve();

  constructor(
    private readonly key: string,
    private readonly server: StdioServer,
    private readonly frameLimit: number,
    private readonly events: TransportEvents,
    private readonly log: Logger,
  ) {}

  async open(): Promise<void> {
    const { command, args, cwd, env } = this.server;
    const child = startProcess(command, args, { env: serverEnvironment(process.env, env), cwd });
    this.child = child;
    const lines = new LineSplitter(
      this.frameLimit,
      (line) => this.events.frame(line, null),
      (problem) =>
        this.log.warn(
          { server: this.key, problem },
          "the server wrote a line that is not a frame; passed over",
        ),
    );
    child.stdout?.on("data", (chunk: Buffer) => lines.push(chunk));
    child.stdout?.once("end", () => lines.end());
    if (child.stderr) relayStderr(this.key, child.stderr);
    // EPIPE: the server closed its stdin; its exit tells the rest.
    child.stdin?.on("error", (error) => this.log.debug({ server: this.key, error: error.message }, "stdin"));
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(unstartable(this.key, command, error)));
    });
    // "close" waits for the pipes, which a grandchild may hold open for ever; "exit" may come before the last frames.
    child.once("exit", (code, signal) => {
      const reason = signal === null ? `exited with code ${code ?? 0}` : `was ended by ${signal}`;
      const finish = (): void => this.finish(reason, code);
      const grace = setTimeout(finish, 100);
      child.once("close", () => {
        clearTimeout(grace);
        finish();
      });
    });
  }

  async send(text: string, { guard }: SendOptions = {}): Promise<void> {
    const stdin = this.child?.stdin;
    // What Node cannot hand to the pipe at once it keeps, and writes when the server reads again: after the lease, or
    // after a kill. So nothing is given to it before the last frame is gone; then the guard is asked, then it is written.
    while (stdin && stdin.writableLength > 0 && !this.over) await this.flushed;
    if (this.over || !stdin?.writable) throw new NotSent(`the server ${this.key} is not running`);
    guard?.();
    this.flushed = new Promise((resolve) => {
      stdin.write(`${oneLine(text)}\n`, () => resolve());
    });
  }

  answered(): void {}

  abandon(): void {}

  negotiated(): void {}

  listen(): void {}

  async close(): Promise<number | null> {
    this.over = true;
    if (this.child) await endProcess(this.child);
    return this.child?.exitCode ?? null;
  }

  private finish(reason: string, code: number | null): void {
    if (this.over) return;
    this.over = true;
    // What is left of its group must not go on with work that is said to have an unknown outcome.
    if (this.child) {
      endProcess(this.child).catch((thrown: unknown) =>
        this.log.error({ reason: reasonOf(thrown) }, "ending a server"),
      );
    }
    this.events.closed(`the server ${this.key} ${reason}`, code);
  }
}

function unstartable(key: string, command: string, error: Error): AegisError {
  return new AegisError("server_unavailable", `The server ${key} could not be started: ${error.message}`, {
    hint: `Check that ${JSON.stringify(command)} runs in a terminal, and that PATH has it where the gateway runs.`,
    cause: error,
  });
}

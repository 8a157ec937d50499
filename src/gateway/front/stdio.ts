import type { Readable, Writable } from "node:stream";
import { LineSplitter } from "../../frame/lines.js";
import { parseClientFrame } from "../../frame/parse.js";
import { oneLine } from "../../frame/text.js";
import { FrameError, rpcCodes } from "../../frame/types.js";
import { errorFrame } from "../reply.js";
import type { Exchange } from "../request.js";
import type { ClientPort, Scope } from "../scope.js";

/** Answers the client does not read are kept up to here; then its requests are not read either. */
const UNREAD = 16 * 1024 * 1024;

export interface StdioFront {
  readonly port: ClientPort;
  /** Starts reading. Resolves when the client closed its end. */
  serve(scope: Scope): Promise<void>;
}

/** The client on the other end of our own stdin and stdout: one JSON-RPC frame a line, and nothing else (invariant 8). */
export function stdioFront(
  input: Readable,
  output: Writable,
  frameLimit: number,
  onBadFrame: (reason: string) => void,
): StdioFront {
  const write = (text: string): void => {
    output.write(`${oneLine(text)}\n`);
    if (output.writableLength > UNREAD && !input.isPaused()) {
      input.pause();
      output.once("drain", () => input.resume());
    }
  };
  // EPIPE: the client is gone; the end of stdin says so too.
  output.on("error", () => {});
  const exchange: Exchange = { answer: write, send: write, close: () => {} };
  const refuse = (error: FrameError): void => {
    write(errorFrame(error.id, error.code, error.message));
    onBadFrame(error.message);
  };

  return {
    port: { send: write },
    serve(scope) {
      const lines = new LineSplitter(
        frameLimit,
        (line) => {
          try {
            scope.receive(parseClientFrame(line), exchange);
          } catch (thrown) {
            if (!(thrown instanceof FrameError)) throw thrown;
            refuse(thrown);
          }
        },
        (problem) => {
          refuse(
            problem === "too_long"
              ? new FrameError(rpcCodes.invalidRequest, `Refused: the frame is over ${frameLimit} bytes.`)
              : new FrameError(rpcCodes.parseError, "Parse error: the frame is not UTF-8."),
          );
        },
      );
      input.on("data", (chunk: Buffer) => lines.push(chunk));
      return new Promise((resolve) => {
        const finish = (): void => {
          lines.end();
          resolve();
        };
        input.once("end", finish);
        input.once("close", finish);
        input.once("error", finish);
      });
    },
  };
}

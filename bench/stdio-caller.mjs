// @ts-check
import { spawn } from "node:child_process";
import { frame, initialize, initialized, list } from "./calls.mjs";

/** One MCP client that starts its server; any number of calls at one time on the one pipe. */
export class StdioCaller {
  #child;
  #nextId = 1;
  /** @type {Map<number, (line: Buffer) => void>} */
  #waiting = new Map();
  /** @type {Buffer[]} */
  #partial = [];
  /** @type {Error | undefined} */
  #over;

  /** @param {string[]} command @param {Record<string, string>} env @param {string} cwd */
  constructor(command, env, cwd) {
    const [file = "", ...args] = command;
    this.#child = spawn(file, args, {
      env: { ...process.env, ...env },
      cwd,
      stdio: ["pipe", "pipe", "pipe"],
    });
    let said = "";
    this.#child.stderr.on("data", (chunk) => {
      said = (said + chunk).slice(-2000);
    });
    this.#child.stdout.on("data", (chunk) => this.#read(chunk));
    this.#child.stdin.on("error", () => {});
    this.#child.on("exit", (code) => {
      this.#over = new Error(`the server exited with ${code}: ${said}`);
      for (const resolve of this.#waiting.values()) resolve(Buffer.from(this.#over.message));
      this.#waiting.clear();
    });
  }

  get pid() {
    return this.#child.pid ?? 0;
  }

  async open() {
    await this.#ask(0, initialize);
    this.#child.stdin.write(`${initialized}\n`);
  }

  async list() {
    await this.#ask(0, list);
  }

  /** @param {import("./calls.mjs").Payload} payload @returns {Promise<Buffer>} */
  call(payload) {
    const id = this.#nextId++;
    const [head, rest] = frame(payload, id);
    return this.#ask(id, head, rest);
  }

  /** @returns {Promise<void>} */
  close() {
    return new Promise((resolve) => {
      if (this.#over) return resolve();
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), 3000);
      this.#child.on("exit", () => {
        clearTimeout(timer);
        resolve();
      });
      this.#child.stdin.end();
    });
  }

  /** @param {number} id @param {string} text @param {Buffer} [rest] @returns {Promise<Buffer>} */
  #ask(id, text, rest) {
    if (this.#over) return Promise.reject(this.#over);
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      const { stdin } = this.#child;
      stdin.cork();
      stdin.write(text);
      if (rest) stdin.write(rest);
      stdin.write("\n");
      stdin.uncork();
    });
  }

  /** @param {Buffer} chunk */
  #read(chunk) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      this.#partial.push(chunk.subarray(from, end));
      const [first] = this.#partial;
      const line = this.#partial.length === 1 && first ? first : Buffer.concat(this.#partial);
      this.#partial = [];
      from = end + 1;
      const id = idOf(line);
      this.#waiting.get(id)?.(line);
      this.#waiting.delete(id);
    }
    if (from < chunk.length) this.#partial.push(chunk.subarray(from));
  }
}

/** The id stands near the start of a frame, whoever wrote it; parsed only where it does not. @param {Buffer} line */
function idOf(line) {
  const near = /^\{"jsonrpc":"2\.0","id":(\d+)/.exec(line.toString("latin1", 0, 64))?.[1];
  if (near !== undefined) return Number(near);
  const { id, method } = JSON.parse(line.toString());
  return method === undefined ? Number(id) : Number.NaN;
}

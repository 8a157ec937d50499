// @ts-check
import { connect } from "node:net";
import { frame, initialize, initialized } from "./calls.mjs";

const headEnd = Buffer.from("\r\n\r\n");
const chunkedEnd = Buffer.from("0\r\n\r\n");

/**
 * One MCP client over one keep-alive connection, one call at a time. Written on the socket: a general HTTP client costs
 * more CPU than the server it would measure, on two cores at the expense of what is measured.
 */
export class HttpCaller {
  /** @type {import("node:net").Socket} */
  #socket;
  #head;
  #session = "";
  #nextId = 1;
  /** @type {{ resolve: (answer: Answer) => void, reject: (error: Error) => void } | undefined} */
  #waiting;
  /** @type {Answer | undefined} */
  #answer;
  /** @type {Buffer[]} */
  #partialHead = [];

  /** @typedef {{ status: number, session: string | undefined, length: number, chunked: boolean, received: number, body: Buffer[] }} Answer */

  /** @param {string} url @param {Record<string, string>} headers */
  constructor(url, headers) {
    const { hostname, port, pathname, host } = new URL(url);
    this.#socket = connect(Number(port), hostname).setNoDelay(true);
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.#socket.on("error", (error) => this.#waiting?.reject(error));
    this.#socket.on("close", () => this.#waiting?.reject(new Error("the connection was closed")));
    const extra = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#head = `POST ${pathname} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n${extra.join("")}`;
  }

  async open() {
    const { session } = await this.#post(initialize, Buffer.alloc(0));
    this.#session = `mcp-protocol-version: 2025-11-25\r\n${session === undefined ? "" : `mcp-session-id: ${session}\r\n`}`;
    await this.#post(initialized, Buffer.alloc(0));
  }

  /**
   * @param {import("./calls.mjs").Payload} payload
   * @returns {Promise<Answer>}
   */
  call(payload) {
    return this.#post(...frame(payload, this.#nextId++));
  }

  close() {
    this.#socket.destroy();
  }

  /** @param {string} start @param {Buffer} rest @returns {Promise<Answer>} */
  #post(start, rest) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      const length = Buffer.byteLength(start) + rest.length;
      this.#socket.cork();
      this.#socket.write(`${this.#head}${this.#session}content-length: ${length}\r\n\r\n${start}`);
      if (rest.length > 0) this.#socket.write(rest);
      this.#socket.uncork();
    });
  }

  /** @param {Buffer} chunk */
  #read(chunk) {
    if (this.#answer) this.#body(this.#answer, chunk);
    else {
      this.#partialHead.push(chunk);
      const start = this.#partialHead.length === 1 ? chunk : Buffer.concat(this.#partialHead);
      const end = start.indexOf(headEnd);
      if (end === -1) return;
      this.#partialHead = [];
      const head = start.toString("latin1", 0, end + 2);
      this.#answer = {
        status: Number(head.slice(9, 12)),
        session: /\r\nmcp-session-id: *([^\r]+)/i.exec(head)?.[1],
        length: Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0),
        chunked: /\r\ntransfer-encoding: *chunked/i.test(head),
        received: 0,
        body: [],
      };
      this.#body(this.#answer, start.subarray(end + 4));
    }
  }

  /** @param {Answer} answer @param {Buffer} chunk */
  #body(answer, chunk) {
    answer.received += chunk.length;
    if (chunk.length > 0) answer.body.push(chunk);
    // A chunked body that is JSON or SSE ends in bytes that its content cannot hold.
    const last = answer.body.at(-1);
    const done = answer.chunked
      ? last?.subarray(-5).equals(chunkedEnd) ||
        Buffer.concat(answer.body.slice(-2)).subarray(-5).equals(chunkedEnd)
      : answer.received >= answer.length;
    if (!done) return;
    this.#answer = undefined;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (answer.status >= 300)
      waiting?.reject(new Error(`HTTP ${answer.status}: ${textOf(answer).slice(0, 300)}`));
    else waiting?.resolve(answer);
  }
}

/** The frame an answer holds, whether it came as JSON or as the only event of a stream. @param {Answer} answer */
export function textOf(answer) {
  const body = Buffer.concat(answer.body).toString();
  const plain = answer.chunked ? body.replaceAll(/(^|\r\n)[0-9a-f]+\r\n/g, "") : body;
  return plain.startsWith("{") ? plain : (/^data: ?(\{.*)$/m.exec(plain)?.[1] ?? plain);
}

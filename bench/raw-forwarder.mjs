// @ts-check
/**
 * The limit: what any proxy in JavaScript that looks at each frame must spend. It parses every frame once each way,
 * changes nothing, forwards the original bytes, decides nothing and records nothing.
 *
 *   node raw-forwarder.mjs --http URL        in front of a Streamable HTTP server
 *   node raw-forwarder.mjs COMMAND ARG…      in front of a stdio server
 */
import { spawn } from "node:child_process";
import { createServer } from "node:http";

/** @param {URL} url */
async function forwardHttp(url) {
  // Not for stdio, whose start it would delay.
  const { Pool } = await import("undici");
  const pool = new Pool(url.origin, { connections: 128, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });
  const server = createServer((request, response) => {
    /** @type {Buffer[]} */
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const body = whole(chunks);
      JSON.parse(body.toString());
      const { host: _, connection: __, "content-length": ___, ...headers } = request.headers;
      pool.dispatch({ method: "POST", path: url.pathname, headers, body }, back(response));
    });
  });
  server.keepAliveTimeout = 600_000;
  process.stdin.on("end", () => process.exit(0)).resume();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    process.stderr.write(`listening ${typeof address === "object" ? address?.port : address}\n`);
  });
}

/** @param {import("node:http").ServerResponse} response @returns {import("undici").Dispatcher.DispatchHandler} */
function back(response) {
  /** @type {Buffer[]} */
  const chunks = [];
  return {
    onRequestStart() {},
    onResponseStart(_, status, { "content-type": type, "mcp-session-id": session }) {
      response.writeHead(status, {
        ...(type && { "content-type": type }),
        ...(session && { "mcp-session-id": session }),
      });
    },
    onResponseData(_, chunk) {
      chunks.push(chunk);
    },
    onResponseEnd() {
      const body = whole(chunks);
      if (body.length > 0) JSON.parse(body.toString());
      response.end(body);
    },
    onResponseError(_, error) {
      response.destroy(error);
    },
  };
}

/** @param {Buffer[]} chunks */
const whole = (chunks) => (chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));

/** @param {string} command @param {string[]} args */
function forwardStdio(command, args) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  pass(process.stdin, child.stdin);
  pass(child.stdout, process.stdout);
  process.stdin.on("end", () => child.stdin.end());
  child.on("exit", (code) => process.exit(code ?? 1));
}

/** @param {import("node:stream").Readable} from @param {import("node:stream").Writable} to */
function pass(from, to) {
  /** @type {Buffer[]} */
  let partial = [];
  from.on("data", (/** @type {Buffer} */ chunk) => {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      partial.push(chunk.subarray(start, end + 1));
      const line = whole(partial);
      JSON.parse(line.toString());
      to.write(line);
      partial = [];
      start = end + 1;
    }
    if (start < chunk.length) partial.push(chunk.subarray(start));
  });
}

const [first = "", ...rest] = process.argv.slice(2);
if (first === "--http") await forwardHttp(new URL(rest[0] ?? ""));
else forwardStdio(first, rest);

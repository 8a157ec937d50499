// @ts-check
/**
 * The cheapest honest MCP server: parses each frame once, answers at once. `node server.mjs` speaks stdio,
 * `node server.mjs --http` Streamable HTTP on any port of 127.0.0.1 (says `listening PORT` on stderr).
 *
 * `small` answers 200 bytes, `large` 100 KB of text, `take` 200 bytes to whatever it was given.
 */
import { createServer } from "node:http";

const definitions = ["small", "large", "take"].map((name) => ({
  name,
  description: `The tool ${name}`,
  inputSchema: { type: "object" },
}));
/** @param {number} bytes of the whole frame, give or take its id */
const padded = (bytes) => `{"content":[{"type":"text","text":"${"x".repeat(bytes - 80)}"}]}`;
const results = new Map([
  ["small", padded(200)],
  ["large", padded(100_000)],
  ["take", padded(200)],
]);

/** @param {string} text @returns {string | undefined} */
function answer(text) {
  const { id, method, params } = JSON.parse(text);
  if (id === undefined) return undefined;
  const result = method === "tools/call" ? results.get(params.name) : other(method, params);
  const said =
    result === undefined ? '"error":{"code":-32601,"message":"Method not found"}' : `"result":${result}`;
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},${said}}`;
}

/** @param {string} method @param {any} params @returns {string | undefined} */
function other(method, params) {
  if (method === "tools/list") return JSON.stringify({ tools: definitions });
  if (method === "ping") return "{}";
  if (method !== "initialize") return undefined;
  return JSON.stringify({
    protocolVersion: params.protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "bench", version: "1.0.0" },
  });
}

if (process.argv.includes("--http")) serveHttp();
else serveStdio();

function serveHttp() {
  let sessions = 0;
  const server = createServer((request, response) => {
    if (request.method !== "POST") {
      response.writeHead(405).end();
      return;
    }
    /** @type {Buffer[]} */
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const text = (chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))?.toString() ?? "";
      const said = answer(text);
      if (said === undefined) {
        response.writeHead(202).end();
        return;
      }
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(said) };
      const isNew = request.headers["mcp-session-id"] === undefined;
      response
        .writeHead(200, isNew ? { ...headers, "mcp-session-id": `session-${++sessions}` } : headers)
        .end(said);
    });
  });
  server.keepAliveTimeout = 600_000;
  process.stdin.on("end", () => process.exit(0)).resume();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    process.stderr.write(`listening ${typeof address === "object" ? address?.port : address}\n`);
  });
}

function serveStdio() {
  /** @type {Buffer[]} */
  let partial = [];
  process.stdin.on("data", (/** @type {Buffer} */ chunk) => {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      partial.push(chunk.subarray(from, end));
      const said = answer((partial.length === 1 ? partial[0] : Buffer.concat(partial))?.toString() ?? "");
      if (said !== undefined) process.stdout.write(`${said}\n`);
      partial = [];
      from = end + 1;
    }
    if (from < chunk.length) partial.push(chunk.subarray(from));
  });
}

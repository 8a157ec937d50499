import { refuseLookAlike, scan } from "./scan.js";
import {
  type ClientFrame,
  FrameError,
  type Json,
  type ResponseFrame,
  rpcCodes,
  type ServerFrame,
} from "./types.js";

/**
 * Reads one frame of a client, strictly: what passes means one thing to every parser.
 *
 * @throws FrameError with the JSON-RPC error to answer
 */
export function parseClientFrame(text: string): ClientFrame {
  const message = parseObject(text);
  try {
    const spans = scan(text);
    if (message.jsonrpc !== "2.0") throw invalid('"jsonrpc" must be "2.0"');
    if (!Object.hasOwn(message, "method")) return response(text, message);
    const { method } = message;
    if (typeof method !== "string") throw invalid('"method" must be a string');
    const params = Object.hasOwn(message, "params") ? message.params : {};
    if (!isObject(params)) throw invalid('"params" must be an object');
    if (!Object.hasOwn(message, "id")) return { kind: "notification", text, method, params, spans };
    const key = requestKey(message.id, spans.id && text.slice(spans.id.start, spans.id.end));
    return { kind: "request", text, key, method, params, spans };
  } catch (thrown) {
    if (!(thrown instanceof FrameError)) throw thrown;
    throw new FrameError(thrown.code, thrown.message, readableId(message));
  }
}

/**
 * Reads one frame of a server as far as routing needs. What a server says passes as it is: duplicate keys or deep
 * nesting in a result are between the server and the client. But a client must take the frame for what it is here, and
 * for the answer to nothing else: a list that comes as a question, or under `Id`, would be shown without being pinned.
 *
 * @throws FrameError where it is not a JSON-RPC message
 */
export function parseServerFrame(text: string): ServerFrame {
  const message = parseObject(text);
  for (const key of Object.keys(message)) refuseLookAlike(1, key);
  const { method } = message;
  if (typeof method !== "string") return response(text, message);
  if (Object.hasOwn(message, "result") || Object.hasOwn(message, "error"))
    throw invalid("both a method and an answer");
  const params = isObject(message.params) ? message.params : {};
  if (!Object.hasOwn(message, "id")) return { kind: "notification", text, method, params };
  return { kind: "request", text, key: requestKey(message.id, undefined), method, params };
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The key under which an answer to `id` comes back. */
export function keyOf(id: unknown): string | null {
  return typeof id === "string" || typeof id === "number" ? JSON.stringify(id) : null;
}

function parseObject(text: string): Json {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    throw new FrameError(rpcCodes.parseError, "Parse error: the frame is not JSON.");
  }
  if (Array.isArray(message)) {
    // A batch is how policy checks were passed by in other gateways: each call of it would need its own decision.
    throw new FrameError(
      rpcCodes.invalidRequest,
      "Refused: JSON-RPC batches are not accepted; send each message alone.",
    );
  }
  if (!isObject(message))
    throw new FrameError(rpcCodes.invalidRequest, "Invalid request: the frame is not an object.");
  return message;
}

function response(text: string, message: Json): ResponseFrame {
  if (!Object.hasOwn(message, "result") && !Object.hasOwn(message, "error")) {
    throw invalid("neither a method, nor a result, nor an error");
  }
  return { kind: "response", text, key: keyOf(message.id), result: message.result, error: message.error };
}

/**
 * JSON-RPC allows any number as an id and MCP none but integers; beyond 2^53 a server that parses it answers
 * another id than was asked.
 */
function requestKey(id: unknown, raw: string | undefined): string {
  if (typeof id === "string") return JSON.stringify(id);
  if (typeof id === "number" && Number.isSafeInteger(id) && (raw === undefined || /^-?\d+$/.test(raw)))
    return String(id);
  throw invalid('"id" must be a string or an integer below 2^53');
}

function readableId(message: Json): string {
  const { id } = message;
  return typeof id === "string" || Number.isSafeInteger(id) ? JSON.stringify(id) : "null";
}

function invalid(what: string): FrameError {
  return new FrameError(rpcCodes.invalidRequest, `Invalid request: ${what}.`);
}

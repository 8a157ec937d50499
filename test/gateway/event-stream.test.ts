import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EventStream } from "../../src/gateway/front/event-stream.js";
import { WireResponse } from "../fixtures/wire.js";

let server: Server;
let stream: EventStream;
const get = async (after: number | null): Promise<WireResponse> => {
  server.once("request", (_, response) => stream.attach(response, after, "a-session"));
  const { port } = server.address() as AddressInfo;
  return WireResponse.open(`http://127.0.0.1:${port}/`, { method: "GET" });
};

beforeAll(async () => {
  server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

describe("an event stream", () => {
  it("says something on a silent connection every 15 s, and nothing where it has just spoken", async () => {
    stream = new EventStream(3);
    const response = await get(null);
    const now = performance.now();
    stream.keepAlive(now + 14_000);
    stream.push('{"first":1}');
    await expect.poll(() => response.frames).toEqual([{ first: 1 }]);
    expect(response.comments).toEqual([]);
    stream.keepAlive(now + 16_000);
    await expect.poll(() => response.comments).toHaveLength(1);
    stream.keepAlive(now + 17_000);
    stream.push('{"second":1}');
    await expect.poll(() => response.frames).toHaveLength(2);
    expect(response.comments).toHaveLength(1);
    expect(response.headers).toMatchObject({ "mcp-session-id": "a-session", "x-accel-buffering": "no" });
    stream.end();
    await response.ended;
  });

  it("keeps what was said while nobody listened, and says it again from any event on", async () => {
    stream = new EventStream(4);
    for (const each of [1, 2, 3]) stream.push(`{"n":${each}}`);
    const first = await get(null);
    await expect.poll(() => first.frames).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(first.events.map(({ id }) => id)).toEqual(["4-1", "4-2", "4-3"]);
    const second = await get(1);
    await first.ended;
    await expect.poll(() => second.frames).toEqual([{ n: 2 }, { n: 3 }]);
    stream.end();
    await second.ended;
  });

  it("writes a frame that came with line breaks as one event", async () => {
    stream = new EventStream(5);
    const response = await get(null);
    stream.push('{"a":\n1}\r\n');
    await expect.poll(() => response.frames).toEqual([{ a: 1 }]);
    stream.end();
    await response.ended;
  });

  it("lets go of the oldest where it has to keep too much", async () => {
    stream = new EventStream(6, 2 * '{"n":1}'.length);
    for (const each of [1, 2, 3]) stream.push(`{"n":${each}}`);
    const response = await get(0);
    await expect.poll(() => response.frames).toEqual([{ n: 2 }, { n: 3 }]);
    stream.end();
    await response.ended;
  });
});

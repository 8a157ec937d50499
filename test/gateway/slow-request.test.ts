/** A client that trickles its request may not hold a connection: threat R4. Time is the subject here. */
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpGateway, makePlace, startHttpGateway } from "../fixtures/gateway.js";
import { textOf } from "../fixtures/raw.js";
import { fakeServer } from "../fixtures/servers.js";
import { WireSession } from "../fixtures/wire.js";

const place = makePlace({ "tester.yaml": 'agent: tester\non_change: allow\nallow: ["*__*"]\n' });
let gateway: HttpGateway;

beforeAll(async () => {
  const [command, ...args] = fakeServer();
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: { fake: { command, args } },
  });
});
afterAll(async () => {
  await gateway?.stop();
  place.remove();
});

/** Says one more byte of its headers twice a second; resolves, with the milliseconds it took, once it is cut off. */
function trickle(port: number): Promise<number> {
  const startedAt = performance.now();
  const socket: Socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ");
  const timer = setInterval(() => socket.write("x"), 500);
  socket.resume();
  return new Promise((resolve) => {
    socket.once("close", () => {
      clearInterval(timer);
      resolve(performance.now() - startedAt);
    });
  });
}

describe("a request whose headers trickle in", () => {
  it("is cut off after 10 s, many at once, and the others are served meanwhile", async () => {
    const port = Number(new URL(gateway.url).port);
    const slow = Promise.all(Array.from({ length: 200 }, () => trickle(port)));
    const session = await WireSession.open(gateway);
    const startedAt = performance.now();
    expect(textOf(await session.call("fake__echo", { a: 1 }))).toBe('{"a":1}');
    expect(performance.now() - startedAt).toBeLessThan(1000);
    const took = await slow;
    expect(Math.min(...took)).toBeGreaterThan(8000);
    expect(Math.max(...took)).toBeLessThan(14_000);
    expect(textOf(await session.call("fake__echo", { a: 2 }))).toBe('{"a":2}');
  });
});

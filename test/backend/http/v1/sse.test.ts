import { connect } from "node:net";
import fastify from "fastify";
import { expect, test } from "vitest";
import { Streams } from "../../../../src/backend/http/streams.js";
import { SseResponse } from "../../../../src/backend/http/v1/sse.js";
import { createLogger } from "../../../../src/log.js";
import { waitFor } from "../../../fixtures/backend/store.js";

test("a reader that takes nothing is cut off, told why, and held no more", async () => {
  const streams = new Streams(createLogger("silent"));
  const principal = { name: "odo", role: "auditor", agent: null, groups: [], token: 1 } as const;
  const app = fastify();
  const credential = { principal, stands: async () => true };
  app.decorateRequest("credential", null);
  app.decorateRequest("principal", { getter: () => principal });
  app.addHook("onRequest", async (request) => {
    request.credential = credential;
  });
  let written = 0;
  app.get("/", async (request, reply) => {
    const stream = SseResponse.open(request, reply, streams, { patience: 150 });
    const write = async (): Promise<void> => {
      while (await stream.ready()) stream.write(++written, null, "x".repeat(10_000));
    };
    write().catch(() => {});
    return reply;
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as { port: number };
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.pause();
  socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await waitFor(() => streams.open === 1, "the stream");
  await waitFor(() => streams.open === 0, "the end", 5_000);
  // What a socket takes by itself, and a little more.
  expect(written).toBeLessThan(2_000);

  // Whoever reads is never cut off.
  const before = written;
  const reader = connect(port, "127.0.0.1");
  reader.resume();
  reader.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await waitFor(() => written > before + 5_000, "much that is read", 10_000);
  expect(streams.open).toBe(1);
  reader.destroy();
  await waitFor(() => streams.open === 0, "the end");
  socket.destroy();
  streams.endAll();
  await app.close();
});

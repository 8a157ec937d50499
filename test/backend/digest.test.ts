import { createHmac, randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Bound, boundText, Digester } from "../../src/backend/decisions/digest.js";

const call: Bound = {
  agent: "a",
  server: "s",
  tool: "t",
  definition: "d",
  arguments: "{}",
};

test("is an HMAC-SHA256 of what the call is, short or long", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      fc.string(),
      fc.nat(30_000),
      (key, tool, length) => {
        const one = { ...call, tool, arguments: JSON.stringify("é".repeat(length)) };
        expect(new Digester(key).digest(one)).toBe(
          createHmac("sha256", key).update(boundText(one)).digest("hex"),
        );
      },
    ),
    { numRuns: 100 },
  );
});

test("asks nothing of a call but what it binds: long arguments are not parsed for it", () => {
  const one = {
    ...call,
    arguments: JSON.stringify("x".repeat(30_000)),
    get parsed(): unknown {
      throw new Error("they are parsed");
    },
  };
  expect(new Digester(randomBytes(32)).digest(one)).toHaveLength(64);
});

test("two calls have the same text only where they are the same call", () => {
  const names = fc.record({
    agent: fc.string(),
    server: fc.string(),
    tool: fc.string(),
    definition: fc.string(),
  });
  fc.assert(
    fc.property(names, names, (one, other) => {
      const same = JSON.stringify(Object.values(one)) === JSON.stringify(Object.values(other));
      expect(boundText({ ...call, ...one }) === boundText({ ...call, ...other })).toBe(same);
    }),
  );
  const moved = [
    { agent: "a", server: "bs" },
    { agent: "ab", server: "s" },
    { agent: 'a","b', server: "s" },
    { agent: "a", server: 'b","s' },
  ];
  expect(new Set(moved.map((one) => boundText({ ...call, ...one }))).size).toBe(moved.length);
});

test("is another under another key, and a key has at most a block", () => {
  const digests = [1, 2].map(() => new Digester(randomBytes(32)).digest(call));
  expect(digests[0]).not.toBe(digests[1]);
  expect(() => new Digester(randomBytes(65))).toThrow(RangeError);
});

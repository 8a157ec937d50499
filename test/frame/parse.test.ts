import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseClientFrame, parseServerFrame } from "../../src/frame/parse.js";
import { FrameError } from "../../src/frame/types.js";

const call = (params: string, id = "1"): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}`;

function refusal(text: string): FrameError {
  try {
    parseClientFrame(text);
  } catch (thrown) {
    if (thrown instanceof FrameError) return thrown;
    throw thrown;
  }
  throw new Error(`was accepted: ${text.slice(0, 200)}`);
}

describe("a frame of a client is refused", () => {
  test.each([
    ["a batch", `[${call("{}")}]`, -32600],
    ["a batch of none", "[]", -32600],
    ["a batch behind white space", ` \t[${call("{}")}]`, -32600],
    ["a byte order mark", `\ufeff${call("{}")}`, -32700],
    ["no JSON", "hello", -32700],
    ["a number", "7", -32600],
    ["null", "null", -32600],
    ["half a frame", '{"jsonrpc":"2.0","id":1', -32700],
    ["another version", '{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600],
    ["no version", '{"id":1,"method":"ping"}', -32600],
    ["a method that is no string", '{"jsonrpc":"2.0","id":1,"method":7}', -32600],
    ["neither method nor result", '{"jsonrpc":"2.0","id":1}', -32600],
    ["parameters in an array", call("[1]"), -32600],
    ["the id null", call("{}", "null"), -32600],
    ["a fraction as id", call("{}", "1.5"), -32600],
    ["an id written as a fraction", call("{}", "1.0"), -32600],
    ["an object as id", call("{}", "{}"), -32600],
    ["an id beyond 2^53", call("{}", "9007199254740993"), -32600],
    ["a duplicate key in params", call('{"name":"read","name":"delete"}'), -32600],
    ["a duplicate key written with an escape", call('{"name":"read","\\u006eame":"delete"}'), -32600],
    ["two equal duplicates", call('{"name":"read","name":"read"}'), -32600],
    [
      "a duplicate key deep in the arguments",
      call('{"name":"r","arguments":{"a":[{"b":1,"c":2,"b":1}]}}'),
      -32600,
    ],
    ["a duplicate key in the envelope", '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32600],
    ["a look-alike by case", call('{"name":"read","Name":"delete"}'), -32600],
    ["a look-alike alone", '{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"ping"}', -32600],
    ["a look-alike by U+017F", `{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{}}`, -32600],
    ["a look-alike by full width", call('{"name":"read","\uff41rguments":{}}'), -32600],
    ["a look-alike by U+212A in params", call('{"name":"read","ta\uff53\u212a":{}}'), -32600],
  ])("%s", (_what, text, code) => {
    expect(refusal(text).code).toBe(code);
  });

  test("nested over 64 levels, and not at 64", () => {
    const nested = (levels: number): string =>
      call(`{"name":"x","arguments":{"a":${"[".repeat(levels)}${"]".repeat(levels)}}}`);
    expect(parseClientFrame(nested(61)).kind).toBe("request");
    expect(refusal(nested(62)).code).toBe(-32600);
    expect(refusal(nested(100_000)).code).toBe(-32600);
  });

  test("with the id it carries, where that can be read", () => {
    expect(refusal(call('{"name":"a","name":"b"}', '"seven"')).id).toBe('"seven"');
    expect(refusal(call("{}", "1.5")).id).toBe("null");
  });

  test("duplicates are found among thousands of keys, in any place", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 60 }),
        fc.nat(),
        (keys, seed) => {
          const members = keys.map((key) => `${JSON.stringify(key)}:1`);
          const fine = call(`{"name":"x","arguments":{${members.join(",")}}}`);
          expect(parseClientFrame(fine).kind).toBe("request");
          const twice = [...members];
          twice.splice(seed % (twice.length + 1), 0, members[seed % members.length] ?? "");
          expect(refusal(call(`{"name":"x","arguments":{${twice.join(",")}}}`)).code).toBe(-32600);
        },
      ),
      { numRuns: 500 },
    );
  });
});

test("spans point at the members, however the frame is laid out", () => {
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.string(),
      fc.constantFrom(undefined, 1, "\t"),
      fc.shuffledSubarray(["jsonrpc", "id", "method", "params"], { minLength: 4 }),
      (value, name, indent, order) => {
        const args = { name: "decoy", arguments: [value], id: 3 };
        const message = new Map<string, unknown>([
          ["jsonrpc", "2.0"],
          ["id", "an id"],
          ["method", "tools/call"],
          ["params", { _meta: { name: "decoy" }, name, arguments: args, other: value }],
        ]);
        const text = JSON.stringify(
          Object.fromEntries(order.map((key) => [key, message.get(key)])),
          null,
          indent,
        );
        const frame = parseClientFrame(text);
        if (frame.kind !== "request") throw new Error("not a request");
        const at = (span: { start: number; end: number } | undefined): unknown =>
          span && JSON.parse(text.slice(span.start, span.end));
        expect(at(frame.spans.id)).toBe("an id");
        expect(at(frame.spans.name)).toBe(name);
        expect(at(frame.spans.arguments)).toEqual(JSON.parse(JSON.stringify(args)));
      },
    ),
    { numRuns: 1000 },
  );
});

test("arguments may be called what they like", () => {
  const text = call(
    '{"name":"x","arguments":{"Name":1,"__proto__":{"allow":true},"constructor":{"prototype":1}}}',
  );
  expect(parseClientFrame(text).kind).toBe("request");
  expect(({} as { allow?: boolean }).allow).toBeUndefined();
});

test("a server's frame passes with what a client may not send", () => {
  const frame = parseServerFrame('{"result":{"a":1,"a":2,"Result":3},"jsonrpc":"2.0","id":"x"}');
  expect(frame).toMatchObject({ kind: "response", key: '"x"' });
});

test.each([
  '{"jsonrpc":"2.0","id":1,"method":"ping","result":{"tools":[]}}',
  '{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}',
  '{"jsonrpc":"2.0","method":"notifications/message","params":{},"result":{}}',
  '{"jsonrpc":"2.0","id":5,"Id":6,"result":{}}',
  '{"jsonrpc":"2.0","id":5,"error":null,"Result":{}}',
  '{"jsonrpc":"2.0","method":"notifications/message","params":{},"re\u017fult":{}}',
])("no frame of a server is two at once: %s", (text) => {
  expect(() => parseServerFrame(text)).toThrow(FrameError);
});

import { describe, expect, test } from "vitest";
import { compilePaths } from "../../../src/backend/ledger/redact-paths.js";

const redacted = (paths: string[], value: unknown): unknown =>
  JSON.parse(compilePaths(paths)(JSON.stringify(value)));

describe("configured paths", () => {
  test("change nothing where there are none, not even the text", () => {
    expect(compilePaths([])('{ "a": 1.0 }')).toBe('{ "a": 1.0 }');
  });

  test.each<[string, unknown, unknown]>([
    [
      "arguments.customer.ssn",
      { customer: { ssn: "1", name: "x" } },
      { customer: { ssn: "[redacted]", name: "x" } },
    ],
    ["customer.ssn", { customer: { ssn: { deep: [1] } } }, { customer: { ssn: "[redacted]" } }],
    ["customer", { customer: { ssn: 1 }, other: 2 }, { customer: "[redacted]", other: 2 }],
    ["customer.ssn", { customer: "text", ssn: 1 }, { customer: "text", ssn: 1 }],
    ["CUSTOMER.Ssn", { Customer: { sSN: 1 } }, { Customer: { sSN: "[redacted]" } }],
    [
      "cards.*.number",
      { cards: [{ number: 1, type: "v" }, { number: 2 }] },
      { cards: [{ number: "[redacted]", type: "v" }, { number: "[redacted]" }] },
    ],
    [
      "*.number",
      { a: { number: 1 }, b: { number: 2 }, number: 3 },
      { a: { number: "[redacted]" }, b: { number: "[redacted]" }, number: 3 },
    ],
    ["list.1", { list: ["a", "b"] }, { list: ["a", "[redacted]"] }],
    ["*", { a: 1, b: [2] }, { a: "[redacted]", b: "[redacted]" }],
    ["arguments", { a: 1 }, "[redacted]"],
    ["__proto__.x", JSON.parse('{"__proto__":{"x":1}}'), JSON.parse('{"__proto__":{"x":"[redacted]"}}')],
    ["constructor.name", { a: 1 }, { a: 1 }],
  ])("%s", (path, value, expected) => {
    expect(redacted([path], value)).toEqual(expected);
  });

  test("may be several, and lead through the same member", () => {
    const value = { a: { b: 1, c: { d: 2 }, e: 3 }, x: { c: 4 } };
    expect(redacted(["a.b", "a.c.d", "*.c"], value)).toEqual({
      a: { b: "[redacted]", c: "[redacted]", e: 3 },
      x: { c: "[redacted]" },
    });
    expect(redacted(["*.c.d", "a.*.f"], value)).toEqual({
      a: { b: 1, c: { d: "[redacted]" }, e: 3 },
      x: { c: 4 },
    });
  });
});

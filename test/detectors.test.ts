/** What each detector finds, and what it takes for nothing. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findIn } from "../src/data/detectors.js";
import { findInJson, redactJson } from "../src/data/redact-json.js";
import type { DataRule, DetectorName } from "../src/data/rules.js";

const rule = (detect: DetectorName, pattern: string | null = null, name: string = detect): DataRule => ({
  rule: `p.yaml:1 data ${name}`,
  detect,
  name,
  pattern,
  effect: "redact",
  reason: null,
});
const all = [rule("secrets"), rule("card_numbers"), rule("national_ids")];
const found = (text: string): string[] => findIn(text, all).map(({ name }) => name);

const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

describe("secrets", () => {
  it.each([
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ",
    "glpat-ABCDEF1234567890abcd",
    "sk-proj-abcdefghijklmnop1234",
    "rk_live_abcdefghijklmnop1234",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "hf_abcdefghijklmnopqrstuvwxyz01234567",
    "xoxb-123456789012-abcdefghij",
    `see ${jwt}, please`,
    "postgres://user:hunter2@db.internal/app",
    "password=hunter2-7",
    "export API_KEY='d41d8cd98f00b204'",
    "Authorization: Bearer abcdefgh12345678",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "ya29.a0AfH6SMBxxxxxxxxxxxxxxxxxxx",
  ])("are found: %s", (text) => expect(found(text)).toContain("secrets"));

  it("are found by the name of their member", () => {
    expect(findInJson('{"db":{"password":"correct horse"}}', all)).toEqual([all[0]]);
    expect(findIn({ api_key: "0123" }, all)).toEqual([all[0]]);
    expect(findIn({ clientSecret: ["abcdef"] }, all)).toEqual([all[0]]);
  });

  it.each([
    "password: string;",
    "token: <your token>",
    "api_key=$API_KEY",
    "the password is required",
    "eyJ-eyJ-eyJ-eyJ-eyJ-",
    "https://example.com/a@b",
    "basic usage",
  ])("are not: %s", (text) => expect(found(text)).toEqual([]));

  it("are not the schema of one, nor a count of tokens", () => {
    const schema = { properties: { password: { type: "string" } }, required: ["password"], max_tokens: 4096 };
    expect(findIn(schema, all)).toEqual([]);
  });
});

describe("card numbers", () => {
  it.each([
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "3782 822463 10005",
    "30569309025904",
    "6011111111111117",
    "4222222222222",
    "6304000000000000000",
    "pay with 4111 1111 1111 1111, 12/27",
    "4111 1111 1111 1111 123",
    "card_4111111111111111",
    "(4111111111111111).",
  ])("are found: %s", (text) => expect(found(text)).toContain("card_numbers"));

  it("are found as numbers, as they are written", () => {
    expect(findIn({ pan: 4111111111111111 }, all)).toEqual([all[1]]);
    // Beyond 2^53: JavaScript's number is another one.
    expect(findInJson("[6212345678901232]", all)).toEqual([all[1]]);
    expect(findInJson("[6304000000000000001]", all)).toEqual([]);
    expect(findInJson("[4.111111111111111e15]", all)).toEqual([all[1]]);
  });

  it.each([
    "4111111111111112",
    "41111111111111111111",
    "1700000000000",
    "1732323203123",
    "1700000000000000",
    "1732323203123456789",
    "2023-11-22 10:15:30.123456",
    "+49 30 123456789",
    "+1 415 555 0123, +1 415 555 0199",
    "DE44 5001 0517 5407 3249 31",
    "DE44500105175407324931",
    "0.4111111111111111",
    "52.5200065999999",
    "4111.1111.1111.1111",
    "x4111111111111111",
    "4111111111111111x",
    "4111111111111111.5",
    "4111 1111 1111 1111 1111",
    // Luhn's digit is right, the issuer or the length is not.
    "5123456789010",
    "41234567890123458",
    "41234567890123456770",
    "2100000000001235",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  ])("are not: %s", (text) => expect(found(text)).toEqual([]));
});

describe("national ids", () => {
  it.each([
    ["United States", "219-09-9998"],
    ["United Kingdom", "AB123456C"],
    ["United Kingdom", "AB 12 34 56 C"],
    ["Spain", "12345678Z"],
    ["Spain", "x1234567l"],
    ["France", "2 55 08 14 168 025 38"],
    ["France", "255081416802538"],
    ["Italy", "RSSMRA85T10A562S"],
    ["Germany", "86 095 742 719"],
    ["Germany", "Steuer-ID: 86095742719"],
    ["The Netherlands", "BSN 111222333"],
    ["The Netherlands", "1112.22.333"],
  ])("are found: %s, %s", (_, text) => expect(found(`id ${text}.`)).toContain("national_ids"));

  it("are found by the name of their member, as numbers too", () => {
    expect(findIn({ bsn: 111222333 }, all)).toEqual([all[2]]);
    expect(findIn({ client_bsn: "111222333" }, all)).toEqual([all[2]]);
    expect(findIn({ taxId: "86095742719" }, all)).toEqual([all[2]]);
  });

  it.each([
    "000-12-3456",
    "666-12-3456",
    "912-12-3456",
    "123-00-3456",
    "123-45-0000",
    "078-05-1120",
    "1-123-45-6789",
    "12345678A",
    "255081416802539",
    "RSSMRA85T10A562T",
    "86 095 742 718",
    "86095742719",
    "111222333",
    "GB123456C",
    "2023-11-22",
    "+31 6 12345678",
    "deadbeefcafe",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
  ])("are not: %s", (text) => expect(found(text)).toEqual([]));
});

describe("custom patterns", () => {
  it("are RE2's, and are found wherever they stand", () => {
    const ticket = rule("custom", "TCK-[0-9]+", "ticket");
    expect(findIn(["a", { b: "see TCK-12" }], [ticket])).toEqual([ticket]);
    expect(findIn({ "TCK-7": 1 }, [ticket])).toEqual([ticket]);
    expect(redactJson('{"a":"TCK-1, TCK-22\\u0021"}', [ticket])).toBe('{"a":"[ticket], [ticket]\\u0021"}');
  });

  it("are an error where they are none: nothing can be said", () => {
    for (const pattern of ["(", "(?=a)", null])
      expect(() => findIn("text", [rule("custom", pattern)])).toThrow();
  });

  it("that match their own mark, or nothing, end", () => {
    expect(redactJson('"see ticket"', [rule("custom", "ticket", "ticket")])).toBe('"see [ticket]"');
    expect(redactJson('"abc"', [rule("custom", "x*", "x")])).toBe('"abc"');
    expect(redactJson('"abc"', [rule("custom", ".", "x")])).toBe('"[x][x][x]"');
  });

  it("read a text a bounded number of times, and then all of the rest is found", () => {
    // Each match is looked for as far as the end, as long as no z is there.
    for (const length of [1_000, 60_000]) {
      const clean = redactJson(JSON.stringify("k".repeat(length)), [rule("custom", "k(.*z)?", "x")]);
      expect(clean).toMatch(/^"(\[x\])+"$/);
      expect(clean.length / 3).toBeLessThan(40);
    }
    // One that finds nothing at each place reads as much.
    expect(
      redactJson(JSON.stringify("k".repeat(60_000)), [rule("custom", "\\b|(k.*z)?", "x")]).length,
    ).toBeLessThan(60_000);
    const tickets = Array.from({ length: 60 }, (_, i) => `TCK-${i}${" and so on".repeat(100)}`).join();
    const ticket = rule("custom", "TCK-[0-9]+", "ticket");
    expect(redactJson(JSON.stringify(tickets), [ticket])).toBe(
      JSON.stringify(tickets).replace(/TCK-[0-9]+/g, "[ticket]"),
    );
  });
});

describe("redaction", () => {
  it("changes nothing but what was found", () => {
    const text =
      ' {"a" : 1.0, "b":9007199254740993,\n"c":"\\u0041\\/","d":"x\\tpassword=hunter2-7\\u0026y","e":[-0,1e2]}';
    expect(redactJson(text, all)).toBe(text.replace("hunter2-7", "[secrets]"));
    expect(redactJson('{"n":4111111111111111}', all)).toBe('{"n":"[card_numbers]"}');
  });

  it("leaves no two members of the same name, and takes no name that is there", () => {
    const text = '{"AKIAIOSFODNN7EXAMPLE":1,"[secrets]":2,"AKIAIOSFODNN7EXAMPLF":{"AKIAIOSFODNN7EXAMPLE":3}}';
    expect(redactJson(text, all)).toBe(
      '{"[secrets][secrets]":1,"[secrets]":2,"[secrets][secrets][secrets]":{"[secrets]":3}}',
    );
    const many = Array.from({ length: 200 }, (_, i) => `"AKIAIOSFODNN7EXA${1000 + i}":${i}`).join();
    expect(() => redactJson(`{${many}}`, all)).toThrow("same name");
  });

  it("sees both of two equal members", () => {
    expect(findInJson('{"a":"4111111111111111","a":""}', all)).toEqual([all[1]]);
  });

  it("takes away what appears where another part was taken away", () => {
    const text = '"AKIA1234567890123456sk-aaaaaaaaaaaaaaaaaaaa"';
    expect(findInJson(redactJson(text, all), all)).toEqual([]);
  });

  it("takes what does not end within a piece to the end of the text", () => {
    const text = `"${"a ".repeat(30_000)}password=${"x".repeat(100_000)} tail"`;
    expect(redactJson(text, all)).toBe(`"${"a ".repeat(30_000)}password=[secrets]"`);
  });

  it("finds what stands at the edge of a piece, once", () => {
    for (let at = 65_536 - 80; at < 65_536 + 20; at += 3) {
      const text = `"${" ".repeat(at)}4111111111111111 ${" ".repeat(9000)}"`;
      expect(redactJson(text, all)).toBe(text.replace("4111111111111111", "[card_numbers]"));
    }
  });

  it("leaves valid JSON in which nothing is found, and everything else as it was", () => {
    const ticket = rule("custom", "TCK-[0-9]+", "ticket");
    const rules = [...all, ticket];
    const sensitive = fc.constantFrom(
      "4111 1111 1111 1111",
      "4111111111111111",
      "AKIAIOSFODNN7EXAMPLE",
      "password=hunter2-7",
      "123-45-6789",
      "TCK-12",
      "[secrets]",
      jwt,
    );
    const text = fc.array(fc.oneof(fc.string({ maxLength: 6, unit: "binary" }), sensitive), { maxLength: 4 });
    const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        text.map((parts) => parts.join("")),
        fc.constantFrom(1.0, 4111111111111111, null, true, -0.5),
        fc.array(tie("tree"), { maxLength: 4 }),
        fc.dictionary(
          text.map((parts) => parts.join("")),
          tie("tree"),
          { maxKeys: 4 },
        ),
      ),
    }));
    fc.assert(
      fc.property(tree, fc.boolean(), (value, pretty) => {
        const json = JSON.stringify(value, null, pretty ? 1 : undefined);
        const clean = redactJson(json, rules);
        const parsed: unknown = JSON.parse(clean);
        expect(findInJson(clean, rules)).toEqual([]);
        expect(findIn(parsed, rules)).toEqual([]);
        if (findInJson(json, rules).length === 0) expect(clean).toBe(json);
        else expect(clean).not.toBe(json);
        expect(shape(parsed)).toEqual(shape(value));
      }),
      { numRuns: 150 },
    );
  });
});

/** How many members and elements there are, whatever they say. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shape);
  if (typeof value === "object" && value !== null)
    return Object.values(value)
      .map((each) => JSON.stringify(shape(each)))
      .toSorted((a, b) => (a < b ? -1 : 1));
  return 0;
}

describe("time", () => {
  it.each([
    ["heads of tokens", "eyJ-".repeat(150_000)],
    ["schemes", "a://".repeat(150_000)],
    ["assignments", "password= ".repeat(60_000)],
    ["digits", "4111 1112 ".repeat(60_000)],
    ["a number", "4".repeat(600_000)],
    ["one word", "a".repeat(600_000)],
    ["escapes", "\\".repeat(300_000)],
  ])("is proportional to the text: %s", (_, text) => {
    const from = performance.now();
    findInJson(JSON.stringify({ text }), [...all, rule("custom", "(a+)+$|[0-9]+(-.*x)?", "c")]);
    expect(performance.now() - from).toBeLessThan(4000);
  });
});

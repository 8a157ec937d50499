import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { recordName, redactArguments, redactText } from "../../src/backend/ledger/redact.js";

const canary = "CANARYcanary0123456789";

describe("arguments in the ledger", () => {
  test.each([
    "password",
    "Password",
    "user_password",
    "PASSWD",
    "client-secret",
    "clientSecret",
    "token",
    "access_token",
    "X-Auth-Token",
    "api_key",
    "API-Key",
    "x-apikey",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "set-cookie",
    "private_key",
    "PrivateKey",
    "aws_access_key",
    "credentials",
    "passphrase",
    "pwd",
    "otp",
  ])("do not hold what is under the key %s, of whatever type and however deep", (key) => {
    for (const value of [canary, [canary], { inner: canary }, 4242424242]) {
      const text = redactArguments({ list: [{ [key]: value }], kept: "plain" });
      if (!/token/i.test(key)) expect(text).not.toContain("4242424242");
      expect(text).not.toContain(canary);
      expect(text).toContain("plain");
    }
  });

  test.each([
    `Bearer ${canary}`,
    `authorization: bearer ${canary}`,
    `Authorization: Basic ${canary}`,
    `sk-${canary}`,
    `sk-ant-api03-${canary}`,
    `ghp_${canary}`,
    `github_pat_${canary}`,
    `glpat-${canary}`,
    "AKIACANARYCANARY0123",
    `AIza${canary}0123456789`,
    `xoxb-${canary}`,
    `aegis_${canary}0123456789abcdef`,
    `eyJhbGciOiJIUzI1NiJ9.${canary}.${canary}`,
    `https://user:${canary}@example.com/path`,
    `postgres://${canary}@db/prod`,
    `curl --password=${canary} -u x`,
    `GITHUB_TOKEN=${canary} npm publish`,
    `api_key: '${canary}'`,
    `-----BEGIN RSA PRIVATE KEY-----\n${canary}\n-----END RSA PRIVATE KEY-----`,
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${canary}`,
  ])("do not hold a secret that shows by its form: %s", (secret) => {
    const secretPart = /CANARY/i;
    expect(redactArguments({ command: `before ${secret} after` })).not.toMatch(secretPart);
    expect(redactArguments([[secret]])).not.toMatch(secretPart);
    expect(redactArguments({ [secret]: 1 })).not.toMatch(secretPart);
    expect(redactText(`failed: ${secret}`)).not.toMatch(secretPart);
  });

  test("keep what is no secret", () => {
    const value = {
      path: "/srv/docs/a-b_c.txt",
      max_tokens: 500,
      limit: 1.5,
      on: true,
      none: null,
      list: [1, "two"],
    };
    expect(JSON.parse(redactArguments(value))).toEqual(value);
  });

  test("tell long strings by their length", () => {
    expect(redactArguments({ content: "x".repeat(513) })).toBe('{"content":"[string of 513 characters]"}');
  });

  test("are JSON of bounded length, and say what was left out", () => {
    const many = redactArguments(Array.from({ length: 100_000 }, (_, index) => `item ${index}`));
    expect(many.length).toBeLessThan(5_000);
    expect(JSON.parse(many)).toContainEqual(expect.stringMatching(/^\[\d+ more items\]$/));
    const wide = redactArguments(
      Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`key ${index}`, index])),
    );
    expect(wide.length).toBeLessThan(5_000);
    expect(JSON.parse(wide)["[left out]"]).toMatch(/^\[\d+ more members\]$/);
  });

  test("are well-formed JSON, bounded, whatever they are", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 20, stringUnit: "binary" }), (value) => {
        const text = redactArguments(value);
        JSON.parse(text);
        expect(Buffer.from(text).toString()).toBe(text);
        expect(text.length).toBeLessThan(10_000);
      }),
      { numRuns: 300 },
    );
    let deep: unknown = 1;
    for (let depth = 0; depth < 5_000; depth++) deep = [deep];
    expect(redactArguments(deep)).toContain("[nested deeper]");
  });

  test("cost no more where they are large", () => {
    const large = {
      content: "x".repeat(1_000_000),
      rows: Array.from({ length: 50_000 }, () => ({ a: "b" })),
    };
    const start = performance.now();
    for (let round = 0; round < 100; round++) redactArguments(large);
    expect((performance.now() - start) / 100).toBeLessThan(2);
  });
});

test.each([
  "eyJ",
  "sk-",
  "a://",
  "token",
  "bearer ",
  "-----BEGIN A PRIVATE KEY-----",
  "a-",
  "=token:",
  "AKIA",
])("a text of many %j is read in linear time", (part) => {
  const text = part.repeat(Math.ceil(100_000 / part.length));
  const start = performance.now();
  redactText(text);
  expect(performance.now() - start).toBeLessThan(50);
});

test("reasons are well-formed, without NUL, and not longer than a paragraph", () => {
  expect(redactText("a\u0000b\ud800c")).toBe("a\ufffdb\ufffdc");
  expect(redactText("long ".repeat(1_000)).length).toBeLessThan(1_100);
});

test("a foreign name is kept where it can be a name, else made visible", () => {
  expect(recordName("Ünïcode tool")).toBe("Ünïcode tool");
  expect(recordName("a\u001bb\u202e")).toBe("a\\x1bb\\u202e");
});

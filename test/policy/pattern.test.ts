import { describe, expect, it } from "vitest";
import { compilePattern } from "../../src/policy/pattern.js";

function matches(pattern: string, text: string): boolean {
  return compilePattern(pattern)(text);
}

describe("a pattern", () => {
  it("matches the whole text only, newlines included (P12)", () => {
    expect(matches("read_*", "read_a")).toBe(true);
    expect(matches("read_*", "xread_a")).toBe(false);
    expect(matches("read", "read\n")).toBe(false);
    expect(matches("read", "\nread")).toBe(false);
    expect(matches("read_a", "read_a\ndelete")).toBe(false);
    expect(matches("*_a", "read_a\ndelete")).toBe(false);
  });

  it("lets a star be any run: none, newlines, and the separator", () => {
    expect(matches("*", "")).toBe(true);
    expect(matches("*", "a\nb")).toBe(true);
    expect(matches("read_*", "read_")).toBe(true);
    expect(matches("read_*", "read_a\ndelete")).toBe(true);
    expect(matches("files__*", "files__a__b")).toBe(true);
    expect(matches("*__delete_*", "a__b__delete_c")).toBe(true);
    expect(matches("**a**", "a")).toBe(true);
  });

  it("does not let two literals share characters", () => {
    expect(matches("aba*aba", "aba")).toBe(false);
    expect(matches("aba*aba", "ababa")).toBe(false);
    expect(matches("aba*aba", "abaaba")).toBe(true);
    expect(matches("*ab*ba*", "aba")).toBe(false);
    expect(matches("*ab*c", "abc")).toBe(true);
    expect(matches("*bc*c", "abc")).toBe(false);
  });

  it("is case-sensitive and takes everything but the star literally", () => {
    expect(matches("Read", "read")).toBe(false);
    for (const literal of ["a.c", "a?c", "[a-c]", "a|c", "^a$", "(a+)+", "a\\*", "{a,b}"]) {
      const pattern = literal.replace("*", "");
      expect(matches(pattern, pattern)).toBe(true);
      expect(matches(pattern, "abc")).toBe(false);
    }
  });

  it("answers without backtracking on what stalls a regular expression (P13)", () => {
    const text = "a".repeat(50_000);
    const started = performance.now();
    expect(matches(`${"*a".repeat(30)}*b`, text)).toBe(false);
    expect(matches(`${"*a".repeat(30)}b*a`, text)).toBe(false);
    expect(matches(`${"*".repeat(500)}a${"*a".repeat(400)}*`, text)).toBe(true);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

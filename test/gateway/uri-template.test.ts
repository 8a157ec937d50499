import { describe, expect, it } from "vitest";
import { templateMatcher } from "../../src/gateway/uri-template.js";

describe("a URI template", () => {
  it.each([
    ["fake://item/{id}", "fake://item/7", true],
    ["fake://item/{id}", "fake://item/", true],
    ["fake://item/{id}", "fake://items/7", false],
    ["fake://item/{id}", "xfake://item/7", false],
    ["fake://item/{id}/raw", "fake://item/7/raw", true],
    ["fake://item/{id}/raw", "fake://item/7/raw2", false],
    ["fake://{a}/x/{b}/y", "fake://1/x/2/y", true],
    ["fake://{a}/x/{b}/y", "fake://1/2/y", false],
    ["fake://{a}x{b}x", "fake://xx", true],
    ["fake://{a}x{b}x", "fake://x", false],
    ["{+path}", "anything", true],
    ["a{b}a", "a", false],
    ["a{b}a", "aa", true],
    ["fake://text", "fake://text", true],
    ["fake://text", "fake://text2", false],
    ["fake://a.b/{id}", "fake://aXb/1", false],
    ["fake://(a+)+{id}", "fake://aaa", false],
    ["fake://{open", "fake://{open", true],
    ["", "", true],
  ])("%s and %s: %s", (template, uri, matches) => {
    expect(templateMatcher(template)(uri)).toBe(matches);
  });

  it("takes no longer on a hostile text than on any other (CVE-2026-0621)", () => {
    const matches = templateMatcher(`${"{a}x".repeat(2000)}{b}!`);
    const startedAt = performance.now();
    expect(matches("x".repeat(100_000))).toBe(false);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});

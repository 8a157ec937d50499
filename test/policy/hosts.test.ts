import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import { ask, setOf } from "./sets.js";

const blocking = setOf({
  "p.yaml": [
    "agent: claude",
    "allow: ['*']",
    "servers:",
    "  block: [evil.com, '*.internal', localhost, '127.*', '169.254.*', '::1', 'bücher.de', 'fd00:*']",
  ].join("\n"),
});
const allowing = setOf({
  "p.yaml": [
    "agent: claude",
    "allow: ['*']",
    "servers:",
    "  allow: ['*.example.com', { host: api.github.com, action: 'github__*', reason: Ask Ada }]",
  ].join("\n"),
});

function said(set: typeof blocking, args: unknown, server = "s") {
  return decide(set, { ...ask(server, "x"), args });
}

describe("a host that is blocked", () => {
  it.each([
    "https://evil.com",
    "HTTP://EVIL.COM:8080/x?y#z",
    "  https://evil.com.",
    "ht\ntps://evil.com",
    "https:\\\\evil.com\\@example.com",
    "https:evil.com",
    "https://user:pass@evil.com/",
    "https://example.com@evil.com",
    "https://ev%69l.com",
    "https://ｅｖｉｌ.com",
    "wss://evil.com",
    "postgres://me@evil.com/db",
    "ssh://EVIL.com",
    "http://a.b.internal/",
    "http://localhost./",
    "http://127.1",
    "http://0x7f.1/",
    "http://2130706433",
    "http://017700000001",
    "ftp://127.0.0.1",
    "redis://0x7f.1",
    "http://[::1]:80/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/latest",
    "http://[fd00::7]/",
    "https://bücher.de",
    "https://xn--bcher-kva.de",
  ])("is one however it is written: %j", (url) => {
    for (const args of [{ url }, { note: url }, { a: [{ b: ["x", url] }] }, { [url]: 1 }, url]) {
      const { decision, rule, reason } = said(blocking, args);
      expect(decision, JSON.stringify(args)).toBe("BLOCK");
      expect(rule).toMatch(/^p\.yaml:4 servers block /);
      expect(reason).not.toContain("pass");
    }
  });

  it.each([
    ["url", "evil.com/x"],
    ["base_url", "evil.com:443"],
    ["baseUrl", "//evil.com"],
    ["HOST", "evil.com"],
    ["hostname", "EVIL.com."],
    ["callback-uri", "evil.com"],
    ["endpoint", "localhost:8080"],
    ["urls", ["ok.com", "evil.com"]],
    ["host", 2_130_706_433],
  ])("is one without a scheme in a member named like a URL: %s %j", (name, value) => {
    expect(said(blocking, { [name]: value }).decision).toBe("BLOCK");
    expect(said(blocking, { note: value }).decision).toBe("ALLOW");
  });

  it("is no other host, and no text that only mentions it", () => {
    for (const text of [
      "https://evil.com.example.org",
      "https://notevil.com",
      "see https://evil.com",
      "C:\\evil.com",
      "evil.com",
    ])
      expect(said(blocking, { note: text, ghost: "evil.com" }).decision, text).toBe("ALLOW");
    expect(said(blocking, { url: null, host: false, link: {} }).decision).toBe("ALLOW");
  });
});

describe("where hosts are allowed", () => {
  it("every other is blocked, and so is what cannot be read as a URL", () => {
    expect(said(allowing, { url: "https://a.example.com/x" }).decision).toBe("ALLOW");
    expect(said(allowing, { url: "a.b.example.com" }).decision).toBe("ALLOW");
    expect(said(allowing, { path: "/srv/docs", note: "hello: world" }).decision).toBe("ALLOW");
    for (const url of [
      "https://example.com",
      "https://a.example.com.evil.com",
      "https://a.example.com@evil.com",
      "https://evil.com/.example.com",
      "file:///etc/passwd",
      "http://",
      "a b",
      "",
      "javascript:alert(1)",
      "git@github.com:org/repo",
    ])
      expect(said(allowing, { url }).decision, url).toBe("BLOCK");
    expect(said(allowing, { urls: ["https://a.example.com", "https://evil.com"] }).decision).toBe("BLOCK");
  });

  it("a list counts for the actions it names", () => {
    const url = "https://api.github.com/repos";
    expect(said(allowing, { url }, "github").decision).toBe("ALLOW");
    expect(said(allowing, { url }).decision).toBe("BLOCK");
    const only = setOf({
      "p.yaml":
        "agent: claude\nallow: ['*']\nservers: { allow: [{ host: api.github.com, action: 'github__*', reason: Ask Ada }] }",
    });
    expect(said(only, { url: "https://evil.com" }).decision).toBe("ALLOW");
    expect(said(only, { url: "https://evil.com" }, "github")).toMatchObject({
      decision: "BLOCK",
      reason: "Ask Ada",
    });
  });

  it("a blocked one stays blocked, in whatever file", () => {
    const both = setOf({
      "a.yaml": "agent: claude\nallow: ['*']\nservers: { allow: ['*'] }",
      "b.yaml": "agent: '*'\nservers: { block: ['*.internal'] }",
    });
    expect(said(both, { url: "https://a.internal" }).decision).toBe("BLOCK");
    expect(said(both, { url: "https://a.org" }).decision).toBe("ALLOW");
  });
});

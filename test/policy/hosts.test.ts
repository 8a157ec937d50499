import { describe, expect, it } from "vitest";
import { conditionArguments } from "../../src/policy/arguments.js";
import { decide } from "../../src/policy/decide.js";
import { growth } from "./growth.js";
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
    // Before and behind it stands what one reader or another skips.
    "\u00a0http://127.0.0.1/",
    "\ufeffhttp://127.0.0.1/",
    "\u2028\u200bhttp://127.0.0.1\u00a0",
    "\u0001\u00a0 http://127.0.0.1/",
    // In another one that has no host of its own.
    "view-source:http://127.0.0.1/",
    "view-source: view-source:http:\\\\evil.com/",
    "jar:http://evil.com/a.jar!/b",
    "jar:http://evil.com!/b",
    "jar:jar:http://evil.com!/b.jar!/c",
    "blob:http://evil.com/550e8400",
    "feed:https:evil.com:8080",
    "jdbc:postgresql://evil.com/db",
    "a:b:c:d:e:f:g:h:i:j:k:http://evil.com",
    `${"http:".repeat(40)}//evil.com`,
    // An IPv4 address inside IPv6.
    "http://[::127.0.0.1]",
    "http://[::ffff:0:127.0.0.1]",
    "http://[64:ff9b::127.0.0.1]",
    "http://[64:ff9b::a9fe:a9fe]/latest",
    "http://[64:ff9b:1::7f00:1]",
    "http://[2002:7f00:1::]",
    "http://[2002:a9fe:a9fe:0:1:2:3:4]",
    // No name server knows it.
    `https://${"a.".repeat(127)}evil.com`,
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
    for (const text of [
      "http://[::8.8.8.8]",
      "http://[64:ff9b::808:808]",
      "http://[2002:808:808::1]",
      "http://[2001:db8::7f00:1]",
      "aa:bb:cc:dd:ee:ff",
      "view-source:",
      "blob:https://example.com/1",
      "jar:https://example.com/evil.com!/evil.com",
      `https://${"a.".repeat(126)}b`,
    ])
      expect(said(blocking, { note: text, url: text }).decision, text).toBe("ALLOW");
  });

  it("is one as a number that JavaScript cannot hold, which no list allows either", () => {
    const ofText = (set: typeof blocking, text: string) =>
      said(set, conditionArguments(text, JSON.parse(text))).decision;
    for (const text of [
      '{"host":2130706433.0000000000000001}',
      '{"hosts":[[2130706433.0000000000000001]]}',
    ]) {
      expect(ofText(blocking, text), text).toBe("BLOCK");
      expect(ofText(allowing, text), text).toBe("BLOCK");
    }
    expect(ofText(blocking, '{"host":134744072.0000000000000001}')).toBe("ALLOW");
    // Not even one that allows what JavaScript makes of it: its reader may make another of it.
    const loopback = setOf({ "p.yaml": "agent: claude\nallow: ['*']\nservers: { allow: ['127.*'] }" });
    expect(ofText(loopback, '{"host":2130706433}')).toBe("ALLOW");
    expect(ofText(loopback, '{"host":2130706433.0000000000000001}')).toBe("BLOCK");
    for (const set of [blocking, allowing])
      expect(ofText(set, '{"count":2130706433.0000000000000001}')).toBe("ALLOW");
  });

  it.each([
    ["dots", (size: number) => `https://a${".".repeat(size)}b`],
    ["labels", (size: number) => `https://${"a.".repeat(size)}b`],
    ["dots at the end", (size: number) => `https://evil.org${".".repeat(size)}`],
    ["schemes", (size: number) => "a:".repeat(size)],
    ["schemes of hosts", (size: number) => "http:".repeat(size)],
    ["spaces", (size: number) => `${"\u00a0 ".repeat(size)}https://a.org${"\u00a0 ".repeat(size)}x`],
    ["a scheme without an end", (size: number) => "a+".repeat(size)],
  ])("is looked for in time that grows with the text: %s", (_, text) => {
    expect(growth((size) => void said(blocking, { url: text(size), note: text(size) }), 20_000)).toBeLessThan(
      8,
    );
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

  it("not what may only lead to one that is", () => {
    const only = setOf({
      "p.yaml": "agent: claude\nallow: ['*']\nservers: { allow: ['8.8.8.8'], block: [evil.com] }",
    });
    for (const url of ["https://8.8.8.8/", "http://[::ffff:8.8.8.8]", "view-source:http://8.8.8.8"])
      expect(said(only, { url }).decision, url).toBe("ALLOW");
    for (const url of ["http://[64:ff9b::808:808]", "http://[2002:808:808::]", "http://[::8.8.8.8]"])
      expect(said(only, { url }).decision, url).toBe("BLOCK");
  });

  it("nor one that is too long for a name server", () => {
    const url = (labels: number) => `https://${"a.".repeat(labels)}example.com`;
    expect(said(allowing, { note: url(100) }).decision).toBe("ALLOW");
    expect(said(allowing, { note: url(130) }).decision).toBe("BLOCK");
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

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ledgerDefaults, readLedger } from "../../../src/config-ledger.js";
import { parseConfigText } from "../../../src/config-yaml.js";

const home = join("/", "home", "aegis");
const read = (text: string) =>
  readLedger(
    parseConfigText("config.yaml", text, (raw) => raw),
    home,
  );

describe("the section ledger of AEGIS_HOME/config.yaml", () => {
  test("may be left out, in whole and in parts", () => {
    expect(read("backend: x")).toEqual(ledgerDefaults(home));
    expect(read("ledger: { checkpoint: { every: 10s } }")).toEqual({
      ...ledgerDefaults(home),
      checkpoint: { records: 1_000, every: 10_000 },
    });
    expect(ledgerDefaults(home).anchor).toEqual([join(home, "ledger.anchor")]);
  });

  test("is what docs/ledger.md says", () => {
    const page = readFileSync(new URL("../../../docs/ledger.md", import.meta.url), "utf8");
    const [, example = ""] = /^```text\n(ledger:.*?)^```/ms.exec(page) ?? [];
    expect(read(example)).toEqual({
      anchor: [
        join(home, "ledger.anchor"),
        "/mnt/worm/aegis.anchor",
        "https://hook:SECRET@audit.example.com/aegis",
      ],
      checkpoint: { records: 1_000, every: 300_000 },
      redact: ["arguments.customer.ssn", "arguments.cards.*.number"],
    });
  });

  test("takes a webhook in clear text only on this machine", () => {
    expect(read("ledger: { anchor: ['http://127.0.0.1:9/x'] }").anchor).toEqual(["http://127.0.0.1:9/x"]);
    expect(() => read("ledger: { anchor: ['http://audit.example.com/x'] }")).toThrow(
      "must begin with https://",
    );
  });

  test.each([
    "ledger: { anchor: [''] }",
    "ledger: { anchor: 'ftp://x/y' }",
    "ledger: { anchor: ['ftp://x/y'] }",
    "ledger: { checkpoint: { records: 0 } }",
    "ledger: { checkpoint: { every: 1ms } }",
    "ledger: { redact: ['a..b'] }",
    "ledger: { redact: ['a.b*'] }",
    "ledger: { redact: ['a b'] }",
    "ledger: { anchors: [] }",
  ])("refuses %s", (text) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ code: "config_invalid" }));
  });
});

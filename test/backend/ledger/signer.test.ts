import { type ChildProcess, fork } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sealProblem, trustedKeys } from "../../../src/backend/ledger/signature.js";
import { Signer } from "../../../src/backend/ledger/signer.js";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "aegis-signer-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const file = (name: string): string => join(home, name);
const body = (signer: Signer): string => `{"id":1,"key_id":"${signer.keyId}","kind":"checkpoint","prev":""}`;

describe("the key of the ledger", () => {
  test("is made when it is first needed, for its user alone, and stays", () => {
    const before = process.umask(0);
    const signer = new Signer(home);
    expect(signer.trusted()).toBeNull();
    expect(readdirSync(home)).toEqual([]);
    const id = signer.keyId;
    process.umask(before);
    expect(readdirSync(home).toSorted()).toEqual(["ledger.key", "ledger.pub"]);
    if (process.platform !== "win32") expect(statSync(file("ledger.key")).mode & 0o777).toBe(0o600);
    expect(new Signer(home).keyId).toBe(id);
    expect(readFileSync(file("ledger.pub"), "utf8")).toBe(signer.publicKey);
    expect(signer.publicKey).toMatch(/^-----BEGIN PUBLIC KEY-----\n.*\n-----END PUBLIC KEY-----\n$/);
  });

  test("is one, however many processes need it at the same moment", async () => {
    const worker = fileURLToPath(new URL("../../fixtures/backend/signer.ts", import.meta.url));
    const children = Array.from({ length: 6 }, () => fork(worker, [home], { execArgv: ["--import", "tsx"] }));
    const said = (child: ChildProcess): Promise<unknown> =>
      Promise.race([
        once(child, "message").then(([message]) => message as unknown),
        once(child, "exit").then(() => Promise.reject(new Error("the process ended"))),
      ]);
    await Promise.all(children.map(said));
    const answers = children.map(said);
    for (const child of children) child.send("now");
    const ids = await Promise.all(answers);
    expect(new Set(ids)).toEqual(new Set([new Signer(home).keyId]));
    expect(readdirSync(home).toSorted()).toEqual(["ledger.key", "ledger.pub"]);
    expect(new Signer(home).trusted()?.size).toBe(1);
  });

  test.skipIf(process.platform === "win32").each([0o644, 0o640, 0o604])(
    "that others can read (%s) is refused",
    (mode) => {
      const { keyId } = new Signer(home);
      chmodSync(file("ledger.key"), mode);
      expect(() => new Signer(home).keyId).toThrow(expect.objectContaining({ code: "home_insecure" }));
      chmodSync(file("ledger.key"), 0o600);
      expect(new Signer(home).keyId).toBe(keyId);
    },
  );

  test.each(["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])(
    "that cannot be read (%j) is refused, and not replaced",
    (text) => {
      writeFileSync(file("ledger.key"), text, { mode: 0o600 });
      expect(() => new Signer(home).keyId).toThrow(expect.objectContaining({ code: "ledger_key" }));
      expect(readFileSync(file("ledger.key"), "utf8")).toBe(text);
    },
  );

  test("that is a folder is refused", () => {
    mkdirSync(file("ledger.key"), { mode: 0o700 });
    expect(() => new Signer(home).keyId).toThrow(expect.objectContaining({ code: "ledger_key" }));
  });

  test("that was replaced: what the old one signed is believed as long as its public key stays", () => {
    const old = new Signer(home);
    const signed = old.seal(body(old));
    rmSync(file("ledger.key"));
    const fresh = new Signer(home);
    expect(fresh.keyId).not.toBe(old.keyId);
    const keys = fresh.trusted() ?? new Map();
    expect([...keys.keys()]).toEqual([old.keyId, fresh.keyId]);
    expect(sealProblem(signed, keys)).toBeNull();
    expect(sealProblem(fresh.seal(body(fresh)), keys)).toBeNull();
    expect(sealProblem(signed, trustedKeys([{ from: "x", text: fresh.publicKey }]))).toContain("not trusted");
  });
});

describe("a signature", () => {
  test("stands for every byte of the body, and for nothing else", () => {
    const signer = new Signer(home);
    const keys = signer.trusted() ?? new Map();
    const signed = signer.seal(body(signer));
    const trusted = signer.trusted() ?? keys;
    expect(sealProblem(signed, trusted)).toBeNull();
    const end = signed.indexOf(',"signature"');
    for (let at = 1; at < end; at++) {
      const changed = `${signed.slice(0, at)}${signed[at] === "1" ? "2" : "1"}${signed.slice(at + 1)}`;
      let problem: string | null;
      try {
        problem = sealProblem(changed, trusted);
      } catch {
        problem = "no JSON";
      }
      expect(problem, `character ${at}`).not.toBeNull();
    }
  });

  test("has one form: base64 that decodes to the same bytes is another text", () => {
    const signer = new Signer(home);
    const signed = signer.seal(body(signer));
    const trusted = signer.trusted() ?? new Map();
    // The last character before the padding has four bits that say nothing.
    const other = signed.replace(
      /(.)=="\}$/,
      (_, c: string) => `${c === "A" ? "B" : String.fromCharCode(c.charCodeAt(0) + 1)}=="}`,
    );
    expect(sealProblem(other, trusted)).not.toBeNull();
  });
});

describe("public keys", () => {
  test("may be several in one text", () => {
    const one = new Signer(home);
    const pem = one.publicKey;
    rmSync(file("ledger.key"));
    const two = new Signer(home);
    expect(trustedKeys([{ from: "x", text: `# both\n${pem}\n${two.publicKey}` }]).size).toBe(2);
  });

  test.each(["nothing", "a private key", "another kind of key"])("are not %s", (what) => {
    const { privateKey, publicKey } =
      what === "a private key" ? generateKeyPairSync("ed25519") : generateKeyPairSync("x25519");
    const given =
      what === "nothing"
        ? ""
        : what === "a private key"
          ? privateKey.export({ type: "pkcs8", format: "pem" })
          : publicKey.export({ type: "spki", format: "pem" });
    expect(() => trustedKeys([{ from: "some.pem", text: String(given) }])).toThrow(
      expect.objectContaining({ code: "ledger_key", message: expect.stringContaining("some.pem") }),
    );
  });
});

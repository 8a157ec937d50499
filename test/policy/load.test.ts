import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AegisError } from "../../src/errors.js";
import { loadPolicies, parsePolicy, policySet } from "../../src/policy/file/load.js";

const options = { bareNames: false };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "aegis-policy-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function refusal(): Promise<string> {
  const thrown: unknown = await loadPolicies(folder, options).catch((error: unknown) => error);
  if (!(thrown instanceof AegisError)) throw new Error("the folder was loaded");
  expect(thrown.code).toBe("policy_invalid");
  return thrown.message;
}

describe("a folder of policies", () => {
  it("gives its YAML files in the order of their names, and nothing else in it", async () => {
    await writeFile(join(folder, "b.yaml"), "agent: b");
    await writeFile(join(folder, "a.yml"), "agent: a");
    await writeFile(join(folder, "C.YAML"), "agent: c");
    await writeFile(join(folder, "README.md"), "# not a policy");
    await writeFile(join(folder, "x.yaml.bak"), "agnt: x");
    await symlink(join(folder, "nowhere"), join(folder, ".#b.yaml"));
    await mkdir(join(folder, "more"));
    await writeFile(join(folder, "more", "d.yaml"), "agent: d");
    const { files } = await loadPolicies(folder, options);
    expect(files.map(({ agent }) => agent)).toEqual(["c", "a", "b"]);
    expect(files[1]?.file).toBe(join(folder, "a.yml"));
  });

  it("that is missing or empty is a set without files", async () => {
    const empty = await loadPolicies(folder, options);
    expect(empty.files).toEqual([]);
    expect(await loadPolicies(join(folder, "missing"), options)).toEqual(empty);
    expect(empty.revision).toMatch(/^[0-9a-f]{64}$/);
  });

  it("reads UTF-8 with or without a byte order mark, and Windows line ends", async () => {
    await writeFile(join(folder, "a.yaml"), "\ufeffagent: a\r\nallow:\r\n  - s__x\r\n");
    const { files } = await loadPolicies(folder, options);
    expect(files[0]).toMatchObject({ agent: "a", rules: [{ pattern: "s__x", line: 3 }] });
  });

  it("with mistakes in several files names all of them at once", async () => {
    await writeFile(join(folder, "a.yaml"), "agent: a\nallow: [x]");
    await writeFile(join(folder, "b.yaml"), "agent: b");
    await writeFile(join(folder, "c.yaml"), "agent: c\ndefault: deny");
    const lines = (await refusal()).split("\n");
    expect(lines.map((line) => line.split(": ")[0])).toEqual([
      `${join(folder, "a.yaml")}:2:9`,
      `${join(folder, "c.yaml")}:2:10`,
    ]);
  });
});

it.skipIf(process.platform === "win32")("a file's name can not move the cursor (U3)", async () => {
  await writeFile(join(folder, "\u001b[2J.yaml"), "agent: a\n? !<\u202etag> x\n: y");
  expect(await refusal()).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

it("lists the first of very many mistakes", async () => {
  await writeFile(join(folder, "x.yaml"), `agent: a\n${"a: 1\n".repeat(150_000)}`);
  expect(await refusal()).toContain('x.yaml:3:1: found the key "a" again');
});

describe("what is no policy file is refused, and never waited for (C6):", () => {
  it("a folder named like one", async () => {
    await mkdir(join(folder, "x.yaml"));
    expect(await refusal()).toBe(`${join(folder, "x.yaml")}: cannot be read: it is a directory, not a file`);
  });

  it.skipIf(process.platform === "win32")("a link to an endless device", async () => {
    await symlink("/dev/zero", join(folder, "x.yaml"));
    expect(await refusal()).toContain("x.yaml: cannot be read: it is not a regular file");
  });

  it.skipIf(process.platform === "win32")("a pipe nobody writes to", async () => {
    execFileSync("mkfifo", [join(folder, "x.yaml")]);
    expect(await refusal()).toContain("x.yaml: cannot be read: it is not a regular file");
  });

  it("a link to nothing", async () => {
    await symlink(join(folder, "nowhere"), join(folder, "x.yaml"));
    expect(await refusal()).toContain("x.yaml: cannot be read: it does not exist");
  });

  it.skipIf(process.platform === "win32" || process.getuid?.() === 0)(
    "a file that may not be read",
    async () => {
      await writeFile(join(folder, "x.yaml"), "agent: a", { mode: 0o000 });
      expect(await refusal()).toContain("x.yaml: cannot be read: this user may not read it");
    },
  );

  it("a file over 1 MiB", async () => {
    await writeFile(join(folder, "x.yaml"), `agent: a\n${"#\n".repeat(1 << 19)}`);
    expect(await refusal()).toContain("x.yaml: cannot be read: it is larger than 1 MiB");
  });

  it("bytes that are not UTF-8", async () => {
    await writeFile(join(folder, "x.yaml"), Buffer.from([0x61, 0x3a, 0x20, 0xc0, 0xaf]));
    expect(await refusal()).toContain("x.yaml: cannot be read: it is not UTF-8 text");
  });

  it("a file in place of the folder", async () => {
    await writeFile(join(folder, "file"), "agent: a");
    await expect(loadPolicies(join(folder, "file"), options)).rejects.toMatchObject({
      code: "policy_invalid",
    });
  });
});

function revision(files: Readonly<Record<string, string>>): string {
  return policySet(Object.entries(files).map(([file, text]) => parsePolicy(text, file, options))).revision;
}

function review(expires: string): string {
  return `agent: a\nreview: [{ action: s__x, approval: { expires: ${expires} } }]`;
}

describe("the revision", () => {
  it("is the same for the same content, wherever the folder is and however the files are ordered", () => {
    const a = "agent: a\nallow: [s__x]";
    const b = "agent: b\ndefault: block";
    expect(revision({ "one/a.yaml": a, "one/b.yaml": b })).toBe(
      revision({ "b.yaml": b, "a.yaml": `${a} # why` }),
    );
  });

  it.each([
    ["agent", "agent: b\nallow: [s__x]\n"],
    ["default", "agent: a\nallow: [s__x]\ndefault: review\n"],
    ["list", "agent: a\nblock: [s__x]\n"],
    ["pattern", "agent: a\nallow: [s__y]\n"],
    ["reason", "agent: a\nallow: [{ action: s__x, reason: r }]\n"],
    ["line, which decisions name", "agent: a\n\nallow: [s__x]\n"],
    ["condition", "agent: a\nallow: [{ action: s__x, when: 'true' }]\n"],
    ["shadow of a rule", "agent: a\nallow: [{ action: s__x, shadow: true }]\n"],
    ["shadow of the file", "agent: a\nallow: [s__x]\nshadow: true\n"],
    ["on_change", "agent: a\nallow: [s__x]\non_change: review\n"],
    ["a limit", "agent: a\nallow: [s__x]\nlimits: [{ action: '*', concurrent: 1 }]\n"],
    ["a host", "agent: a\nallow: [s__x]\nservers: { block: [a.org] }\n"],
    ["a rule for data", "agent: a\nallow: [s__x]\ndata: [{ detect: secrets, then: block }]\n"],
    ["one rule more", "agent: a\nallow: [s__x, s__x]\n"],
  ])("changes with the %s", (_what, text) => {
    expect(revision({ "a.yaml": text })).not.toBe(revision({ "a.yaml": "agent: a\nallow: [s__x]\n" }));
  });

  it("changes with the expiry and with the name of the file", () => {
    expect(revision({ "a.yaml": review("1h") })).not.toBe(revision({ "a.yaml": review("2h") }));
    expect(revision({ "a.yaml": "agent: a" })).not.toBe(revision({ "b.yaml": "agent: a" }));
  });

  it("changes with everything an approval asks for", () => {
    const asking = (terms: string) =>
      revision({ "a.yaml": `agent: a\nreview: [{ action: s__x, approval: { ${terms} } }]` });
    const terms = [
      "quorum: 1",
      "quorum: 2",
      "approvers: [a]",
      "approvers: [b]",
      "reason: required",
      "channels: [cli]",
      "channels: [page]",
      "grant: { uses: 1, expires: 1h }",
      "grant: { uses: 2, expires: 1h }",
      "grant: { uses: 1, expires: 2h }",
      'grant: { uses: 1, expires: 1h, arguments: { p: "*" } }',
      'grant: { uses: 1, expires: 1h, arguments: { p: "a*" } }',
    ];
    expect(new Set(terms.map(asking)).size).toBe(terms.length);
  });
});

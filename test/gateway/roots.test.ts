import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { reachedByRoots, reaches } from "../../src/gateway/roots.js";

const base = realpathSync(mkdtempSync(join(tmpdir(), "aegis-roots-")));
const home = join(base, "..home", "aegis");
mkdirSync(home, { recursive: true });
mkdirSync(join(base, "work"));
symlinkSync(home, join(base, "work", "link"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const url = (path: string): string => pathToFileURL(path).href;
const roots = (...uris: unknown[]): unknown => ({ roots: uris.map((uri) => ({ uri })) });

describe("two folders reach each other", () => {
  it("where one holds the other or they are the same", () => {
    expect(reaches(home, home)).toBe(true);
    expect(reaches(base, home)).toBe(true);
    expect(reaches(home, base)).toBe(true);
    expect(reaches("/", home)).toBe(true);
    expect(reaches(join(home, "not", "there", "yet"), home)).toBe(true);
  });

  it("not where only their names begin alike", () => {
    expect(reaches(join(base, "work"), join(base, "work-2"))).toBe(false);
    expect(reaches(`${home}-2`, home)).toBe(false);
    expect(reaches(join(base, "work"), home)).toBe(false);
  });
});

describe("a client's root is refused", () => {
  const reaching = [
    ["the folder itself", url(home)],
    ["a folder that holds it, though its name begins with two dots", url(base)],
    ["a folder in it that does not exist yet", url(join(home, "new"))],
    ["a link to it", url(join(base, "work", "link"))],
    ["a place behind a link that does not exist yet", url(join(base, "work", "link", "new"))],
    ["a way with dots", `${url(base)}/work/../..home/aegis`],
    ["percent-encoded", url(home).replace("aegis", "%61egis")],
    ["an address in capitals", url(home).replace("file:", "FILE:")],
    ["an address after a space", ` ${url(home)}`],
    ["a plain path", home],
    ["a relative path", relative(process.cwd(), home)],
    ["the root of everything", "file:///"],
    ["a machine that is not this one", `file://elsewhere${home}`],
    ["an encoded slash", url(home).replace(/\/(?=aegis)/, "%2F")],
  ] as const;
  it.each(reaching)("where it is %s", (_, uri) => {
    expect(reachedByRoots(roots(url(join(base, "work", "x")), uri), [home])).toMatchObject({ root: uri });
  });

  it("where it is the home folder as a shell writes it", () => {
    expect(reachedByRoots(roots("~/.aegis"), [join(homedir(), ".aegis")])).toMatchObject({
      root: "~/.aegis",
    });
    expect(reachedByRoots(roots("~"), [join(homedir(), ".aegis")])).toMatchObject({ root: "~" });
  });
});

describe("a client's root passes", () => {
  it.each([
    [roots(url(join(base, "work", "x")))],
    [roots(url(join(base, "work", "x")), "https://example.com/home", "git+ssh://host/x")],
    [roots()],
    [roots(1, null)],
    [{ roots: "none" }],
    [undefined],
    [null],
  ])("%j", (result) => {
    expect(reachedByRoots(result, [home])).toBeUndefined();
  });
});

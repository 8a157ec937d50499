import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { coveredPart, partArguments } from "../../src/backend/grants/cover.js";
import { canonicalText } from "../../src/frame/canonical.js";

const patterns = { path: "/srv/docs/*" };
const covered = (text: string): boolean => coveredPart(text, patterns) !== null;

describe("the part of arguments that a grant lets differ", () => {
  test.each([
    ['{"path":"/srv/docs/a.txt"}', true],
    ['{"path":"/srv/docs/"}', true],
    ['{ "pa\\u0074h" : "\\u002fsrv/docs/a" }', true],
    // What a pattern lets through is its author's business: `*` is any run of characters.
    ['{"path":"/srv/docs/../../etc/passwd"}', true],
    ['{"path":"/srv/docs"}', false],
    ['{"path":"/srv/other/a"}', false],
    ['{"path":"/SRV/docs/a"}', false],
    ['{"path":" /srv/docs/a"}', false],
    // Cyrillic о, full-width solidus, a combining accent, a zero-width space.
    ['{"path":"/srv/d\u043ecs/a"}', false],
    ['{"path":"\uff0fsrv/docs/a"}', false],
    ['{"path":"/srv/do\u0301cs/a"}', false],
    ['{"path":"/srv/\u200bdocs/a"}', false],
    ['{"path":["/srv/docs/a"]}', false],
    ['{"path":{"path":"/srv/docs/a"}}', false],
    ['{"path":1}', false],
    ['{"path":null}', false],
    ['{"path":true}', false],
    ['{"p\u0430th":"/srv/docs/a"}', false],
    ['{"Path":"/srv/docs/a"}', false],
    ['{"x":{"path":"/srv/docs/a"}}', false],
    // Twice: a server may take the one, and a check the other.
    ['{"path":"/etc/passwd","path":"/srv/docs/a"}', false],
    ['{"path":"/srv/docs/a","pa\\u0074h":"/etc/passwd"}', false],
    ['["/srv/docs/a"]', false],
    ['"/srv/docs/a"', false],
    ["{}", false],
    ["", false],
  ])("of %s: %s", (text, expected) => {
    expect(covered(text)).toBe(expected);
  });

  test("the rest keeps numbers as they were written, and drops the named members alone", () => {
    const rest = (text: string): string | undefined => partArguments(text, ["path"])?.rest;
    expect(rest('{"z":1.0,"path":"a\\"}{,","a":[{"path":"kept"},9007199254740993]}')).toBe(
      '{"a":[{"path":"kept"},9007199254740993],"z":1.0}',
    );
    expect(rest('{"path":"a","n":1}')).not.toBe(rest('{"path":"a","n":1.0}'));
    expect(rest('{"path":"a"}')).toBe("{}");
    expect(rest('{"path":"a","x":1,"x":2}')).toBeUndefined();
  });

  test("without names everything is the rest, whatever it is", () => {
    for (const text of ["", "[1.0, 2]", "7", '{"b":1,"a":"x"}'])
      expect(partArguments(text, [])?.rest).toBe(text === "" ? "" : canonicalText(text));
  });

  test("the rest is what the arguments are without their named members, however they are written", () => {
    const key = fc.oneof(
      fc.constantFrom("path", "name", "a", 'q"', "__proto__", "\u20ac", "{,}"),
      fc.string(),
    );
    const value = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<unknown>;
    const members = fc.uniqueArray(fc.tuple(key, value), { selector: ([name]) => name, maxLength: 8 });
    fc.assert(
      fc.property(members, fc.string(), fc.string(), (drawn, path, name) => {
        const others = drawn.filter(([each]) => each !== "path" && each !== "name");
        const written = (all: ReadonlyArray<readonly [string, unknown]>): string =>
          `{${all.map(([each, what]) => `${JSON.stringify(each)}: ${JSON.stringify(what)}`).join(" ,\n")}}`;
        const all = [["path", path] as const, ...others, ["name", name] as const];
        const parted = partArguments(written(all), ["path", "name"]);
        expect(parted?.rest).toBe(canonicalText(written(others)));
        expect(Object.fromEntries(parted?.named ?? [])).toEqual({ name, path });
      }),
      { numRuns: 300 },
    );
  });
});

import canonicalize from "canonicalize";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { canonicalText, uniqueCanonicalText } from "../../src/frame/canonical.js";

test("numbers stay as they were written", () => {
  expect(canonicalText('{"a":1.0,"b":1,"c":9007199254740993,"d":1e2,"e":-0}')).toBe(
    '{"a":1.0,"b":1,"c":9007199254740993,"d":1e2,"e":-0}',
  );
  expect(canonicalText('{"a":9007199254740993}')).not.toBe(canonicalText('{"a":9007199254740992}'));
});

test("white space, member order and escapes do not matter, array order does", () => {
  const one = canonicalText('{ "b" : [1, 2],\n "a" : "\\u0041\\/" }');
  expect(one).toBe('{"a":"A/","b":[1,2]}');
  expect(canonicalText('{"a":"A/","b":[2,1]}')).not.toBe(one);
});

test("members are ordered by UTF-16 code units, whatever they look like as integers", () => {
  expect(canonicalText('{"10":1,"9":2,"\\u20ac":3,"\\r":4,"\ud83d\ude00":5,"\ufb33":6}')).toBe(
    '{"\\r":4,"10":1,"9":2,"\u20ac":3,"\ud83d\ude00":5,"\ufb33":6}',
  );
});

test("a member called __proto__ is a member", () => {
  expect(canonicalText('{"a":1,"__proto__":{"b":2}}')).toBe('{"__proto__":{"b":2},"a":1}');
});

test("equals RFC 8785 for everything whose numbers print as they are written", () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 5, noUnicodeString: false }),
      fc.constantFrom(undefined, 2),
      (value, indent) => {
        // JSON.stringify writes -0 as 0, so what is compared is what a client would have sent.
        const sent = JSON.stringify(value, null, indent);
        expect(canonicalText(sent)).toBe(canonicalize(JSON.parse(sent)));
      },
    ),
    { numRuns: 2000 },
  );
});

test("what nests without end is an error, not a crash", () => {
  expect(() => canonicalText("[".repeat(100_000) + "]".repeat(100_000))).toThrow(RangeError);
});

test("a key that stands twice is an error where nobody has looked for that, whatever stands between and however it is written", () => {
  for (const members of [
    '"a":1,"a":1',
    '"a":1,"b":2,"a":3',
    '"b":1,"a":2,"b":3',
    '"a":1,"\\u0061":2',
    '"\u20ac":1,"a":2,"\\u20ac":3',
    '"":1,"":2',
    '"__proto__":1,"__proto__":2',
    `"k7":0,${Array.from({ length: 40 }, (_, n) => `"k${n}":1`).join(",")}`,
  ]) {
    expect(() => uniqueCanonicalText(`{${members}}`), members).toThrow(RangeError);
    expect(() => uniqueCanonicalText(`{"x":[{},{"y":{${members}}}],"z":1}`), members).toThrow(RangeError);
  }
});

test("equal keys of different objects, and keys that only look alike, are none", () => {
  const values = ['{"b":{"b":[{"b":1},{"b":2}]},"a":{"b":1}}', '{"A":1,"a":2,"aa":3,"":4}', '"a"', "[]"];
  for (const text of values) expect(uniqueCanonicalText(text)).toBe(canonicalText(text));
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4, noUnicodeString: false }), (value) => {
      const sent = JSON.stringify(value);
      expect(uniqueCanonicalText(sent)).toBe(canonicalText(sent));
    }),
  );
});

import { assert, oneof, property, string, stringMatching } from "fast-check";
import { describe, expect, it } from "vitest";
import { actionOf, exposedName } from "../../src/gateway/names.js";

const key = stringMatching(/^[a-z0-9]{1,6}([_-][a-z0-9]{1,6}){0,2}$/);
const tool = oneof(string({ minLength: 1, maxLength: 80 }), stringMatching(/^[_a]{1,60}$/));

describe("the name a tool has on the merged endpoint", () => {
  it("is server__tool up to 48 characters, and never longer", () => {
    expect(exposedName("files", "read")).toBe("files__read");
    const fits = "t".repeat(48 - "files__".length);
    expect(exposedName("files", fits)).toBe(`files__${fits}`);
    const long = exposedName("files", `${fits}t`);
    expect(long).toHaveLength(48);
    expect(long).toMatch(/^files__t+_[0-9a-f]{8}$/);
  });

  it("is its own: no other server and tool have it", () => {
    assert(
      property(key, tool, key, tool, (a, one, b, two) => {
        if (a !== b || one !== two) expect(exposedName(a, one)).not.toBe(exposedName(b, two));
      }),
      { numRuns: 5000 },
    );
    const long = "t".repeat(60);
    expect(exposedName("files", `${long}1`)).not.toBe(exposedName("files", `${long}2`));
    expect(exposedName("a", "b__c")).not.toBe(exposedName("a_b", "c"));
  });

  it("leaves the action alone", () => {
    expect(actionOf("files", "t".repeat(200))).toBe(`files__${"t".repeat(200)}`);
  });
});

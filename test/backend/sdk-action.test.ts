import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { actionProblem, sdkCall, sentAction, spellings } from "../../src/backend/sdk/action.js";

describe("an action of an SDK", () => {
  it.each([
    ["pay", "sdk", "pay", "sdk__pay"],
    ["pay_now", "sdk", "pay_now", "sdk__pay_now"],
    ["files__read", "files", "read", "files__read"],
    ["my-files__read__all", "my-files", "read__all", "my-files__read__all"],
    // Names that begin like no server's key.
    ["__init__", "sdk", "__init__", "__init__"],
    ["Files__read", "sdk", "Files__read", "Files__read"],
    ["files__", "sdk", "files__", "files__"],
    ["sdk__pay", "sdk", "sdk__pay", "sdk__pay"],
  ])("%s is the tool of a server", (sent, server, tool, action) => {
    expect(sdkCall(sent)).toEqual({ server, tool, action });
    expect(sentAction({ server, tool, action })).toBe(sent);
  });

  it("is shown as it was sent, and found however it was spelt", () => {
    const part = fc.constantFrom("sdk", "__", "_", "a", "A", "/", "files", "é");
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const sent = parts.join("");
        const call = sdkCall(sent);
        expect(sentAction(call)).toBe(sent);
        expect(spellings(call.action)).toContain(sent);
        for (const spelt of spellings(call.action)) expect(sdkCall(spelt).action).toBe(call.action);
      }),
      { numRuns: 5_000 },
    );
  });

  it("is a name, with its server in front", () => {
    expect(actionProblem("a".repeat(251))).toBeNull();
    expect(actionProblem("a".repeat(252))).toContain("longer");
    for (const bad of ["", " a", "a\0", "a\u202eb"]) expect(actionProblem(bad)).not.toBeNull();
  });
});

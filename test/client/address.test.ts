import { describe, expect, it } from "vitest";
import { readAddress } from "../../src/client/address.js";

const thrownBy = (work: () => unknown): Error => {
  try {
    work();
  } catch (thrown) {
    return thrown as Error;
  }
  throw new Error("it threw nothing");
};

describe("the address of a backend", () => {
  it.each([
    ["http://127.0.0.1:8000", null, "http://127.0.0.1:8000", "", null],
    ["https://aegis.example/aegis/", "tok", "https://aegis.example", "/aegis", "Bearer tok"],
    ["http://sdk:s%40cret@localhost:8000", "tok", "http://localhost:8000", "", `Basic ${btoa("sdk:s@cret")}`],
    ["http://tok@localhost", null, "http://localhost", "", "Bearer tok"],
    ["http://:pass@localhost", null, "http://localhost", "", `Basic ${btoa(":pass")}`],
  ])("%s", (url, token, origin, prefix, authorization) => {
    expect(readAddress(url, "here", token)).toMatchObject({
      origin,
      prefix,
      authorization,
      shown: `${origin}${prefix}`,
    });
  });

  it.each([
    ["http://127.0.0.1:8000", false],
    ["http://[::1]:8000", false],
    ["https://backend.example", false],
    ["http://backend.example", true],
    ["http://127.0.0.1.evil.example", true],
  ])("of %s sends a token in clear text: %s", (url, clearText) => {
    expect(readAddress(url, "here", "token").clearText).toBe(clearText);
    expect(readAddress(url, "here", null).clearText).toBe(false);
  });

  it.each([
    "s3cret",
    "//s3cret@host",
    "ftp://x:s3cret@host",
    "http://x:s3cret@host/?a=1",
    "http://x:s3cret@host/#a",
    "http://x:s3cret%zz@host",
    "http://s3cret%20x@host",
  ])("that cannot be one is refused without being shown: %s", (url) => {
    const { message, name, hint } = thrownBy(() => readAddress(url, "here", null)) as Error & {
      hint?: string;
    };
    expect(name).toBe("AegisError");
    expect(message + String(hint)).not.toContain("s3cret");
  });

  it.each(["s3cret x", "s3cret\n", "s3cr\u00e9t", ""])(
    "refuses a token that no header can carry: %j",
    (token) => {
      if (token === "")
        expect(() => readAddress("http://x", "here", token)).toThrow(/no token has|holds a space/);
      else expect(thrownBy(() => readAddress("http://x", "here", token)).message).not.toContain("s3cr");
    },
  );
});

import { describe, expect, it } from "vitest";
import { serverEnvironment } from "../../src/gateway/servers/environment.js";

describe("the environment of a server", () => {
  const own = {
    PATH: "/bin",
    HOME: "/home/someone",
    AEGIS_HOME: "/home/someone/.aegis",
    AEGIS_TOKEN: "secret",
    GITHUB_TOKEN: "secret",
    SHELL: "() { :; }; echo pwned",
  };

  it("is what a program needs to run, and what its entry adds", () => {
    expect(serverEnvironment(own, new Map([["API_KEY", "its own"]]))).toEqual({
      PATH: "/bin",
      HOME: "/home/someone",
      API_KEY: "its own",
    });
  });

  it("has the entry's word where both name a variable", () => {
    expect(serverEnvironment(own, new Map([["PATH", "/its/bin"]]))).toMatchObject({ PATH: "/its/bin" });
  });

  it("never has a variable of ours, whoever names it", () => {
    const configured = new Map([
      ["AEGIS_TOKEN", "handed on"],
      ["aegis_home", "/x"],
      ["__proto__", "x"],
    ]);
    const environment = serverEnvironment(own, configured);
    expect(Object.keys(environment).filter((name) => /^aegis_/i.test(name))).toEqual([]);
    expect(Object.keys(environment).toSorted()).toEqual(["HOME", "PATH", "__proto__"]);
  });
});

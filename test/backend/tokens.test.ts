import { hash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Backend, NewToken } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, open, person, waitFor } from "../fixtures/backend/store.js";

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Backend;

  beforeEach(async () => {
    place = await make();
    backend = await open(place);
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });

  test("a token proves its principal, and only its hash is stored", async () => {
    const wanted: NewToken = { name: "ci", role: "agent", agent, groups: ["build"] };
    const { id, token } = await backend.createToken(wanted, person());
    expect(token).toMatch(/^aegis_[A-Za-z0-9_-]{43}$/);
    const principal = { name: "ci", role: "agent", agent, groups: ["build"], token: id };
    expect(await backend.authenticate(token)).toEqual(principal);
    expect(await backend.authenticate(token)).toEqual(principal);
    expect(await backend.tokens()).toMatchObject([
      { id, name: "ci", role: "agent", agent, groups: ["build"], revokedAt: null },
    ]);
    await backend.close();
    const stored = await place.everything();
    expect(stored).toContain(hash("sha256", token));
    expect(stored).not.toContain(token.slice(6));
    backend = await open(place);
    expect(await backend.authenticate(token)).toEqual(principal);
  });

  test.each([
    "",
    "aegis_",
    "Bearer x",
    `aegis_${"A".repeat(43)}`,
    `aegis_${"A".repeat(100_000)}`,
    "aegis_\u0000",
  ])("%# is no token", async (token) => {
    await backend.createToken({ name: "ci", role: "admin" }, person());
    expect(await backend.authenticate(token)).toBeNull();
  });

  test("a token expires", async () => {
    const { token } = await backend.createToken({ name: "ci", role: "approver", expires: 100 }, person());
    expect(await backend.authenticate(token)).not.toBeNull();
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(await backend.authenticate(token)).toBeNull();
  });

  test("a revoked token proves nothing, here at once and elsewhere soon", async () => {
    const { id, token } = await backend.createToken({ name: "ci", role: "approver" }, person());
    const elsewhere = await open(place);
    expect(await elsewhere.authenticate(token)).not.toBeNull();
    expect(await backend.authenticate(token)).not.toBeNull();
    await backend.revokeToken(id, person());
    expect(await backend.authenticate(token)).toBeNull();
    await waitFor(async () => (await elsewhere.authenticate(token)) === null, "the revocation", 500);
    await elsewhere.close();
    expect(await backend.tokens()).toMatchObject([{ id, revokedAt: expect.any(String) }]);
  });

  test("making and revoking are recorded, without the token", async () => {
    const { id, token } = await backend.createToken({ name: "ci", role: "agent", agent }, person());
    await backend.revokeToken(id, person("os:bob"));
    await backend.revokeToken(id, person("os:bob"));
    const records = (await backend.records({ limit: 100 })).filter(({ kind }) => kind === "token");
    expect(records).toMatchObject([
      { principal: "os:ada", agent, reason: expect.stringContaining("was made") },
      { principal: "os:bob", agent, reason: expect.stringContaining("was revoked") },
    ]);
    expect(JSON.stringify(records)).not.toContain(token);
  });

  test("an unknown token can not be revoked", async () => {
    await expect(backend.revokeToken(9, person())).rejects.toMatchObject({ code: "unknown_token" });
  });

  describe("a new token", () => {
    test.each<[string, NewToken]>([
      ["without a name", { name: "", role: "admin" }],
      ["with a name that passes for a person of this machine", { name: "os:root", role: "admin" }],
      ["with a name that cannot be seen", { name: "a\u200bb", role: "admin" }],
      ["of a role that does not exist", { name: "x", role: "root" as NewToken["role"] }],
      ["that trusts what a person declares", { name: "x", role: "admin", trustDeclared: true }],
      ["with a name that passes for somebody an issuer vouches for", { name: "oidc:ada", role: "admin" }],
      ["of another role with an agent", { name: "x", role: "approver", agent }],
      ["that is expired", { name: "x", role: "admin", expires: 0 }],
      ["that expires at no time", { name: "x", role: "admin", expires: Number.NaN }],
    ])("%s is refused", async (_, wanted) => {
      await expect(backend.createToken(wanted, person())).rejects.toMatchObject({ code: "usage" });
      expect(await backend.tokens()).toEqual([]);
    });

    test.each(["agent", "approver", "auditor"] as const)(
      "is not made or revoked by a principal of role %s",
      async (role) => {
        const by = person("eve", role);
        await expect(backend.createToken({ name: "x", role: "admin" }, by)).rejects.toMatchObject({
          code: "not_permitted",
        });
        const { id } = await backend.createToken({ name: "x", role: "admin" }, person());
        await expect(backend.revokeToken(id, by)).rejects.toMatchObject({ code: "not_permitted" });
      },
    );
  });
});

import { hash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { Tokens } from "../../src/backend/tokens.js";
import type { NewToken, Principal } from "../../src/client/backend.js";
import { createLogger } from "../../src/log.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, open, person, waitFor } from "../fixtures/backend/store.js";
import { kinds } from "../fixtures/stores.js";

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Service;

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

  test("a revoked token proves nothing after a second, though nobody has heard of it", async () => {
    const { id, token } = await backend.createToken({ name: "ci", role: "approver" }, person());
    expect(await backend.authenticate(token)).not.toBeNull();
    await place.sql("UPDATE tokens SET revoked_at = 1 WHERE id = ?", id);
    expect(await backend.authenticate(token)).not.toBeNull();
    await waitFor(async () => (await backend.authenticate(token)) === null, "the revocation", 1_500);
  });

  describe("a principal whose token was revoked since it came in", () => {
    const acts: ReadonlyArray<[string, (by: Principal) => Promise<unknown>]> = [
      ["kills nobody", (by) => backend.kill(agent, by, "")],
      ["revives nobody", (by) => backend.revive(agent, by, "")],
      ["makes no token", (by) => backend.createToken({ name: "x", role: "admin" }, by)],
      ["revokes no token", (by) => backend.revokeToken(2, by)],
      [
        "declares nothing",
        (by) => backend.declare({ agent, action: "pay", rule: "ALLOW", trusted: true }, by),
      ],
      ["changes no lifecycle", (by) => backend.setLifecycle(agent, "COMPLETED", by)],
    ];

    test.each(acts)("%s, and it is the token that decides", async (_, act) => {
      const { id, token } = await backend.createToken({ name: "eve", role: "admin" }, person());
      await backend.createToken({ name: "other", role: "auditor" }, person());
      const eve = await backend.authenticate(token);
      if (eve === null) throw new Error("no principal");
      await place.sql("UPDATE tokens SET revoked_at = 1 WHERE id = ?", id);
      const before = await backend.records({ limit: 100 });
      await expect(act(eve)).rejects.toMatchObject({
        code: "not_permitted",
        message: expect.stringContaining("was revoked"),
      });
      expect(await backend.records({ limit: 100 })).toEqual(before);
      await place.sql("UPDATE tokens SET revoked_at = NULL WHERE id = ?", id);
      await act(eve);
    });

    test("publishes no policy", async () => {
      const published = await openBackend({
        home: place.home,
        ...(place.database === undefined ? {} : { database: place.database }),
        holdExpires: 60_000,
        log: createLogger("silent"),
      });
      try {
        const { id, token } = await published.createToken({ name: "eve", role: "admin" }, person());
        const eve = await published.authenticate(token);
        if (eve === null) throw new Error("no principal");
        const documents = [{ name: "bot.yaml", text: "agent: bot\ndefault: allow\n" }];
        await published.publish(documents, eve);
        await published.revokeToken(id, person());
        await expect(published.publish([], eve)).rejects.toMatchObject({ code: "not_permitted" });
        expect(await published.policy()).toMatchObject({ documents });
      } finally {
        await published.close();
      }
    });
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

describe.each(kinds)("what is remembered of tokens in $name", ({ make }) => {
  const token = `aegis_${"A".repeat(43)}`;

  test("is not what was read before a revocation was heard", async () => {
    const place = await make();
    try {
      const store = await place.open();
      await place.sql(
        `INSERT INTO tokens (id, hash, name, role, agent, "groups", trust_declared, created_at)
         VALUES (1, '${hash("sha256", token)}', 'ci', 'admin', NULL, '[]', 0, 1)`,
      );
      const tokens = new Tokens(store);
      const asked = tokens.find(token);
      tokens.forget();
      expect(await asked).toMatchObject({ name: "ci" });
      expect(tokens.remembered(token)).toBeUndefined();
      await tokens.find(token);
      expect(tokens.remembered(token)).toMatchObject({ name: "ci" });
      tokens.forget();
      expect(tokens.remembered(token)).toBeUndefined();
    } finally {
      await place.remove();
    }
  });
});

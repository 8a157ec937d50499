/** Who signed in on a page: threat T18. What the pages make of it is in `http/pages`. */
import { hash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { NewToken, Principal } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { open, person, waitFor } from "../fixtures/backend/store.js";

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

  async function somebody(more: Partial<NewToken> = {}): Promise<Principal & { readonly token: number }> {
    const { id, token } = await backend.createToken({ name: "carla", role: "approver", ...more }, person());
    const principal = await backend.authenticate(token);
    if (principal === null) throw new Error("the token is not known");
    return { ...principal, token: id };
  }

  test("a session is its principal, in every process on the store, and only its hash is stored", async () => {
    const carla = await somebody({ groups: ["leads"] });
    const id = await backend.openSession(carla, null);
    expect(id).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect((await backend.session(id))?.principal).toEqual(carla);
    const other = await open(place);
    try {
      const found = await other.session(id);
      expect(found?.principal).toEqual(carla);
      expect(Date.parse(found?.until ?? "") - Date.now()).toBeGreaterThan(7.9 * 3_600_000);
    } finally {
      await other.close();
    }
    await backend.close();
    const stored = await place.everything();
    expect(stored).toContain(hash("sha256", id));
    expect(stored).not.toContain(id);
    backend = await open(place);
    expect((await backend.session(id))?.principal).toEqual(carla);
  });

  test("what was never given out is no session", async () => {
    await backend.openSession(await somebody(), null);
    for (const id of ["", "x", "A".repeat(43), "A".repeat(10_000), "\u0000"]) {
      expect([id, await backend.session(id)]).toEqual([id, null]);
      await backend.endSession(id);
    }
  });

  test("a session ends by itself, with the one that follows, and with its token", async () => {
    const carla = await somebody();
    const first = await backend.openSession(carla, null);
    const second = await backend.openSession(carla, first);
    expect(second).not.toBe(first);
    expect(await backend.session(first)).toBeNull();
    const third = await backend.openSession(carla, null);
    await backend.endSession(third);
    expect(await backend.session(third)).toBeNull();
    expect(await backend.session(second)).not.toBeNull();
    await backend.revokeToken(carla.token, person());
    expect(await backend.session(second)).toBeNull();
    const brief = await backend.openSession(await somebody({ expires: 300 }), null);
    expect(await backend.session(brief)).not.toBeNull();
    await waitFor(async () => (await backend.session(brief)) === null, "the end of the session");
  });

  test("one token has so many sessions, and the oldest makes room", async () => {
    const carla = await somebody();
    const bob = await backend.openSession(await somebody({ name: "bob" }), null);
    const opened: string[] = [];
    for (let index = 0; index < 25; index++) {
      opened.push(await backend.openSession(carla, null));
      // The order is that of the milliseconds in which they began.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const stand = await Promise.all(opened.map(async (id) => (await backend.session(id)) !== null));
    expect(stand).toEqual(opened.map((_id, index) => index >= 5));
    expect(await backend.session(bob)).not.toBeNull();
  });

  test("only a token that decides signs in", async () => {
    for (const role of ["agent", "auditor"] as const)
      await expect(backend.openSession(await somebody({ role }), null)).rejects.toMatchObject({
        code: "not_permitted",
      });
    await expect(backend.openSession(person(), null)).rejects.toMatchObject({ code: "usage" });
    const carla = await somebody();
    await backend.revokeToken(carla.token, person());
    await expect(backend.openSession(carla, null)).rejects.toMatchObject({ code: "not_permitted" });
  });
});

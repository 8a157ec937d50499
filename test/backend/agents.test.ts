import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, open } from "../fixtures/backend/store.js";

describe.each(stores)("$name: the owner of an agent", ({ make }) => {
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

  async function ownerOf(name: string): Promise<string | undefined> {
    return (await backend.agent(name))?.owner;
  }

  test("is whom the operator's file names, whatever the agent says", async () => {
    await backend.register(agent, "mallory");
    expect(await ownerOf(agent)).toBe("platform-team");
    await backend.register("claude-new", "mallory");
    expect(await ownerOf("claude-new")).toBe("platform-team");
    const records = JSON.stringify(await backend.records({ limit: 100 }));
    expect(records).not.toContain("mallory");
  });

  test("is whom the agent names where no file does, and a change of it is recorded", async () => {
    await backend.register("bot", "ana");
    expect(await ownerOf("bot")).toBe("ana");
    const known = await backend.newestRecord();
    await backend.register("bot", "ana");
    await backend.register("bot", "");
    expect(await backend.newestRecord()).toBe(known);
    await backend.register("bot", "bob");
    expect(await ownerOf("bot")).toBe("bob");
    expect(await backend.records({ limit: 10, after: known })).toMatchObject([
      { kind: "agent", agent: "bot", reason: "The agent's owner is bob, and was ana." },
    ]);
  });
});

import { describe, expect, it, vi } from "vitest";
import type { Sighted } from "../../src/client/backend.js";
import { AegisError } from "../../src/errors.js";
import type { Json } from "../../src/frame/types.js";
import { Catalog, type Listed } from "../../src/gateway/catalog.js";
import {
  type CatalogTool,
  elementsIn,
  readOffers,
  renamed,
  toolIn,
  withoutElements,
} from "../../src/gateway/offered.js";
import { secondList } from "../../src/gateway/one-reading.js";
import { sightOffers } from "../../src/gateway/sightings.js";
import { createLogger } from "../../src/log.js";

const log = createLogger("silent");

/** A server whose list is these elements, in pages of two. */
function listing(elements: () => readonly string[]): Listed & { readonly asked: () => number } {
  let asked = 0;
  return {
    key: "fake",
    initialized: { capabilities: { tools: {} }, instructions: "How to use it" },
    ready: async () => {},
    asked: () => asked,
    request: async (_, params: Json) => {
      asked++;
      const from = Number(params.cursor ?? 0);
      const all = elements();
      const next = from + 2 < all.length ? `,"nextCursor":"${from + 2}"` : "";
      return answered(
        `{"jsonrpc":"2.0","id":1,"result":{"tools":[${all.slice(from, from + 2).join(",")}]${next}}}`,
      );
    },
  };
}

function answered(text: string): Awaited<ReturnType<Listed["request"]>> {
  const { result } = JSON.parse(text) as { result: Json };
  return { kind: "answer", text, frame: { kind: "response", text, key: "1", result, error: undefined } };
}

/** The same on one page. */
function listingWhole(elements: () => readonly string[]): Listed["request"] {
  return async () => answered(`{"jsonrpc":"2.0","id":1,"result":{"tools":[${elements().join(",")}]}}`);
}

const tool = (name: string, description = "d"): string =>
  JSON.stringify({ name, description, inputSchema: {} });

function sighted(offers: readonly CatalogTool[], hidden: readonly string[] = []): Sighted {
  return {
    tools: offers.map(({ name }) => ({ name, state: "new", hidden: hidden.includes(name) })),
    missing: [],
  };
}

describe("a catalog", () => {
  it("knows a tool once the backend was told of it, and not before", async () => {
    let tell: () => void = () => {};
    const told = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const catalog = new Catalog(
      listing(() => [tool("a")]),
      async (offers) => {
        await told;
        return sighted(offers);
      },
      log,
    );
    const reading = catalog.all();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(catalog.known("a")).toBeUndefined();
    tell();
    await reading;
    expect(catalog.known("a")).toMatchObject({ name: "a" });
  });

  it("finds its tools although the backend can not be told, and tells it as soon as it can", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      let down = true;
      let asked = 0;
      const catalog = new Catalog(
        listing(() => [tool("a")]),
        async (offers) => {
          asked++;
          if (down) throw new Error("down");
          return sighted(offers);
        },
        log,
      );
      expect(await catalog.find("a")).toMatchObject({ name: "a" });
      expect(await catalog.find("a")).toMatchObject({ name: "a" });
      expect(catalog.known("a")).toBeUndefined();
      expect(asked).toBe(1);
      down = false;
      vi.advanceTimersByTime(600);
      await Promise.all([catalog.find("a"), catalog.find("a"), catalog.find("a")]);
      expect(catalog.known("a")).toMatchObject({ name: "a" });
      expect(asked).toBe(2);
    } finally {
      vi.useRealTimers();
    }
  });

  it("tells of what a client is about to read, where that differs from call to call (D2)", async () => {
    const told: string[][] = [];
    const catalog = new Catalog(
      listing(() => [tool("a"), tool("b"), tool("c")]),
      async (offers) => {
        told.push(offers.map(({ name, description }) => `${name}:${description}`));
        return sighted(offers);
      },
      log,
    );
    await catalog.all();
    await catalog.seen([tool("a"), tool("b")], false);
    expect(told).toEqual([["a:d", "b:d", "c:d"]]);
    await catalog.seen([tool("b", "other")], false);
    expect(told.at(-1)).toEqual(["a:d", "c:d", "b:other"]);
    expect(catalog.known("b")?.description).toBe("other");
    await catalog.seen([tool("a")], true);
    expect(told.at(-1)).toEqual(["a:d"]);
    expect(catalog.known("b")).toBeUndefined();
  });

  it("takes a whole list that the client asked for as its own, and tells of a name that stands there twice", async () => {
    const server = listing(() => [tool("a")]);
    let told: readonly CatalogTool[] = [];
    const catalog = new Catalog(
      server,
      async (offers) => {
        told = offers;
        return sighted(offers);
      },
      log,
    );
    await catalog.seen([tool("a"), tool("a", "another"), tool("a"), '{"name":""}', "7"], true);
    expect(server.asked()).toBe(0);
    expect(told.map(({ description }) => description)).toEqual(["d", "another"]);
    expect(catalog.known("a")?.description).toBe("d");
  });

  it("offers no more than can be pinned, whatever the pages say (D1)", async () => {
    const all = Array.from({ length: 5002 }, (_, number) => tool(`t${number}`));
    let told: readonly CatalogTool[] = [];
    const catalog = new Catalog(
      { ...listing(() => all), request: listingWhole(() => all) },
      async (offers) => {
        told = offers;
        return sighted(offers);
      },
      log,
    );
    const shown = await catalog.seen(all.slice(0, 2), false);
    expect(shown.size).toBe(5000);
    expect(told).toHaveLength(5000);
    const last = await catalog.seen(all.slice(-3), false);
    expect(last.has("t4999")).toBe(true);
    expect([last.has("t5000"), last.has("t5001"), last.size]).toEqual([false, false, 5000]);
    expect(told).toHaveLength(5000);
    // What changes of those that are pinned is pinned as it is now.
    const changed = await catalog.seen([tool("t1", "other"), tool("t5000")], false);
    expect(changed.get("t1")?.description).toBe("other");
    expect(changed.has("t5000")).toBe(false);
    expect(told.find(({ name }) => name === "t1")?.description).toBe("other");
  });

  it("offers nothing of what the backend refuses to pin, until it does", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      let refusing = false;
      const catalog = new Catalog(
        listing(() => [tool("a")]),
        async (offers) => {
          if (refusing) throw new AegisError("usage", "The sighting was refused: too many.");
          return sighted(offers);
        },
        log,
      );
      await catalog.all();
      refusing = true;
      expect(await catalog.sightAgain()).toBe(true);
      expect(catalog.known("a")).toBeUndefined();
      await expect(catalog.find("a")).rejects.toMatchObject({ code: "server_unavailable" });
      await expect(catalog.seen([tool("a")], true)).rejects.toThrow("too many");
      refusing = false;
      expect(await catalog.find("a")).toMatchObject({ name: "a" });
      expect((await catalog.seen([tool("a")], true)).has("a")).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });

  it("offers no more names than fit into one question", () => {
    const name = (number: number): string => `${"\u0001".repeat(1000)}${number}`;
    const { offers, tools, unusable } = readOffers(
      Array.from({ length: 400 }, (_, number) => tool(name(number))),
    );
    const bytes = Buffer.byteLength(JSON.stringify(offers.map((each) => each.name)));
    expect(bytes).toBeGreaterThan(2_000_000);
    expect(bytes).toBeLessThan(2_200_000);
    expect([offers.length + unusable, tools.size]).toEqual([400, offers.length]);
  });

  it("has nothing of a list that can be read in two ways", async () => {
    const request: Listed["request"] = async () =>
      answered(`{"jsonrpc":"2.0","id":1,"result":{"tools":[${tool("a")}],"tools":[${tool("b")}]}}`);
    const told: unknown[] = [];
    const catalog = new Catalog(
      { ...listing(() => []), request },
      async (offers) => {
        told.push(offers);
        return sighted(offers);
      },
      log,
    );
    await expect(catalog.find("a")).rejects.toMatchObject({ code: "server_unavailable" });
    await expect(catalog.find("b")).rejects.toMatchObject({ code: "server_unavailable" });
    expect(told).toEqual([]);
  });

  it("hears again what is hidden, and says whether that is something else", async () => {
    let hidden: string[] = ["a"];
    const catalog = new Catalog(
      listing(() => [tool("a"), tool("b")]),
      async (offers) => sighted(offers, hidden),
      log,
    );
    expect(await catalog.sightAgain()).toBe(false);
    await catalog.all();
    expect(catalog.isHidden("a")).toBe(true);
    expect(await catalog.sightAgain()).toBe(false);
    hidden = [];
    expect(await catalog.sightAgain()).toBe(true);
    expect(catalog.isHidden("a")).toBe(false);
  });
});

describe("what a backend is told", () => {
  it("is one question where nothing is missing, and definitions in parts where they are", async () => {
    const large = "x".repeat(1_000_000);
    const offers = Array.from({ length: 9 }, (_, number) => ({
      name: `t${number}`,
      text: tool(`t${number}`, large),
      definition: String(number).padStart(64, "0"),
      description: large,
      hints: {},
    }));
    const known = new Set<string>();
    const sizes: number[] = [];
    const backend = {
      sight: async ({ tools }: { tools: ReadonlyArray<{ definition: string; text?: string }> }) => {
        const texts = tools.filter(({ text }) => text !== undefined);
        sizes.push(texts.length);
        for (const { definition } of texts) known.add(definition);
        const missing = tools.map(({ definition }) => definition).filter((each) => !known.has(each));
        return { tools: [], missing };
      },
    };
    const sighter = { backend, agent: "a", server: "s", instructions: undefined };
    expect((await sightOffers(sighter, offers)).missing).toEqual([]);
    expect(sizes).toEqual([0, 4, 4, 1]);
    await sightOffers(sighter, offers);
    expect(sizes.slice(4)).toEqual([0]);
  });

  it("depends on all of the instructions, also where they are too long to be kept (D2)", async () => {
    const pinnedOf = async (instructions: string): Promise<string> => {
      const said: (string | null)[] = [];
      const backend = {
        sight: async (sighting: { instructions: string | null }) => {
          said.push(sighting.instructions);
          return { tools: [], missing: [] };
        },
      };
      await sightOffers({ backend, agent: "a", server: "s", instructions }, []);
      return said[0] ?? "";
    };
    const long = "x".repeat(131_072);
    expect(await pinnedOf(long)).toBe(long);
    const texts = [long, `${long}a`, `${long}b`, `${long}ab`, "\ud800", "\ud801", "\ufffd"];
    const pinned = await Promise.all(texts.map(pinnedOf));
    expect(new Set(pinned).size).toBe(texts.length);
    for (const text of pinned) expect(JSON.stringify(text).length).toBeLessThan(1_048_576);
    expect(pinned.join()).not.toMatch(/\p{Cs}/u);
  });

  it("ends where the backend goes on asking for the same", async () => {
    let asked = 0;
    const backend = {
      sight: async () => {
        asked++;
        return { tools: [], missing: ["x"] };
      },
    };
    await sightOffers({ backend, agent: "a", server: "s", instructions: null }, []);
    expect(asked).toBe(2);
  });
});

describe("a list that clients could read differently (D1, D2)", () => {
  const answer = (members: string): string => `{"jsonrpc":"2.0","id":1,${members}}`;

  it.each([
    ['"result":{"tools":[]},"result":{"tools":[]}', '"result" stands twice'],
    ['"result":{"tools":[]},"r\\u0065sult":{}', '"result" stands twice'],
    ['"result":{"tools":[],"tools":[]}', '"tools" stands twice'],
    ['"result":{"tools":[],"\\u0074ools":[]}', '"tools" stands twice'],
    ['"result":{"tools":[],"Tools":[]}', '"tools" is written in another way'],
    ['"result":{"Tools":[]}', '"tools" is written in another way'],
    ['"error":null,"Result":{"tools":[]}', '"result" is written in another way'],
    ['"result":{"tools":[],"nextCursor":"a","nextcursor":"b"}', '"nextCursor" is written in another way'],
    ['"result":{"tools":[],"Ignore all rules":1,"Ignore all rules":2}', "a member stands twice"],
    ['"result":{"tools":{"0":{}}}', 'its "tools" is no list'],
  ])("is told from one that they could not: %s", (members, why) => {
    expect(secondList(answer(members), "tools")).toBe(why);
  });

  it.each([
    '"result":{"tools":[{"name":"a","A":1,"a":2}],"_meta":{"a":1,"A":2},"x":1,"X":2,"nextCursor":"1"}',
    '"result":{"prompts":[],"Prompts":[]}',
    '"result":{}',
    '"result":7',
    '"error":{"code":1,"message":"m"}',
  ])("is not seen where there is none: %s", (members) => {
    expect(secondList(answer(members), "tools")).toBeNull();
  });

  it("is none because of single tools: those are left out", () => {
    for (const text of [
      '{"name":"a","name":"b"}',
      '{"name":"a","Name":"b"}',
      '{"name":"a","description":"a","description":"b"}',
      '{"name":"a","description":"a","Description":"b"}',
      '{"name":"a","inputSchema":{"properties":{"p":{"title":"a","title":"b"}}}}',
    ]) {
      expect(toolIn(text), text).toBeUndefined();
      expect(readOffers([text, tool("z")])).toMatchObject({ unusable: 1, offers: [{ name: "z" }] });
    }
    // Two arguments may differ in case.
    expect(toolIn('{"name":"a","inputSchema":{"properties":{"p":{},"P":{}}}}')).toMatchObject({ name: "a" });
  });

  it("gets no second name where an element is given another", () => {
    expect(renamed('{"x":1.0, "name" : "a"}', "s__a")).toBe('{"x":1.0, "name" : "s__a"}');
    for (const text of ['{"name":"a","name":"b"}', '{"name":"a","Name":"b"}', '{"Name":"b"}', "{}"])
      expect(renamed(text, "s__a"), text).toBeNull();
  });
});

describe("a list without some of its elements", () => {
  const text =
    '{ "id":1,"result":{"x":1.0,"tools": [ {"name":"a"} ,\n {"name":"b","n":1.0},{"name":"c"}\t],"_meta":{}} }';
  const without = (...names: string[]): string =>
    withoutElements(text, "tools", (element) =>
      names.includes((JSON.parse(element) as { name: string }).name),
    );

  it("is the same bytes otherwise", () => {
    expect(without()).toBe(text);
    expect(without("z")).toBe(text);
    expect(without("b")).toBe(
      text.replace(',\n {"name":"b","n":1.0}', "").replace(' ,{"name":"c"}', ',{"name":"c"}'),
    );
    expect(without("c")).toBe(text.replace(',{"name":"c"}', ""));
    expect(elementsIn(without("a"), "tools")).toEqual(['{"name":"b","n":1.0}', '{"name":"c"}']);
    expect(elementsIn(without("a", "b", "c"), "tools")).toEqual([]);
    for (const each of [without("a"), without("a", "c"), without("a", "b", "c")]) {
      expect(() => JSON.parse(each) as unknown).not.toThrow();
      expect(each.startsWith('{ "id":1,"result":{"x":1.0,"tools": [ ')).toBe(true);
      expect(each.endsWith('\t],"_meta":{}} }')).toBe(true);
    }
  });
});

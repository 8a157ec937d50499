import { describe, expect, it, vi } from "vitest";
import type { Sighted } from "../../src/client/backend.js";
import type { Json } from "../../src/frame/types.js";
import { Catalog, type Listed } from "../../src/gateway/catalog.js";
import { type CatalogTool, elementsIn, withoutElements } from "../../src/gateway/offered.js";
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
      const text = `{"jsonrpc":"2.0","id":1,"result":{"tools":[${all.slice(from, from + 2).join(",")}]${next}}}`;
      const frame = { kind: "response", key: "1", result: JSON.parse(text).result as Json, error: undefined };
      return { kind: "answer", text, frame } as Awaited<ReturnType<Listed["request"]>>;
    },
  };
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

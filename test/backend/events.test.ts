import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EventFeed, Events } from "../../src/backend/events.js";
import type { Service } from "../../src/backend/service.js";
import { Counters } from "../../src/backend/store/counters.js";
import type { BackendEvent } from "../../src/client/backend.js";
import { createLogger } from "../../src/log.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, open, person, waitFor } from "../fixtures/backend/store.js";
import { kinds } from "../fixtures/stores.js";

/** As if others had emitted that many, and all were forgotten by now. */
const forgotten = "UPDATE counters SET value = value + 3 WHERE name = 'events'";

describe.each(stores)("$name: events that were forgotten before this process has read them", ({ make }) => {
  let place: Place;
  let backend: Service;
  let heard: BackendEvent[];

  beforeEach(async () => {
    place = await make();
    backend = await open(place);
    heard = [];
    backend.subscribe((event) => {
      heard.push(event);
    });
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });

  test("are told as missed, once, and what follows is heard", async () => {
    await place.sql(forgotten);
    await backend.note({ kind: "refused", reason: "no event" });
    await backend.kill(agent, person(), "");
    await waitFor(() => heard.some(({ kind }) => kind === "kill"), "the kill");
    expect(heard).toEqual([{ kind: "resync" }, { kind: "kill", agent }]);
  });

  test("are told as missed ahead of the first that is left", async () => {
    await backend.kill(agent, person(), "");
    await waitFor(() => heard.length === 1, "the kill");
    const [{ number } = { number: 0 }] = (await backend.eventsAfter(0)) ?? [];
    await place.sql(
      "INSERT INTO events (id, at, kind, agent) VALUES (?, ?, 'revive', ?)",
      number + 3,
      Date.now(),
      agent,
    );
    await place.sql("UPDATE counters SET value = ? WHERE name = 'events'", number + 3);
    await waitFor(() => heard.length === 3, "what is left");
    expect(heard.slice(1)).toEqual([{ kind: "resync" }, { kind: "revive", agent }]);
  });

  test("may have been a revocation: no token is taken as proved any more", async () => {
    const { id, token } = await backend.createToken({ name: "ci", role: "admin" }, person());
    expect(await backend.authenticate(token)).not.toBeNull();
    await place.sql("UPDATE tokens SET revoked_at = 1 WHERE id = ?", id);
    await place.sql(forgotten);
    await waitFor(async () => (await backend.authenticate(token)) === null, "the revocation", 500);
  });

  test("are not confirmed before the listeners have read the state anew, however often that fails", async () => {
    await backend.attach({ pid: process.pid, label: "wrap files", address: null });
    let failures = 0;
    backend.subscribe((event) => {
      if (event.kind === "resync" && ++failures < 2) throw new Error("no");
    });
    await place.sql(forgotten);
    await waitFor(() => failures === 1, "the first try");
    expect((await backend.kill(agent, person(), "")).gateways).toMatchObject([{ confirmed: false }]);
    await waitFor(() => failures === 2, "the second try");
    await waitFor(async () => {
      await backend.revive(agent, person(), "");
      return (await backend.kill(agent, person(), "")).gateways.every(({ confirmed }) => confirmed);
    }, "a kill that is confirmed");
  });
});

describe.each(kinds)("$name: an event that a listener failed with", ({ make }) => {
  test("holds up the confirmation of later ones for a time", async () => {
    const place = await make();
    try {
      const store = await place.open();
      const events = new Events(store);
      const counters = new Counters(store.writer);
      const confirmed: number[] = [];
      const settled = (event: number): void => {
        confirmed.push(event);
      };
      const feed = new EventFeed(store, events, () => {}, settled, createLogger("silent"), 200);
      await feed.start();
      feed.subscribe((event) => {
        if (event.kind === "kill") throw new Error("no");
      });
      const emit = async (event: BackendEvent): Promise<number> => {
        await store.begin();
        const number = await counters.next("events");
        await events.insert(number, 1, [event]);
        await store.commit();
        feed.deliver();
        return number;
      };
      const before = await emit({ kind: "revive", agent });
      await waitFor(() => confirmed.length === 1, "the first");
      const failed = performance.now();
      await emit({ kind: "kill", agent });
      let last = before;
      await waitFor(async () => {
        last = await emit({ kind: "token", id: 1 });
        return confirmed.length > 1;
      }, "the confirmation of one that came later");
      expect(performance.now() - failed).toBeGreaterThan(195);
      expect(confirmed[0]).toBe(before);
      expect(confirmed[1]).toBeLessThanOrEqual(last);
      await feed.stop();
    } finally {
      await place.remove();
    }
  });
});

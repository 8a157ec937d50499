/** A database that others can read too: what a held call would do is not theirs to read. */
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Backend } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { intent, open, person } from "../fixtures/backend/store.js";

const shared = stores.find(({ name }) => name === "PostgreSQL");

describe.runIf(shared !== undefined)("the exact arguments of a held call, in PostgreSQL", () => {
  let place: Place;
  let backend: Backend;
  const text = '{"note":"canary-7f3a","amount":1.0}';

  beforeEach(async () => {
    if (shared === undefined) throw new Error("there is none");
    place = await shared.make();
    backend = await open(place);
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });
  const ask = async (): Promise<number> => {
    const gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
    return (await backend.decide(intent(gateway, "write", text))).approval?.id ?? 0;
  };
  const stored = async (id: number): Promise<string> => {
    const rows = (await place.sql("SELECT arguments FROM approvals WHERE id = ?", id)) as Array<{
      arguments: string;
    }>;
    return rows[0]?.arguments ?? "";
  };
  const elsewhere = (): { home: string; policies: string; database?: string } => {
    const home = `${place.home}-other`;
    mkdirSync(home, { mode: 0o700 });
    return { ...place, home };
  };

  test("are sealed while it is open, and shown as they are", async () => {
    const id = await ask();
    expect(await stored(id)).toMatch(/^[A-Za-z0-9+/]+=*$/);
    expect(Buffer.from(await stored(id), "base64").toString("latin1")).not.toContain("canary");
    expect((await backend.approval(id)).arguments).toBe(text);
    expect((await backend.approvals({}))[0]?.arguments).toBe(text);
    expect((await backend.decideApproval(id, "approved", person(), "")).arguments).toBe(text);
    expect(await stored(id)).not.toContain("canary");
  });

  test("are erased at its end", async () => {
    const id = await ask();
    await backend.decideApproval(id, "denied", person(), "");
    const redacted = await stored(id);
    expect(JSON.parse(redacted)).toMatchObject({ note: "canary-7f3a" });
    expect((await backend.approval(id)).arguments).toBe(redacted);
  });

  test("that were changed there, or moved to another row, are not shown as the call's", async () => {
    const [one, two] = [await ask(), await ask()];
    await place.sql(
      "UPDATE approvals SET arguments = (SELECT arguments FROM approvals WHERE id = ?) WHERE id = ?",
      two,
      one,
    );
    expect((await backend.approval(one)).arguments).toMatch(/^\[the arguments cannot be read/);
    expect((await backend.approval(two)).arguments).toBe(text);
  });

  test("need the key, which is in no backup of the database: a home without it is refused, and works once it has it", async () => {
    const id = await ask();
    const file = join(place.home, "store.key");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await place.everything()).not.toContain(readFileSync(file, "utf8").trim());
    const other = elsewhere();
    const refused = { code: "store_key", hint: expect.stringContaining("Copy store.key") as string };
    await expect(open(other)).rejects.toMatchObject(refused);
    writeFileSync(join(other.home, "store.key"), `${Buffer.alloc(32, 7).toString("base64")}\n`, {
      mode: 0o600,
    });
    await expect(open(other)).rejects.toMatchObject(refused);
    copyFileSync(file, join(other.home, "store.key"));
    const second = await open(other);
    expect((await second.approval(id)).arguments).toBe(text);
    await second.close();
  });

  test("and the digests depend on the key", async () => {
    const id = await ask();
    const { digest } = await backend.approval(id);
    const other = await shared?.make();
    if (other === undefined) throw new Error("there is none");
    const second = await open(other);
    const gateway = await second.attach({ pid: process.pid, label: "wrap files", address: null });
    const same = (await second.decide(intent(gateway, "write", text))).approval?.id ?? 0;
    expect((await second.approval(same)).digest).not.toBe(digest);
    await second.close();
    await other.remove();
  });
});

import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test } from "vitest";
import { recordHash } from "../../../src/backend/ledger/chain.js";
import {
  damage,
  filledLedger,
  kindOf,
  type LedgerRow,
  linesOfFile,
  makeLedgerHome,
  rowsOf,
  runCalls,
} from "../../fixtures/backend/ledger.js";
import { open, waitFor } from "../../fixtures/backend/store.js";

let place: ReturnType<typeof makeLedgerHome>;
const servers: Server[] = [];
afterEach(() => {
  place.remove();
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

const signedOf = (rows: readonly LedgerRow[]): LedgerRow[] =>
  rows.filter((row) => kindOf(row) === "checkpoint");

/** Lengths of the stretches between checkpoints, the one behind the last of them included. */
function stretches(rows: readonly LedgerRow[]): number[] {
  const found: number[] = [0];
  for (const row of rows) {
    if (kindOf(row) === "checkpoint") found.push(0);
    else found[found.length - 1] = (found.at(-1) ?? 0) + 1;
  }
  return found;
}

function every(milliseconds: number): void {
  const config = `ledger: { checkpoint: { records: 100, every: ${milliseconds}ms } }\n`;
  writeFileSync(join(place.home, "config.yaml"), config);
}

describe("a checkpoint", () => {
  test("comes after so many records at the latest, however many one transaction writes", async () => {
    place = makeLedgerHome(7);
    const backend = await open(place);
    const gateway = await backend.attach({ pid: process.pid, label: "wrap", address: null });
    await Promise.all(Array.from({ length: 100 }, () => runCalls(backend, 1)));
    await backend.close();
    expect(gateway).not.toBe("");
    const rows = await rowsOf(place.home);
    expect(Math.max(...stretches(rows))).toBe(7);
    expect(signedOf(rows).length).toBeGreaterThan(25);
  });

  test("signs what a process wrote before it ends, and nothing where it wrote nothing", async () => {
    place = makeLedgerHome(1_000);
    const rows = await filledLedger(place, 2);
    expect(kindOf(rows.at(-1) as LedgerRow)).toBe("checkpoint");
    for (let again = 0; again < 3; again++) {
      const backend = await open(place);
      await backend.agents();
      await backend.close();
    }
    expect((await rowsOf(place.home)).length).toBe(rows.length);
  });

  test("comes after some time where something new is there, once", async () => {
    place = makeLedgerHome();
    every(1000);
    const backend = await open(place);
    await runCalls(backend, 1);
    await waitFor(async () => signedOf(await rowsOf(place.home)).length === 1, "a checkpoint", 5_000);
    const rows = await rowsOf(place.home);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect((await rowsOf(place.home)).length).toBe(rows.length);
    await backend.close();
  });

  test("is made by another process, where the one that wrote is gone without an end", async () => {
    place = makeLedgerHome(1_000);
    const rows = await filledLedger(place, 2);
    // As if it had been killed before it signed.
    await damage(place.home, (store) => {
      store.exec(`DELETE FROM ledger WHERE id = ${rows.length}`);
      store.exec("DELETE FROM signed_records");
    });
    rmSync(place.anchor);
    every(1000);
    const backend = await open(place);
    await waitFor(async () => signedOf(await rowsOf(place.home)).length === 1, "a checkpoint", 5_000);
    await waitFor(() => existsSync(place.anchor), "the anchor");
    await backend.close();
    expect(linesOfFile(place.anchor)).toEqual(signedOf(await rowsOf(place.home)).map(({ body }) => body));
  });

  test("is made once by two processes that write at the same time", async () => {
    place = makeLedgerHome(5);
    const [one, two] = await Promise.all([open(place), open(place)]);
    await Promise.all([runCalls(one, 30), runCalls(two, 30)]);
    expect(await one.verify()).toMatchObject({ ok: true });
    await Promise.all([one.close(), two.close()]);
    expect(Math.max(...stretches(await rowsOf(place.home)))).toBe(5);
    const lines = linesOfFile(place.anchor);
    expect(new Set(lines)).toEqual(new Set(signedOf(await rowsOf(place.home)).map(({ body }) => body)));
  });

  test("that cannot be made refuses the call that it should follow, until the key can be read again", async () => {
    place = makeLedgerHome(5);
    await filledLedger(place, 4);
    const key = join(place.home, "ledger.key");
    const pem = readFileSync(key, "utf8");
    writeFileSync(key, "nonsense");
    const broken = await open(place);
    await expect(runCalls(broken, 10)).rejects.toMatchObject({ code: "ledger_key" });
    writeFileSync(key, pem);
    await runCalls(broken, 10);
    await broken.close();
    const backend = await open(place);
    expect(await backend.verify()).toMatchObject({ ok: true });
    await backend.close();
  });

  test("of a changed configuration comes as early as the stricter of the two wants it", async () => {
    place = makeLedgerHome(3);
    await filledLedger(place, 4);
    writeFileSync(join(place.home, "config.yaml"), "ledger: { checkpoint: { records: 8 } }\n");
    const rows = await filledLedger(place, 16);
    const backend = await open(place);
    expect(await backend.verify()).toMatchObject({ ok: true });
    await backend.close();
    expect(Math.max(...stretches(rows))).toBe(8);
  });
});

describe("the anchor file", () => {
  test("holds the body of every checkpoint, for its user alone", async () => {
    place = makeLedgerHome(5);
    const rows = await filledLedger(place);
    expect(linesOfFile(place.anchor)).toEqual(signedOf(rows).map(({ body }) => body));
    expect(linesOfFile(place.anchor).map(recordHash)).toEqual(signedOf(rows).map(({ hash }) => hash));
    if (process.platform !== "win32") expect(statSync(place.anchor).mode & 0o777).toBe(0o600);
  });

  test("goes on behind a line that a crash cut short", async () => {
    place = makeLedgerHome(5);
    await filledLedger(place);
    const whole = readFileSync(place.anchor, "utf8");
    writeFileSync(place.anchor, whole.slice(0, -40));
    every(1000);
    const backend = await open(place);
    await waitFor(
      () => readFileSync(place.anchor, "utf8").endsWith(whole.slice(-41)),
      "the line again",
      5_000,
    );
    expect(await backend.verify()).toMatchObject({ ok: true });
    await backend.close();
  });

  test.skipIf(process.getuid?.() === 0 || process.platform === "win32")(
    "that cannot be written holds up no call, and gets its lines later",
    async () => {
      place = makeLedgerHome(5);
      writeFileSync(place.anchor, "");
      chmodSync(place.anchor, 0o400);
      const backend = await open(place);
      await runCalls(backend, 10);
      chmodSync(place.anchor, 0o600);
      await waitFor(() => linesOfFile(place.anchor).length > 3, "the lines");
      await backend.close();
    },
  );

  test("whose place is taken by a folder holds up no call, and gets its lines once that is gone", async () => {
    place = makeLedgerHome(5);
    mkdirSync(place.anchor);
    const backend = await open(place);
    await runCalls(backend, 10);
    rmSync(place.anchor, { recursive: true });
    const count = signedOf(await rowsOf(place.home)).length;
    await waitFor(
      () => existsSync(place.anchor) && linesOfFile(place.anchor).length >= count,
      "the lines",
      5_000,
    );
    await backend.close();
  });

  test("may be several, wherever the configuration says", async () => {
    place = makeLedgerHome(5, "  anchor: [first.anchor, sub/second.anchor]\n");
    mkdirSync(join(place.home, "sub"));
    const rows = await filledLedger(place);
    for (const name of ["first.anchor", "sub/second.anchor"])
      expect(linesOfFile(join(place.home, name)).length).toBe(signedOf(rows).length);
    expect(existsSync(place.anchor)).toBe(false);
    const backend = await open(place);
    const report = await backend.verify();
    expect(report.evidence?.anchors?.map(({ name }) => name)).toEqual([
      join(place.home, "first.anchor"),
      join(place.home, "sub/second.anchor"),
    ]);
    await backend.close();
  });
});

describe("a webhook", () => {
  interface Post {
    readonly body: string;
    readonly type: string | undefined;
    readonly authorization: string | undefined;
  }

  /** Answers with each of these in turn, then with 204; `hang` never answers. */
  async function receiver(answers: Array<number | "hang"> = []): Promise<{ url: string; posts: Post[] }> {
    const posts: Post[] = [];
    const server = createServer((request, response) => {
      text(request).then(
        (body) => {
          const { authorization, "content-type": type } = request.headers;
          posts.push({ body, type, authorization });
          const answer = answers.shift() ?? 204;
          if (answer !== "hang") response.writeHead(answer).end();
        },
        () => {},
      );
    });
    servers.push(server);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return { url: `http://hook:s3cret@127.0.0.1:${(server.address() as AddressInfo).port}/anchor`, posts };
  }

  test("is sent every checkpoint, as it was hashed, with the credential of its URL", async () => {
    const { url, posts } = await receiver();
    place = makeLedgerHome(5, `  anchor: [ledger.anchor, "${url}"]\n`);
    const rows = await filledLedger(place);
    expect(posts.map(({ body }) => body)).toEqual(signedOf(rows).map(({ body }) => body));
    expect(posts[0]).toMatchObject({ type: "application/json", authorization: "Bearer s3cret" });
  });

  test("that fails is tried again; that never answers holds up no call and no end", async () => {
    const { url, posts } = await receiver([500, 503]);
    const silent = await receiver(Array.from({ length: 100 }, () => "hang"));
    place = makeLedgerHome(5, `  anchor: ["${url}", "${silent.url}"]\n`);
    const backend = await open(place);
    await runCalls(backend, 6);
    const first = signedOf(await rowsOf(place.home))[0]?.body ?? "";
    await waitFor(() => posts.filter(({ body }) => body === first).length === 3, "a third try", 8_000);
    await runCalls(backend, 6);
    const before = performance.now();
    await backend.close();
    expect(performance.now() - before).toBeLessThan(4_000);
    const told = new Set(posts.map(({ body }) => body));
    for (const { body } of signedOf(await rowsOf(place.home))) expect(told).toContain(body);
    expect(silent.posts.length).toBeGreaterThan(0);
  });
});

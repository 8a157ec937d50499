/** Many people who decide one approval at once, at every backend there is: threat A10. */
import { Pool } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makePlace } from "../../fixtures/gateway.js";
import { type Database, openDatabase, postgresAvailable } from "../../fixtures/postgres.js";
import { BackendProcess, makeHomes } from "../../fixtures/remote.js";

const ROUNDS = 500;
const PEOPLE = 50;

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

describe.each([
  { store: "SQLite", available: true, backends: 1 },
  { store: "PostgreSQL", available: postgresAvailable, backends: 2 },
])("$store", ({ store, available, backends: count }) => {
  const place = makePlace({ "all.yaml": 'agent: "*"\nreview: ["*__pay"]\n' });
  let database: Database | null = null;
  const backends: BackendProcess[] = [];
  const pools: Pool[] = [];
  const people: string[] = [];
  let caller: string;

  const ask = async (
    pool: Pool | undefined,
    token: string,
    path: string,
    body: object | null = null,
  ): Promise<Answer> => {
    if (pool === undefined) throw new Error("there is no such backend");
    const { statusCode, body: answer } = await pool.request({
      method: body === null ? "GET" : "POST",
      path,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body === null ? null : JSON.stringify(body),
    });
    return { status: statusCode, body: (await answer.json()) as Record<string, unknown> };
  };

  beforeAll(async () => {
    if (!available) return;
    if (store === "PostgreSQL") database = await openDatabase();
    for (const home of makeHomes(place, count)) {
      backends.push(
        await BackendProcess.start(place, database === null ? { home } : { home, database: database.url }),
      );
    }
    pools.push(...backends.map(({ url }) => new Pool(url, { connections: PEOPLE })));
    const admin = backends[0]?.token ?? "";
    const make = async (name: string, role: string, agent?: string): Promise<string> => {
      const answer = await ask(pools[0], admin, "/v1/tokens", { name, role, ...(agent && { agent }) });
      expect(answer.status).toBeLessThan(300);
      return String(answer.body.token);
    };
    caller = await make("payer-token", "agent", "payer");
    for (let index = 0; index < PEOPLE; index++) people.push(await make(`person-${index}`, "approver"));
  });
  afterAll(async () => {
    for (const pool of pools) await pool.close();
    for (const backend of backends) await backend.stop();
    await database?.stop();
    place.remove();
  });

  test.runIf(available)(
    `${PEOPLE} people decide at once, ${ROUNDS} times: one wins, the rest are told who`,
    async () => {
      let approved = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const made = await ask(pools[0], caller, "/sdk/approval", {
          agent_name: "payer",
          action: "bank__pay",
          args_json: JSON.stringify({ round }),
        });
        const id = Number(made.body.approval_id);
        expect(id).toBeGreaterThan(0);
        const answers = await Promise.all(
          people.map((token, index) =>
            ask(pools[index % pools.length], token, `/v1/approvals/${id}/decision`, {
              decision: (index + round) % 2 === 0 ? "approved" : "denied",
              reason: `person-${index}`,
            }),
          ),
        );
        const winners = answers.filter(({ status }) => status === 200);
        expect(winners).toHaveLength(1);
        const winner = String(winners[0]?.body.decided_by);
        const decision = winners[0]?.body.status;
        for (const { status, body } of answers) {
          if (status === 200) continue;
          expect({ status, code: body.code }).toEqual({ status: 409, code: "approval_settled" });
          expect(String(body.detail)).toContain(winner);
        }
        const seen = await ask(pools.at(-1), people[0] ?? "", `/v1/approvals/${id}`);
        expect(seen.body).toMatchObject({ status: decision, decided_by: winner });
        if (decision === "approved") approved++;
      }
      // Both answers win now and then: nothing here prefers one.
      expect(approved).toBeGreaterThan(0);
      expect(approved).toBeLessThan(ROUNDS);
      const decided = new Map<number, number>();
      for (let after = 0; ; ) {
        const { body } = await ask(
          pools[0],
          backends[0]?.token ?? "",
          `/v1/ledger?kind=approval&limit=1000&after=${after}`,
        );
        const records = body.records as Array<{ id: number; approval: number; decision: string }>;
        for (const { approval, decision } of records)
          if (decision !== "pending") decided.set(approval, (decided.get(approval) ?? 0) + 1);
        const last = records.at(-1);
        if (last === undefined) break;
        after = last.id;
      }
      expect(decided.size).toBe(ROUNDS);
      expect([...decided.values()].every((times) => times === 1)).toBe(true);
      expect((await ask(pools[0], backends[0]?.token ?? "", "/v1/ledger/verify")).body).toMatchObject({
        ok: true,
      });
    },
    120_000,
  );
});

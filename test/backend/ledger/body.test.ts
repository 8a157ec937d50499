import canonicalize from "canonicalize";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BodyReader } from "../../../src/backend/ledger/body.js";
import { type Entry, recordBody, recordKinds } from "../../../src/backend/ledger/record.js";

const text = fc.string({ unit: "binary" });
const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
const id = fc.nat();

/** A record of any kind, with any of the members that a record may have. */
const entries = fc.record(
  {
    kind: fc.constantFrom(...recordKinds),
    action: text,
    address: text,
    agent: text,
    approval: id,
    arguments: fc.oneof(text, fc.json()),
    call: text,
    decision: text,
    definition: text,
    digest: hex,
    duration: fc.double({ noNaN: true, noDefaultInfinity: true }),
    every: id,
    findings: text,
    first_id: id,
    gateway: text,
    grant: id,
    key_id: hex,
    last_hash: hex,
    last_id: id,
    outcome: text,
    principal: text,
    reason: text,
    release: fc.constant(true as const),
    revision: text,
    rule: fc.option(text),
    segment: text,
    segment_hash: hex,
    server: text,
    shadow: text,
    signature: fc.base64String(),
    stage: fc.constant("result" as const),
    status: text,
    token: id,
    tool: text,
  },
  { requiredKeys: ["kind"] },
) as fc.Arbitrary<Entry>;

const at = "2026-01-02T03:04:05.678Z";

describe("the body of a record", () => {
  test("is RFC 8785 canonical JSON, as an independent implementation writes it, whatever its kind", () => {
    const kinds = new Set<string>();
    fc.assert(
      fc.property(entries, fc.nat(), hex, (entry, number, prev) => {
        kinds.add(entry.kind);
        const body = recordBody(entry, number, at, prev);
        expect(body).toBe(canonicalize({ ...entry, id: number, at, prev }));
      }),
      { numRuns: 400 },
    );
    expect(kinds.size).toBe(recordKinds.length);
  });

  test("is read as a parser of JSON reads it", () => {
    const reader = new BodyReader();
    fc.assert(
      fc.property(entries, fc.nat(), hex, (entry, number, prev) => {
        const body = recordBody(entry, number, at, prev);
        expect(reader.read(body)).toBeNull();
        const { id: read, prev: link, kind, agent, call, decision, release } = reader;
        expect({ read, link, kind, agent, call, decision, release }).toEqual({
          read: number,
          link: prev,
          kind: entry.kind,
          agent: entry.agent ?? null,
          call: entry.call ?? null,
          decision: entry.decision ?? null,
          release: entry.release ?? false,
        });
      }),
      { numRuns: 400 },
    );
  });

  test("that is changed by one character is refused, or is canonical all the same", () => {
    const reader = new BodyReader();
    const character = fc.constantFrom(...Array.from('{}[]",:\\ \n\t0129.-+eEuatrfn/é\u0000\u001f\u2028'));
    fc.assert(
      fc.property(
        entries,
        fc.double({ min: 0, max: 1, noNaN: true }),
        character,
        fc.nat(2),
        (entry, where, put, how) => {
          const body = recordBody(entry, 7, at, "");
          const place = Math.floor(where * body.length);
          const changed =
            body.slice(0, place) + (how === 0 ? "" : put) + body.slice(how === 1 ? place : place + 1);
          // Half a character is nothing that a store, which keeps UTF-8, could give.
          fc.pre(!/\p{Surrogate}/u.test(changed));
          if (reader.read(changed) !== null) return;
          const parsed = JSON.parse(changed) as Record<string, unknown>;
          expect(changed).toBe(canonicalize(parsed));
          expect([reader.id, reader.prev, reader.kind]).toEqual([parsed.id, parsed.prev, parsed.kind]);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test.each([
    "",
    "null",
    "[]",
    '"x"',
    "{}",
    "{",
    '{"',
    '{"id":1',
    '{"id":1,',
    '{"id":1,"kind":"kill","prev":"}',
    '{"id":1,"kind":"kill","prev":"\\"}',
    '{"id":1,"kind":"kill","prev":""',
    '{"id":1,"kind":"kill","prev":""},',
    '{"id":1,"kind":"kill"}',
    '{"id":"1","kind":"kill","prev":""}',
    '{"id":01,"kind":"kill","prev":""}',
    '{"id":1e0,"kind":"kill","prev":""}',
    '{"id":9007199254740993,"kind":"kill","prev":""}',
    '{"id":1,"kind":null,"prev":""}',
    '{"id":1,"kind":"kill","prev":[]}',
    '{"id":1,"kind":"kill","prev":"","rule":nul}',
    '{"id":1,"kind":"kill","prev":"","rule":NaN}',
    '{"id":1,"kind":"kill","prev":"","rule":-0}',
    '{"id":1,"kind":"kill","prev":"","rule":"\\/"}',
    '{"id":1,"kind":"kill","prev":"","rule":"\\u000A"}',
    '{"id":1,"kind":"kill","prev":"","rule":"\\u000a"}',
    '{"id":1,"kind":"kill","prev":"","Rule":"x"}',
    '{"id":1,"kind":"kill","prev":"","r\\u0075le":"x"}',
  ])("is not %s", (body) => {
    expect(new BodyReader().read(body)).not.toBeNull();
  });
});

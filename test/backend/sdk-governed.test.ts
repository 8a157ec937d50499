import { afterEach, beforeEach, expect, test } from "vitest";
import type { Principal } from "../../src/client/backend.js";
import { type Governed, govern } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, person } from "../fixtures/backend/store.js";

const by: Principal = { name: "sdk", role: "agent", agent, groups: [], token: null };
const policy = `
default: block
review:
  - { action: sdk__send, when: 'args.to == "ann"' }
  - sdk__pay
limits: [{ action: sdk__pay, calls: 1, per: 1h }]
`;
let place: Place;
let governed: Governed;

beforeEach(async () => {
  const [store] = stores;
  if (store === undefined) throw new Error("no store was chosen");
  place = await store.make();
  governed = await govern(place, policy);
});
afterEach(async () => {
  await governed.backend.close();
  await place.remove();
});

test("a condition on what an SDK's agent asks sees the arguments; before they are known a person is asked", async () => {
  const { backend } = governed;
  expect(await backend.ruleOf(agent, "send")).toBe("REVIEW");
  const ask = async (args: string) =>
    (await backend.approval(await backend.requestApproval(agent, "send", args, by))).status;
  expect(await ask('{"to":"ann"}')).toBe("pending");
  expect(await ask('{"to":"bob"}')).toBe("void");
  expect(await ask('{"cc":"ann"}')).toBe("void");
  expect(await ask("no JSON")).toBe("void");
});

test("a limit holds an approval back until there is room: it is not lost", async () => {
  const { backend } = governed;
  const ids: number[] = [];
  for (const n of [1, 2]) {
    const id = await backend.requestApproval(agent, "pay", `{"n":${n}}`, by);
    await backend.decideApproval(id, "approved", person(), "");
    ids.push(id);
  }
  const [first = 0, second = 0] = ids;
  expect(await backend.pollApproval(first, by)).toBe("consumed");
  expect(await backend.pollApproval(second, by)).toBe("pending");
  await place.sql("DELETE FROM call_counts");
  expect(await backend.pollApproval(second, by)).toBe("consumed");
});

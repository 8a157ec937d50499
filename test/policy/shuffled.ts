import type { PolicyFile } from "../../src/policy/policy.js";

/** The same files in another order, and the entries of each. */
export function shuffled(original: readonly PolicyFile[], seed: number): PolicyFile[] {
  let state = seed;
  const order = <T>(items: readonly T[]): T[] =>
    items
      .map((item) => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
        return { item, key: state };
      })
      .toSorted((one, other) => one.key - other.key)
      .map(({ item }) => item);
  return order(original).map((each) => ({
    ...each,
    rules: order(each.rules),
    limits: order(each.limits),
    hosts: order(each.hosts),
    data: order(each.data),
  }));
}

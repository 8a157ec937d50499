/** Counts for a question nobody counts for: no call was made before. What depends on them says so. */
class Uncounted extends Map<string, number> {
  override get(key: string): number {
    return super.get(key) ?? 0;
  }

  override has(): boolean {
    return true;
  }
}

/** @param known counts that are known, by `countKey`; 0 for every other */
export function uncounted(known: Iterable<readonly [string, number]> = []): ReadonlyMap<string, number> {
  return new Uncounted(known);
}

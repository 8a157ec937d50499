/** Milliseconds of this process's CPU: other processes of the machine do not count. */
export function cpuOf(work: () => unknown): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/**
 * How much longer four times the size takes, the shortest of several runs each: some 4 where the time is proportional,
 * 16 where it is quadratic. What takes only milliseconds counts as nothing.
 */
export function growth(work: (size: number) => void, size: number): number {
  const shortest = (of: number) => Math.min(...Array.from({ length: 3 }, () => cpuOf(() => work(of))));
  const small = shortest(size);
  return shortest(4 * size) / Math.max(small, 10);
}

/**
 * When approvals opened in this process expire, by a clock that nobody sets: one that is set back does not make them
 * live longer. Kept with the time they were opened, since a number that was rolled back is given again.
 */
export class Deadlines {
  private readonly known = new Map<number, { readonly at: number; readonly opened: number }>();

  /** @param expires milliseconds from now @param opened as the row says */
  set(id: number, expires: number, opened: number): void {
    this.known.set(id, { at: performance.now() + expires, opened });
  }

  isOver({ id, created_at }: { readonly id: number; readonly created_at: number }): boolean {
    const deadline = this.known.get(id);
    return deadline?.opened === created_at && performance.now() >= deadline.at;
  }

  /** Those that are over, each with the time it was opened. */
  over(): Array<[id: number, opened: number]> {
    const now = performance.now();
    return [...this.known].flatMap(([id, { at, opened }]) => (at <= now ? [[id, opened]] : []));
  }

  forget(id: number): void {
    this.known.delete(id);
  }
}

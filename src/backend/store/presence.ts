import { statSync } from "node:fs";
import { AegisError } from "../../errors.js";

/**
 * Whether the store is still the file that was opened. One that was deleted or replaced can be written for ever, and
 * nobody will read it: neither its records, nor a kill by another process.
 */
export class Presence {
  private readonly opened: string | null;

  constructor(private readonly path: string) {
    this.opened = this.identity();
  }

  /** Why nothing may be written, or null. */
  problem(): AegisError | null {
    if (this.identity() === this.opened) return null;
    return new AegisError(
      "backend_unavailable",
      `${this.path} was deleted, moved or replaced while it was open.`,
      {
        hint: "Put the file back, or start the gateway again.",
      },
    );
  }

  private identity(): string | null {
    const stats = statSync(this.path, { bigint: true, throwIfNoEntry: false });
    return stats === undefined ? null : `${stats.dev}:${stats.ino}`;
  }
}

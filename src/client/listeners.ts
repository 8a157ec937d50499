import { reasonOf } from "../errors.js";
import type { Logger } from "../log.js";
import type { BackendEvent, EventListener } from "./backend.js";

/** Who is told of what happened at the backend. */
export class Listeners {
  private readonly all = new Set<EventListener>();

  constructor(private readonly log: Logger) {}

  subscribe(listener: EventListener): () => void {
    // A function of its own: the same listener may subscribe twice.
    const own: EventListener = (event) => listener(event);
    this.all.add(own);
    return () => this.all.delete(own);
  }

  /** Tells all of them at once. Resolves when every one has finished: false where one of them failed. */
  async tell(event: BackendEvent): Promise<boolean> {
    const told = await Promise.allSettled([...this.all].map(async (listener) => listener(event)));
    let well = true;
    for (const result of told) {
      if (result.status === "fulfilled") continue;
      well = false;
      this.log.error({ reason: reasonOf(result.reason), event }, "a listener failed");
    }
    return well;
  }
}

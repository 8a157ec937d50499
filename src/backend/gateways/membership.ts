import type { GatewayInfo } from "../../client/backend.js";
import type { Logger } from "../../log.js";
import type { Batch } from "../batch.js";
import type { Events } from "../events.js";
import { checkName } from "../names.js";
import type { GroupCommit } from "../store/commit.js";
import { type Gateways, heartbeat, type Joining, newGatewayId } from "./gateways.js";
import type { OpenCalls } from "./open-calls.js";

type Member = Omit<Joining, "mark">;

/** The gateways of this process: their signs of life, and what they confirm. */
export class Membership {
  private readonly members = new Map<string, Member>();
  private pulse: NodeJS.Timeout | null = null;

  constructor(
    private readonly commit: GroupCommit<Batch>,
    private readonly gateways: Gateways,
    private readonly events: Events,
    private readonly openCalls: OpenCalls,
    /** Milliseconds. */
    private readonly lease: number,
    private readonly log: Logger,
  ) {}

  /** Also writes the end of what dead gateways left open. */
  async join({ pid, label, address }: GatewayInfo): Promise<string> {
    checkName("gateway", label);
    const id = newGatewayId();
    this.openCalls.gateways.add(id);
    const member = await this.commit.write(async (batch) => {
      await this.gateways.recover(batch);
      const seen = await this.events.last("writer");
      const joined = { id, pid, label, address, lease: this.lease, started_at: batch.now, seen };
      // It has no calls yet: nothing before this record is of it.
      await this.gateways.join(batch.now, { ...joined, mark: batch.records.last });
      return joined;
    });
    this.members.set(id, member);
    this.pulse ??= setInterval(this.beat, heartbeat).unref();
    return id;
  }

  /** Whether it is one of this process. */
  has(gateway: string): boolean {
    return this.members.has(gateway);
  }

  /** Every listener of this process has finished with the events up to this one. */
  confirm(event: number): void {
    if (this.members.size === 0) return;
    this.commit
      .write(async () => {
        for (const id of this.members.keys()) await this.gateways.confirmed(id, event);
      })
      .catch(this.failed);
  }

  /** Where that cannot be written, the others find out by the silence. */
  async leave(): Promise<void> {
    if (this.pulse !== null) clearInterval(this.pulse);
    if (this.members.size === 0) return;
    await this.commit
      .write(async () => {
        for (const id of this.members.keys()) await this.gateways.leave(id);
      })
      .catch(this.failed);
  }

  private readonly beat = (): void => {
    const mark = this.openCalls.mark();
    this.commit
      .write(async (batch) => {
        for (const member of this.members.values()) await this.gateways.join(batch.now, { ...member, mark });
      })
      .catch(this.failed);
  };

  private readonly failed = (thrown: unknown): void => {
    this.log.warn({ err: thrown }, "the state of this gateway could not be written");
  };
}

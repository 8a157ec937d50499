import type { Principal } from "../../client/backend.js";
import type { Batch } from "../batch.js";
import type { Events } from "../events.js";
import { checkName } from "../names.js";
import type { RemoteGateway } from "../service.js";
import type { GroupCommit } from "../store/commit.js";
import { type Gateways, newGatewayId } from "./gateways.js";

/**
 * The gateways that reach the backend over its API, through whichever of its processes. A gateway is that of the
 * principal who enlisted it: to anybody else it is as if it did not exist.
 */
export class RemoteGateways {
  constructor(
    private readonly commit: GroupCommit<Batch>,
    private readonly gateways: Gateways,
    private readonly events: Events,
    /** Milliseconds an ALLOW may be used by them. */
    readonly lease: number,
  ) {}

  /** @throws AegisError `too_many_gateways` */
  async enlist(
    { pid, label, address, host }: RemoteGateway,
    by: Principal,
  ): Promise<{ id: string; event: number }> {
    checkName("gateway", label);
    checkName("gateway's host", host);
    if (address !== null) checkName("gateway's address", address);
    const id = newGatewayId();
    const event = await this.commit.write(async (batch) => {
      const seen = await this.events.last("writer");
      const { lease } = this;
      const row = { id, pid, label, address, lease, started_at: batch.now, seen, mark: batch.records.last };
      await this.gateways.enlist(batch.now, row, host, by.name);
      return seen;
    });
    return { id, event };
  }

  beat(id: string, mark: number, by: Principal): Promise<boolean> {
    return this.commit.write((batch) => this.gateways.beat(batch.now, id, mark, by.name));
  }

  heard(id: string, event: number, by: Principal): Promise<void> {
    return this.commit.write(async () => {
      if (await this.gateways.isOf(id, by.name)) await this.gateways.confirmed(id, event);
    });
  }

  dismiss(id: string, by: Principal): Promise<void> {
    return this.commit.write(async () => {
      if (await this.gateways.isOf(id, by.name)) await this.gateways.leave(id);
    });
  }
}

import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { EventSourceMessage } from "eventsource-parser";
import { AegisError, reasonOf } from "../errors.js";
import type { Logger } from "../log.js";
import { longestName } from "../names.js";
import { visible } from "../visible.js";
import type { BackendEvent, GatewayInfo } from "./backend.js";
import { EventStream, StreamRefused } from "./event-stream.js";
import { Heard } from "./heard.js";
import type { Api } from "./http-api.js";
import type { KnownState } from "./http-state.js";
import type { Listeners } from "./listeners.js";
import { nothingWire } from "./wire/fields.js";
import {
  endEvent,
  enlistAnswer,
  gatewayEventWire,
  heartbeatAnswer,
  httpHeartbeat,
  resyncEvent,
} from "./wire/gateways.js";

/** Milliseconds without a byte after which the stream of events is taken for dead. */
const SILENCE = 5_000;
/** Milliseconds until a stream that ended is opened again; they double. */
const AGAIN = 50;
const AGAIN_AT_MOST = 1_000;

export interface EnlistmentParts {
  readonly api: Api;
  readonly log: Logger;
  readonly listeners: Listeners;
  readonly state: KnownState;
  /** The ledger up to this record holds no open call of ours. */
  readonly mark: () => number;
  /** The token was revoked. */
  readonly onToken: () => void;
}

/** This process as a gateway of the backend: known by an id, alive by its heartbeat, told of events. */
export class Enlistment {
  private id: string | null = null;
  /** The id that new calls begin with: behind `id` until its agents are known too. */
  private named: string | null = null;
  private event = 0;
  private pulse: NodeJS.Timeout | null = null;
  private following: Promise<void> | null = null;
  private readonly stream: EventStream;
  private readonly heard: Heard;
  private readonly over = new AbortController();
  private forgotten = false;
  private complained = false;

  constructor(
    private readonly parts: EnlistmentParts,
    private readonly info: GatewayInfo,
    private readonly renamed: (id: string) => void,
  ) {
    const { api, log } = parts;
    this.stream = new EventStream(api.requests.address, SILENCE);
    this.heard = new Heard(
      (event) => api.post("/v1/gateways/heard", { gateway: this.id, event }, nothingWire).then(() => {}),
      log,
    );
  }

  /** @returns the id that begins the ids of the calls @throws AegisError */
  async begin(): Promise<string> {
    const id = await this.enlist();
    this.named = id;
    this.following = this.follow();
    return id;
  }

  /**
   * Says good-bye. Where that does not arrive, the backend finds out by the silence.
   *
   * @param ended every call has ended at the backend; else nothing is said, and it writes their ends when it finds out
   */
  async end(ended: boolean): Promise<void> {
    this.over.abort();
    if (this.pulse !== null) clearInterval(this.pulse);
    this.heard.stop();
    await this.stream.close();
    await this.following;
    if (this.id === null || !ended) return;
    await this.parts.api
      .post("/v1/gateways/leave", { gateway: this.id }, nothingWire, { deadline: 500 })
      .catch((thrown: unknown) => this.parts.log.debug({ reason: reasonOf(thrown) }, "no good-bye"));
  }

  /** The backend does not know this id (any more): where it is the present one, it enlists again under another. */
  forget(id: string): void {
    if (id !== this.id) return;
    this.forgotten = true;
    this.stream.stop("the backend has forgotten this gateway");
  }

  private async enlist(): Promise<string> {
    const { pid, label, address } = this.info;
    const asked = {
      pid,
      label: visible(label).trim().normalize("NFC").slice(0, longestName) || "gateway",
      address,
      host: visible(hostname()).slice(0, longestName) || "unknown",
    };
    const { id, event, heartbeat_ms } = await this.parts.api.post("/v1/gateways", asked, enlistAnswer);
    this.id = id;
    this.event = event;
    this.forgotten = false;
    this.heard.begin(event);
    if (this.pulse !== null) clearInterval(this.pulse);
    const every = Math.min(Math.max(heartbeat_ms, 100), httpHeartbeat * 5);
    this.pulse = setInterval(() => this.beat(id), every).unref();
    return id;
  }

  private beat(id: string): void {
    const { api, log, mark } = this.parts;
    api.post("/v1/gateways/heartbeat", { gateway: id, mark: mark() }, heartbeatAnswer).then(
      ({ known }) => {
        if (!known) this.forget(id);
      },
      (thrown: unknown) => log.debug({ reason: reasonOf(thrown) }, "no sign of life could be given"),
    );
  }

  /** Listens for as long as it lives, whatever happens to the connection. */
  private async follow(): Promise<void> {
    const { log } = this.parts;
    const { signal } = this.over;
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (this.forgotten) await this.enlist();
        if (this.named !== this.id) await this.rename();
        await this.stream.read(
          `/v1/gateways/events?gateway=${encodeURIComponent(this.id ?? "")}`,
          String(this.event),
          {
            open: () => {
              failures = 0;
              this.opened();
            },
            event: (event) => this.take(event),
          },
        );
      } catch (thrown) {
        // Nobody by that id: enlist again. Its rights are judged where it enlists.
        if (thrown instanceof StreamRefused && thrown.status === 404) this.forgotten = true;
        if (!this.complained && !signal.aborted)
          log.warn(
            { reason: reasonOf(thrown) },
            "events of the backend are not heard; every call still asks",
          );
        this.complained = true;
      }
      const wait = Math.min(AGAIN * 2 ** failures, AGAIN_AT_MOST);
      failures = Math.min(failures + 1, 10);
      await sleep(wait, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Its calls under way keep the id they began with; new ones begin with the new one. */
  private async rename(): Promise<void> {
    const { id } = this;
    if (id === null) return;
    await this.parts.state.ensureAll();
    this.named = id;
    this.renamed(id);
  }

  private opened(): void {
    if (this.complained) this.parts.log.warn("events of the backend are heard again");
    this.complained = false;
    this.resync(null);
  }

  /** What happened while nobody listened is asked for; again, until it is known or the stream has ended. */
  private resync(number: number | null): void {
    const confirm = number === null ? () => {} : this.heard.hold(number);
    this.parts.state.reread().then(
      () => confirm(true),
      (thrown: unknown) => {
        confirm(false);
        // The next stream begins with the same question.
        this.stream.stop(`the state of the backend cannot be read: ${reasonOf(thrown)}`);
      },
    );
  }

  private take({ event: name, id, data }: EventSourceMessage): void {
    const number = id !== undefined && /^\d{1,16}$/.test(id) ? Number(id) : null;
    if (name === endEvent) return;
    if (name === resyncEvent) {
      if (number !== null) this.event = number;
      this.resync(number);
      return;
    }
    if (number === null) return;
    this.event = number;
    const event = eventIn(data);
    const confirm = this.heard.hold(number);
    // A kind that is not known changes nothing here, and is confirmed all the same.
    if (event === null) confirm(true);
    else this.tell(event).then(confirm, () => confirm(false));
  }

  private tell(event: BackendEvent): Promise<boolean> {
    if (event.kind === "kill") this.parts.state.believe(event.agent, "KILLED");
    if (event.kind === "revive") this.parts.state.believe(event.agent, "ACTIVE");
    if (event.kind === "token") this.parts.onToken();
    return this.parts.listeners.tell(event);
  }
}

function eventIn(data: string): BackendEvent | null {
  try {
    const parsed = gatewayEventWire.safeParse(JSON.parse(data));
    return parsed.success ? parsed.data : null;
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null;
    throw new AegisError("backend_unavailable", reasonOf(thrown));
  }
}

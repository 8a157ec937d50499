import type { FastifyReply, FastifyRequest } from "fastify";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { Service } from "../service.js";
import { withDeadline } from "./deadline.js";

/** Milliseconds the store may take to tell its figures: a scrape is not what it is for. */
const patience = 1_000;

/** What `/metrics` shows, in a registry of its own. */
export class Metrics {
  private readonly registry = new Registry();
  /** Verdicts given, by `decision`. */
  readonly decisions = new Counter({
    name: "aegis_decisions_total",
    help: "Verdicts given, by decision.",
    labelNames: ["decision"],
    registers: [this.registry],
  });
  private readonly requests = new Histogram({
    name: "aegis_http_request_duration_seconds",
    help: "From a request's first byte to the end of its answer, by method, route and status.",
    labelNames: ["method", "route", "status"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [this.registry],
  });
  private readonly logins = new Counter({
    name: "aegis_failed_logins_total",
    help: "Credentials that proved nobody.",
    registers: [this.registry],
  });
  private readonly faults = new Counter({
    name: "aegis_store_faults_total",
    help: "Requests that failed because the store did not answer or could not write.",
    registers: [this.registry],
  });
  private readonly up = this.gauge("aegis_store_up", "1 where the store answered this scrape, else 0.");
  private readonly approvals = this.gauge("aegis_approvals_pending", "Approvals that wait for a decision.");
  private readonly agents = this.gauge("aegis_agents", "Agents that were ever seen.");
  private readonly head = this.gauge("aegis_ledger_head", "Id of the newest record of the ledger.");

  constructor(
    private readonly service: Service,
    streams: { readonly open: number },
    private readonly log: Logger,
  ) {
    collectDefaultMetrics({ register: this.registry });
    const clients = new Gauge({
      name: "aegis_event_stream_clients",
      help: "Event streams that are open.",
      registers: [],
      collect() {
        this.set(streams.open);
      },
    });
    this.registry.registerMetric(clients);
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** In Prometheus' text format. A store that does not answer leaves its own figures out, and no others. */
  async text(): Promise<string> {
    try {
      const asked = Promise.all([this.service.stats(), this.service.newestRecord()]);
      const [stats, head] = await withDeadline(asked, patience);
      this.up.set(1);
      this.approvals.set(stats.pendingApprovals);
      this.agents.set(stats.agents);
      this.head.set(head);
    } catch (thrown) {
      this.log.error({ reason: reasonOf(thrown) }, "the store does not answer a scrape");
      this.up.set(0);
      for (const gauge of [this.approvals, this.agents, this.head]) gauge.reset();
    }
    return this.registry.metrics();
  }

  failedLogin(): void {
    this.logins.inc();
  }

  storeFault(): void {
    this.faults.inc();
  }

  /** Routes by their pattern: what stands in a path is the caller's, and would make a series of its own. */
  answered(request: FastifyRequest, reply: FastifyReply): void {
    const route = request.is404 ? "unknown" : (request.routeOptions.url ?? "unknown");
    const method = request.is404 ? "any" : request.method;
    this.requests.observe({ method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  }

  stop(): void {
    this.registry.clear();
  }

  private gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.registry] });
  }
}

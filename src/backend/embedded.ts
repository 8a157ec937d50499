import type {
  Agent,
  Approval,
  ApprovalStatus,
  Backend,
  EventListener,
  GatewayInfo,
  Intent,
  KillReceipt,
  LedgerRecord,
  NewToken,
  Note,
  Outcome,
  Principal,
  Role,
  Token,
  Verdict,
  VerifyReport,
} from "../client/backend.js";
import { AegisError } from "../errors.js";
import type { Logger } from "../log.js";
import { rulesFor } from "../policy/compile.js";
import type { PolicySet } from "../policy/policy.js";
import { Agents } from "./agents.js";
import { approvalOf, unknownApproval } from "./approval-rows.js";
import { Approvals } from "./approvals.js";
import { Batch } from "./batch.js";
import { Decisions } from "./decisions.js";
import { Digester } from "./digest.js";
import { EventFeed, Events } from "./events.js";
import { describeGateway, Gateways } from "./gateways.js";
import { openHome } from "./home.js";
import { digestKey } from "./keys.js";
import { kill, revive } from "./kill-and-revive.js";
import { Chain } from "./ledger/chain.js";
import { Records } from "./ledger/read.js";
import { recordName, redactText } from "./ledger/redact.js";
import { verify } from "./ledger/verify.js";
import { Membership } from "./membership.js";
import { checkName, isCallId } from "./names.js";
import { OpenCalls } from "./open-calls.js";
import { invalidToken, requireRole } from "./permission.js";
import { GroupCommit } from "./store/commit.js";
import type { Connection } from "./store/driver.js";
import { patiently } from "./store/patience.js";
import { Presence } from "./store/presence.js";
import { openSqlite } from "./store/sqlite.js";
import { Sweep } from "./sweep.js";
import { checkNewToken, newToken, Tokens } from "./tokens.js";

export interface EmbeddedOptions {
  /** AEGIS_HOME. */
  readonly home: string;
  readonly policies: PolicySet;
  /** Milliseconds until an approval nobody decided expires, where no rule says. */
  readonly holdExpires: number;
  readonly log: Logger;
  /** Milliseconds an ALLOW may be used; 200 if left out. */
  readonly lease?: number;
}

const deciders: readonly Role[] = ["approver", "admin"];
const admins: readonly Role[] = ["admin"];

/**
 * The backend inside this process, over the SQLite file in AEGIS_HOME, which any number of processes share.
 *
 * @throws AegisError `home_insecure`, `store_newer`, `store_corrupt`, `backend_unsupported`, `backend_unavailable`
 */
export async function openEmbedded(options: EmbeddedOptions): Promise<Backend> {
  const path = openHome(options.home);
  const connection = await openSqlite(path);
  try {
    return await compose(connection, path, options);
  } catch (thrown) {
    connection.close();
    throw thrown;
  }
}

async function compose(connection: Connection, path: string, options: EmbeddedOptions): Promise<Backend> {
  const { log, policies, holdExpires, lease = 200 } = options;
  const agents = new Agents(connection);
  const approvals = new Approvals(connection);
  const events = new Events(connection);
  const gateways = new Gateways(connection);
  const tokens = new Tokens(connection);
  const openCalls = new OpenCalls();
  const tables = { chain: new Chain(connection), agents, events, gateways };

  const commit = new GroupCommit(
    connection,
    (careful) => new Batch(tables, careful),
    (batch) => {
      openCalls.committed(batch);
      if (batch.eventful) feed.deliver();
    },
    log,
  );
  const membership = new Membership(commit, gateways, events, openCalls, lease, log);
  const sweep = new Sweep(commit, approvals, events, new Presence(path), log);
  const feed = new EventFeed(
    events,
    () => sweep.look(),
    (event) => membership.confirm(event),
    log,
  );
  feed.subscribe((event) => {
    if (event.kind === "token") tokens.forget();
  });

  const digester = new Digester(await digestKey(connection, commit));
  const decisions = new Decisions(connection, {
    policies,
    approvals,
    gateways,
    tokens,
    digester,
    holdExpires,
    lease,
  });
  feed.start();
  return new EmbeddedBackend({
    path,
    connection,
    policies,
    agents,
    approvals,
    gateways,
    tokens,
    commit,
    membership,
    feed,
    decisions,
    records: new Records(connection),
  });
}

interface Parts {
  readonly path: string;
  readonly connection: Connection;
  readonly policies: PolicySet;
  readonly agents: Agents;
  readonly approvals: Approvals;
  readonly gateways: Gateways;
  readonly tokens: Tokens;
  readonly records: Records;
  readonly commit: GroupCommit<Batch>;
  readonly membership: Membership;
  readonly feed: EventFeed;
  readonly decisions: Decisions;
}

class EmbeddedBackend implements Backend {
  readonly description: string;
  private closed: Promise<void> | null = null;

  constructor(private readonly parts: Parts) {
    this.description = `embedded (${parts.path})`;
  }

  attach(info: GatewayInfo): Promise<string> {
    return this.parts.membership.join(info);
  }

  async ensureAgent(name: string): Promise<void> {
    const { agents, commit, policies } = this.parts;
    checkName("agent", name);
    const owner = rulesFor(policies, name).files.find((file) => file.owner !== null)?.owner ?? "";
    if (await patiently(() => agents.isEnsured(name, owner))) return;
    await commit.write((batch) => agents.ensure(batch, name, owner));
  }

  async decide(intent: Intent): Promise<Verdict> {
    const { commit, decisions } = this.parts;
    checkIntent(intent);
    const prepared = decisions.prepare(intent);
    return commit.write((batch) => decisions.decide(batch, prepared));
  }

  async release(intent: Intent, approval: number | null): Promise<Verdict> {
    const { commit, decisions } = this.parts;
    checkIntent(intent);
    const prepared = decisions.prepare(intent);
    return commit.write((batch) =>
      approval === null ? decisions.renew(batch, prepared) : decisions.release(batch, prepared, approval),
    );
  }

  async detachWaiter(approval: number, call: string): Promise<void> {
    const { approvals, commit } = this.parts;
    await commit.write(() => approvals.detach(approval, call));
  }

  outcome(ended: Outcome): void {
    const { agent, principal, call, outcome, approval } = ended;
    const duration = Number.isFinite(ended.duration) ? ended.duration : 0;
    const entry = {
      kind: "outcome" as const,
      agent: recordName(agent),
      principal: recordName(principal),
      server: recordName(ended.server),
      tool: recordName(ended.tool),
      action: recordName(ended.action),
      call,
      outcome,
      duration,
      ...(ended.reason === undefined ? undefined : { reason: redactText(ended.reason) }),
      ...(approval === undefined ? undefined : { approval }),
    };
    this.parts.commit.later((batch) => {
      batch.records.append(entry);
      batch.ended.push(call);
    });
  }

  async note({ kind, agent, principal, server, action, reason }: Note): Promise<void> {
    const entry = {
      kind,
      ...(agent === undefined ? {} : { agent: recordName(agent) }),
      ...(principal === undefined ? {} : { principal: recordName(principal) }),
      ...(server === undefined ? {} : { server: recordName(server) }),
      // What a client claimed the action to be.
      ...(action === undefined ? {} : { action: redactText(recordName(action)) }),
      reason: redactText(reason),
    };
    await this.parts.commit.write((batch) => batch.records.append(entry));
  }

  subscribe(listener: EventListener): () => void {
    return this.parts.feed.subscribe(listener);
  }

  async authenticate(token: string): Promise<Principal | null> {
    const { tokens } = this.parts;
    return tokens.remembered(token) ?? (await patiently(() => tokens.find(token)));
  }

  agents(): Promise<readonly Agent[]> {
    return patiently(() => this.parts.agents.list());
  }

  async kill(agent: string, by: Principal, reason: string): Promise<KillReceipt> {
    requireRole(by, admins, "kill an agent");
    return kill(this.parts, agent, by, reason);
  }

  async revive(agent: string, by: Principal, reason: string): Promise<void> {
    requireRole(by, admins, "revive an agent");
    return revive(this.parts, agent, by, reason);
  }

  gateways(): Promise<ReadonlyArray<GatewayInfo & { readonly id: string; readonly startedAt: string }>> {
    return patiently(() => this.parts.gateways.alive(Date.now()).map(describeGateway));
  }

  approvals({ status }: { readonly status?: ApprovalStatus }): Promise<readonly Approval[]> {
    const { approvals, gateways } = this.parts;
    return patiently(() => approvals.list(status, gateways.live(Date.now())));
  }

  approval(id: number): Promise<Approval> {
    const { approvals, gateways } = this.parts;
    return patiently(() => {
      const row = approvals.get(id);
      if (row === undefined) throw unknownApproval(id);
      return approvalOf(row, gateways.live(Date.now()));
    });
  }

  async decideApproval(
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
  ): Promise<Approval> {
    const { approvals, commit, tokens } = this.parts;
    requireRole(by, deciders, "decide an approval");
    const decided = await commit.write((batch) => {
      // Asked at the moment of the decision: a token that was revoked since it came in decides nothing.
      if (!tokens.holds(by.token, by.role, batch.now)) return invalidToken(by);
      const row = approvals.decide(batch, id, verdict, by, reason);
      return row instanceof AegisError ? row : approvalOf(row, batch.liveGateways());
    });
    if (decided instanceof AegisError) throw decided;
    return decided;
  }

  records(filter: {
    readonly agent?: string;
    readonly limit: number;
    readonly after?: number;
  }): Promise<readonly LedgerRecord[]> {
    return patiently(() => this.parts.records.list(filter));
  }

  verify(): Promise<VerifyReport> {
    return verify(this.parts.connection);
  }

  async createToken(
    wanted: NewToken,
    by: Principal,
  ): Promise<{ readonly id: number; readonly token: string }> {
    const { commit, tokens } = this.parts;
    requireRole(by, admins, "make tokens");
    checkNewToken(wanted);
    const token = newToken();
    return { id: await commit.write((batch) => tokens.create(batch, wanted, by, token)), token };
  }

  tokens(): Promise<readonly Token[]> {
    return patiently(() => this.parts.tokens.list());
  }

  async revokeToken(id: number, by: Principal): Promise<void> {
    const { commit, tokens } = this.parts;
    requireRole(by, admins, "revoke tokens");
    const error = await commit.write((batch) => tokens.revoke(batch, id, by));
    if (error !== null) throw error;
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const { commit, connection, feed, membership } = this.parts;
    feed.stop();
    await membership.leave();
    await commit.close();
    connection.close();
  }
}

/** Names of our own: one that cannot be a name is a fault of the configuration, not of the call. */
function checkIntent({ call, gateway, agent, principal }: Intent): void {
  if (!isCallId(call))
    throw new AegisError("usage", "The id of a call is 1 to 256 printable ASCII characters.");
  checkName("gateway", gateway);
  checkName("agent", agent);
  checkName("principal", principal);
}

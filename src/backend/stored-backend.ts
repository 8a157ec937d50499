import type {
  Agent,
  Approval,
  ApprovalContext,
  ApprovalFilter,
  ApprovalStatus,
  DecisionOptions,
  EventListener,
  GatewayInfo,
  Grant,
  Intent,
  KillReceipt,
  LedgerRecord,
  Lifecycle,
  NewToken,
  Note,
  Outcome,
  PinnedTool,
  Principal,
  RecordFilter,
  Role,
  Sighted,
  Sighting,
  Token,
  ToolFilter,
  Verdict,
  VerifyReport,
} from "../client/backend.js";
import { AegisError } from "../errors.js";
import type { PolicySet } from "../policy/policy.js";
import { statedOwner } from "./agents.js";
import { unknownApproval } from "./approvals/rows.js";
import { decompose, type Parts } from "./compose.js";
import { outcomeEntry } from "./decisions/outcomes.js";
import { describeGateway } from "./gateways/gateways.js";
import { kill, revive } from "./kill-and-revive.js";
import { anchorFiles } from "./ledger/anchors.js";
import type { ExportQuery } from "./ledger/export.js";
import { recordExport } from "./ledger/export-record.js";
import { ofResult } from "./ledger/record.js";
import { recordName, redactText } from "./ledger/redact.js";
import { verify } from "./ledger/verify.js";
import { checkName, isCallId } from "./names.js";
import { requireRole } from "./permission.js";
import type {
  ActionRule,
  Declaration,
  NumberedEvent,
  PolicyDocument,
  PolicyRevision,
  RemoteGateway,
  Report,
  Reported,
  RuleType,
  Service,
  Stats,
} from "./service.js";
import { newSession, type Session } from "./sessions.js";
import { patiently } from "./store/patience.js";
import { checkNewToken, newToken } from "./tokens.js";
import { acceptTools, pinnedTools } from "./tools/accept.js";
import { sight } from "./tools/sight.js";

const deciders: readonly Role[] = ["approver", "admin"];
const admins: readonly Role[] = ["admin"];
const readers: readonly Role[] = ["auditor", "admin"];

/**
 * The backend over a store: who may ask what, and which part answers it. Long by the number of its questions: each is a
 * few lines, and what is behind them is elsewhere.
 */
export class StoredBackend implements Service {
  private closed: Promise<void> | null = null;

  constructor(
    readonly description: string,
    private readonly parts: Parts,
  ) {}

  attach(info: GatewayInfo): Promise<string> {
    return this.parts.membership.join(info);
  }

  async ensureAgent(name: string): Promise<void> {
    const { agents, commit, policies } = this.parts;
    checkName("agent", name);
    if (await this.read(() => agents.isEnsured(name, statedOwner(policies.known, name)))) return;
    await commit.write(async (batch) =>
      agents.ensure(batch, name, statedOwner(await policies.inForce(batch), name)),
    );
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

  async answerInClient(approval: number, call: string): Promise<void> {
    const { approvals, commit } = this.parts;
    const answered = await commit.write((batch) => approvals.answerInClient(batch, approval, call));
    if (answered instanceof AegisError) throw answered;
  }

  outcome(ended: Outcome): void {
    const { commit, outcomes } = this.parts;
    const entry = outcomeEntry(ended);
    commit.later((batch) => outcomes.append(batch, entry, ended));
  }

  async conclude(ended: readonly Outcome[]): Promise<void> {
    const { commit, outcomes } = this.parts;
    await commit.write(async (batch) => {
      for (const outcome of ended) await outcomes.accept(batch, outcome);
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
    return tokens.remembered(token) ?? (await this.read(() => tokens.find(token)));
  }

  agents(): Promise<readonly Agent[]> {
    return this.read(() => this.parts.agents.list());
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
    return this.read(async () => {
      const { gateways, store } = this.parts;
      const alive = await gateways.alive(store.now(), "reader");
      return alive.map(describeGateway);
    });
  }

  approvals(filter: ApprovalFilter): Promise<readonly Approval[]> {
    const { approvals, gateways, store } = this.parts;
    return this.read(async () => approvals.list(filter, await gateways.live(store.now(), "reader")));
  }

  async approval(id: number): Promise<Approval> {
    const { approvals, gateways, store } = this.parts;
    const found = await this.read(async () => {
      return approvals.show(id, await gateways.live(store.now(), "reader"));
    });
    if (found === undefined) throw unknownApproval(id);
    return found;
  }

  async decideApproval(
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
    options?: DecisionOptions,
  ): Promise<Approval> {
    const { approvals, commit, tokens } = this.parts;
    requireRole(by, deciders, "decide an approval");
    const decided = await commit.write(async (batch) => {
      await tokens.require(batch, by);
      const row = await approvals.decide(batch, id, verdict, by, reason, options);
      return row instanceof AegisError ? row : approvals.describe(row, await batch.liveGateways());
    });
    if (decided instanceof AegisError) throw decided;
    return decided;
  }

  sight(sighting: Sighting): Promise<Sighted> {
    return sight(this.parts, sighting);
  }

  async approvalContext(id: number): Promise<ApprovalContext> {
    const found = await this.read(() => this.parts.contexts.of(id));
    if (found === null) throw unknownApproval(id);
    return found;
  }

  grants(all: boolean): Promise<readonly Grant[]> {
    return this.read(() => this.parts.grants.list(all));
  }

  async revokeGrant(id: number, by: Principal, reason: string): Promise<void> {
    const { commit, grants, tokens } = this.parts;
    requireRole(by, deciders, "revoke a grant");
    const problem = await commit.write(async (batch) => {
      await tokens.require(batch, by);
      return grants.revoke(batch, id, by, reason);
    });
    if (problem !== null) throw problem;
  }

  pinnedTools(filter: ToolFilter): Promise<readonly PinnedTool[]> {
    return this.read(() => pinnedTools(this.parts.tools.reader, filter));
  }

  async acceptTools(
    filter: ToolFilter,
    definitions: readonly string[],
    by: Principal,
  ): Promise<readonly PinnedTool[]> {
    const { commit, tokens, tools } = this.parts;
    requireRole(by, admins, "accept tools");
    return commit.write(async (batch) => {
      await tokens.require(batch, by);
      return acceptTools(batch, tools, filter, definitions, by);
    });
  }

  records(filter: RecordFilter): Promise<readonly LedgerRecord[]> {
    return this.read(() => this.parts.records.list(filter));
  }

  newestRecord(): Promise<number> {
    return this.read(() => this.parts.records.newest());
  }

  verify(): Promise<VerifyReport> {
    const { ledger, signer, store } = this.parts;
    return verify(store, {
      keys: signer.trusted(),
      anchors: anchorFiles(ledger.anchor),
      unsigned: ledger.checkpoint.records,
      segments: null,
    });
  }

  async publicKey(): Promise<string> {
    return this.parts.signer.publicKey;
  }

  async recordExport(query: ExportQuery, by: Principal): Promise<void> {
    requireRole(by, readers, "export the ledger");
    await recordExport(this.parts.commit, query, by);
  }

  async createToken(
    wanted: NewToken,
    by: Principal,
  ): Promise<{ readonly id: number; readonly token: string }> {
    const { commit, tokens } = this.parts;
    requireRole(by, admins, "make tokens");
    checkNewToken(wanted);
    const token = newToken();
    const id = await commit.write(async (batch) => {
      await tokens.require(batch, by);
      return tokens.create(batch, wanted, by, token);
    });
    return { id, token };
  }

  tokens(): Promise<readonly Token[]> {
    return this.read(() => this.parts.tokens.list());
  }

  async revokeToken(id: number, by: Principal): Promise<void> {
    const { commit, grants, tokens } = this.parts;
    requireRole(by, admins, "revoke tokens");
    const error = await commit.write(async (batch) => {
      await tokens.require(batch, by);
      const problem = await tokens.revoke(batch, id, by);
      if (problem === null) await grants.voidAllByToken(batch, id);
      return problem;
    });
    if (error !== null) throw error;
    // Others hear of it by its event; here it holds when this returns.
    tokens.forget();
  }

  enlist(gateway: RemoteGateway, by: Principal): Promise<{ readonly id: string; readonly event: number }> {
    return this.parts.remote.enlist(gateway, by);
  }

  beat(gateway: string, mark: number, by: Principal): Promise<boolean> {
    return this.parts.remote.beat(gateway, mark, by);
  }

  heard(gateway: string, event: number, by: Principal): Promise<void> {
    return this.parts.remote.heard(gateway, event, by);
  }

  dismiss(gateway: string, by: Principal): Promise<void> {
    return this.parts.remote.dismiss(gateway, by);
  }

  newestEvent(): Promise<number> {
    return this.read(() => this.parts.events.last("reader"));
  }

  register(agent: string, owner: string): Promise<void> {
    return this.parts.sdkAgents.register(agent, owner);
  }

  setLifecycle(agent: string, lifecycle: Lifecycle, by: Principal): Promise<void> {
    return this.parts.sdkAgents.setLifecycle(agent, lifecycle, by);
  }

  declare(declaration: Declaration, by: Principal): Promise<void> {
    return this.parts.sdkAgents.declare(declaration, by);
  }

  declarations(agent: string): Promise<readonly Declaration[]> {
    return this.parts.sdkAgents.declarations(agent);
  }

  ruleOf(agent: string, action: string): Promise<RuleType | null> {
    return this.parts.sdkAgents.ruleOf(agent, action);
  }

  rulesOf(agent: string): Promise<readonly ActionRule[]> {
    return this.parts.sdkAgents.rulesOf(agent);
  }

  requestApproval(agent: string, action: string, args: string, by: Principal): Promise<number> {
    return this.parts.sdkAgents.requestApproval(agent, action, args, by);
  }

  pollApproval(id: number, by: Principal): Promise<ApprovalStatus | null> {
    return this.parts.sdkAgents.pollApproval(id, by);
  }

  latestApproval(agent: string, action: string): Promise<Approval | null> {
    return this.parts.sdkAgents.latestApproval(agent, action);
  }

  report(report: Report, by: Principal): Promise<number> {
    return this.parts.sdkAgents.report(report, by);
  }

  reported(): Promise<readonly Reported[]> {
    return this.parts.sdkAgents.reported();
  }

  agent(name: string): Promise<Agent | null> {
    return this.parts.sdkAgents.agent(name);
  }

  stats(): Promise<Stats> {
    return this.parts.sdkAgents.stats();
  }

  eventsAfter(event: number): Promise<readonly NumberedEvent[] | null> {
    return this.read(() => this.parts.events.since(event));
  }

  async openSession(by: Principal, before: string | null): Promise<string> {
    const { commit, sessions, tokens } = this.parts;
    requireRole(by, deciders, "sign in");
    const id = newSession();
    await commit.write(async (batch) => {
      await tokens.require(batch, by);
      await sessions.open(batch, id, by, before);
    });
    return id;
  }

  async session(id: string): Promise<Session | null> {
    const { commit, sessions } = this.parts;
    const found = await this.read(() => sessions.find(id));
    if (found === null) return null;
    const { due, ...session } = found;
    if (due !== null) await commit.write(() => sessions.keep(id, due));
    return session;
  }

  async endSession(id: string): Promise<void> {
    const { commit, sessions } = this.parts;
    await commit.write(() => sessions.end(id));
  }

  policy(): Promise<PolicyRevision | null> {
    return this.read(async () => (await this.parts.published?.newest()) ?? null);
  }

  revisions(): Promise<ReadonlyArray<Omit<PolicyRevision, "documents">>> {
    return this.read(async () => (await this.parts.published?.list()) ?? []);
  }

  async publish(documents: readonly PolicyDocument[], by: Principal): Promise<PolicyRevision> {
    const { commit, published, tokens } = this.parts;
    requireRole(by, admins, "publish policies");
    if (published === null) {
      throw new AegisError(
        "backend_unsupported",
        "This process decides by the policies it read at its start.",
        {
          hint: "Publish at `aegis backend`.",
        },
      );
    }
    return commit.write(async (batch) => {
      await tokens.require(batch, by);
      return published.publish(batch, documents, by);
    });
  }

  async adoptPolicies(policies: PolicySet, by: Principal): Promise<void> {
    const { commit, own } = this.parts;
    requireRole(by, admins, "change policies");
    if (own === null) {
      throw new AegisError("backend_unsupported", "What is published in the store is in force here.", {
        hint: "Publish the policies instead.",
      });
    }
    await commit.write((batch) => own.adopt(batch, policies, by));
  }

  async recordRefusedPolicies(reason: string, by: Principal): Promise<void> {
    const { commit, policies } = this.parts;
    requireRole(by, admins, "change policies");
    await commit.write(async (batch) => {
      const { revision } = await policies.inForce(batch);
      const why = redactText(`A change of the policies was refused, what was in force stays: ${reason}`);
      batch.records.append({ kind: "policy", principal: by.name, revision, reason: why });
    });
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    await decompose(this.parts);
  }

  private read<T>(work: () => Promise<T>): Promise<T> {
    return patiently(this.parts.store, work);
  }
}

/** Names of our own: one that cannot be a name is a fault of the configuration, not of the call. */
function checkIntent({ call, gateway, agent, principal, stage }: Intent): void {
  if (!isCallId(call))
    throw new AegisError("usage", "The id of a call is 1 to 256 printable ASCII characters.");
  if (call.endsWith(ofResult) !== (stage === "result"))
    throw new AegisError("usage", `The answer to a call, and nothing else, is decided as CALL${ofResult}.`);
  checkName("gateway", gateway);
  checkName("agent", agent);
  checkName("principal", principal);
}

import type { Agent, Approval, ApprovalStatus, Lifecycle, Principal } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { visible } from "../../visible.js";
import { type Agents, statedOwner } from "../agents.js";
import type { Approvals } from "../approvals/approvals.js";
import type { Batch } from "../batch.js";
import type { Blocks } from "../blocks.js";
import { checkName } from "../names.js";
import { requireRole } from "../permission.js";
import type { ActionRule, Declaration, Report, Reported, RuleType, Stats } from "../service.js";
import type { GroupCommit } from "../store/commit.js";
import { patiently } from "../store/patience.js";
import { actionProblem, sdkCall } from "./action.js";
import { type SdkApprovalParts, SdkApprovals } from "./approvals.js";
import type { Declarations } from "./declarations.js";
import { Figures } from "./figures.js";
import { Reports } from "./reports.js";
import { Rules } from "./rules.js";

export interface SdkAgentParts extends SdkApprovalParts {
  readonly commit: GroupCommit<Batch>;
  readonly agents: Agents;
  readonly approvals: Approvals;
  readonly blocks: Blocks;
  readonly declarations: Declarations;
}

/** What an SDK's agents ask of the backend: they govern themselves, and say how it went. */
export class SdkAgents {
  private readonly requests: SdkApprovals;
  private readonly reports: Reports;
  private readonly rules: Rules;
  private readonly figures: Figures;

  constructor(private readonly parts: SdkAgentParts) {
    const { store, agents, blocks, policies } = parts;
    this.requests = new SdkApprovals(parts);
    this.reports = new Reports(store, agents, blocks);
    this.rules = new Rules(store, policies, parts.declarations);
    this.figures = new Figures(store, blocks);
  }

  async register(agent: string, owner: string): Promise<void> {
    const { commit, agents, declarations, policies } = this.parts;
    checkName("agent", agent);
    if (owner !== "") checkName("owner", owner);
    await commit.write(async (batch) => {
      const stated = statedOwner(await policies.inForce(batch), agent);
      await agents.ensure(batch, agent, stated ?? (owner === "" ? null : owner));
      await agents.register(batch, agent);
      await declarations.renew(agent);
    });
  }

  /** An agent that was killed says nothing that looks like a revival. */
  async setLifecycle(agent: string, lifecycle: Lifecycle, by: Principal): Promise<void> {
    const { commit, agents, tokens } = this.parts;
    const refused = await commit.write(async (batch) => {
      await tokens.require(batch, by);
      if (by.role !== "admin" && (await batch.agent(agent))?.status === "KILLED") return true;
      await agents.setLifecycle(batch, agent, lifecycle, by);
      return false;
    });
    if (!refused) return;
    throw new AegisError("not_permitted", `The agent ${visible(agent)} was stopped; nothing was changed.`, {
      hint: "An admin revives it with `aegis revive`.",
    });
  }

  async declare(declaration: Declaration, by: Principal): Promise<void> {
    const { commit, declarations, tokens } = this.parts;
    requireRole({ ...by, agent: null }, ["agent", "admin"], "declare a policy");
    check(declaration.agent, declaration.action);
    await commit.write(async (batch) => {
      await tokens.require(batch, by);
      await declarations.declare(batch, declaration, by);
    });
  }

  declarations(agent: string): Promise<readonly Declaration[]> {
    return this.read(() => this.parts.declarations.list(agent));
  }

  ruleOf(agent: string, action: string): Promise<RuleType | null> {
    return this.read(() => this.rules.of(agent, action));
  }

  rulesOf(agent: string): Promise<readonly ActionRule[]> {
    return this.read(() => this.rules.all(agent));
  }

  async requestApproval(agent: string, action: string, args: string, by: Principal): Promise<number> {
    check(agent, action);
    checkName("principal", by.name);
    const wanted = this.requests.prepare(agent, action, args);
    return this.parts.commit.write((batch) => this.requests.request(batch, wanted, by));
  }

  /** Asked every two seconds by every call that waits: written only where something is to be used up. */
  async pollApproval(id: number, by: Principal): Promise<ApprovalStatus | null> {
    const seen = await this.read(() => this.requests.look(id, by));
    if (seen !== "approved" && seen !== "due") return seen;
    return this.parts.commit.write((batch) => this.requests.pickUp(batch, id, by));
  }

  latestApproval(agent: string, action: string): Promise<Approval | null> {
    return this.read(() => this.parts.approvals.latest(agent, sdkCall(action).action));
  }

  async report(report: Report, by: Principal): Promise<number> {
    check(report.agent, report.action);
    return this.parts.commit.write((batch) => this.reports.write(batch, report, by));
  }

  reported(): Promise<readonly Reported[]> {
    return this.read(() => this.reports.counts());
  }

  agent(name: string): Promise<Agent | null> {
    return this.read(() => this.parts.agents.committed(name));
  }

  stats(): Promise<Stats> {
    return this.read(() => this.figures.read(this.parts.store.now()));
  }

  private read<T>(work: () => Promise<T>): Promise<T> {
    return patiently(this.parts.store, work);
  }
}

/** @throws AegisError `usage` */
function check(agent: string, action: string): void {
  checkName("agent", agent);
  const problem = actionProblem(action);
  if (problem === null) return;
  throw new AegisError("usage", `The action's name "${visible(action).slice(0, 256)}" ${problem}.`, {
    hint: "Call the function by an ordinary name.",
  });
}

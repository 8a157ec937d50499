import { z } from "zod";
import { AegisError } from "../errors.js";
import { visible } from "../visible.js";
import { jsonOf, statusText } from "./http-api.js";
import { type Answer, DEADLINE, NoAnswer, type Question, type Requests } from "./requests.js";

const statusAnswer = z.object({ status: z.enum(["REGISTERED", "ACTIVE", "PAUSED", "COMPLETED"]).nullable() });
const ruleAnswer = z.object({ rule_type: z.enum(["ALLOW", "BLOCK", "REVIEW"]).nullable() });
const doneAnswer = z.object({ status: z.literal("ok") });
const askedAnswer = z.object({ approval_id: z.int().min(1) });
const approvalStatusAnswer = z.object({ status: z.enum(["PENDING", "APPROVED", "DENIED"]).nullable() });
const decidedAnswer = z.object({ status: z.literal("success"), decision: z.enum(["APPROVED", "DENIED"]) });
const agentsAnswer = z.array(
  z.object({
    name: z.string(),
    status: z.string(),
    owner: z.string(),
    created_at: z.string(),
    total_logs: z.int(),
    blocked_count: z.int(),
    allowed_count: z.int(),
  }),
);
const pendingAnswer = z.object({
  approvals: z.array(
    z.object({
      id: z.int().min(1),
      agent_name: z.string(),
      action: z.string(),
      args_json: z.string(),
      created_at: z.string(),
    }),
  ),
});
const entriesAnswer = z.object({
  entries: z.array(
    z.object({
      id: z.int(),
      timestamp: z.string(),
      agent_name: z.string(),
      action: z.string(),
      status: z.string(),
      details: z.string(),
    }),
  ),
});

export type OriginalStatus = z.infer<typeof statusAnswer>["status"];
export type OriginalApprovalStatus = z.infer<typeof approvalStatusAnswer>["status"];
export type OriginalAgent = z.infer<typeof agentsAnswer>[number];
export type OriginalPending = z.infer<typeof pendingAnswer>["approvals"][number];
export type OriginalEntry = z.infer<typeof entriesAnswer>["entries"][number];

/**
 * The endpoints of the original contract that are used, and no other: `/sdk/init` hides what is there, and
 * `/sdk/find-approval` finds approvals of other calls. A word that the contract does not know is an error.
 */
export class OriginalApi {
  constructor(readonly requests: Requests) {}

  get shown(): string {
    return this.requests.address.shown;
  }

  /** `sentAt`: `performance.now()` right before it was asked for. */
  async agentStatus(name: string, deadline?: number): Promise<{ status: OriginalStatus; sentAt: number }> {
    const { data, sentAt } = await this.get(
      `/sdk/agent-status/${segment("agent", name)}`,
      statusAnswer,
      deadline,
    );
    return { status: data.status, sentAt };
  }

  async rule(agent: string, action: string, deadline?: number): Promise<"ALLOW" | "BLOCK" | "REVIEW" | null> {
    const path = `/sdk/policy/${segment("agent", agent)}/${segment("action", action)}`;
    return (await this.get(path, ruleAnswer, deadline)).data.rule_type;
  }

  /** Sets the status to REGISTERED, whatever it was: only for an agent that has none. */
  async register(name: string, deadline?: number): Promise<void> {
    await this.post("/sdk/register-agent", { name, owner: "" }, doneAnswer, deadline);
  }

  async setStatus(name: string, status: "ACTIVE" | "PAUSED"): Promise<void> {
    await this.post("/sdk/update-status", { name, status }, doneAnswer);
  }

  async log(
    agent: string,
    action: string,
    status: string,
    details: string,
    deadline?: number,
  ): Promise<void> {
    await this.post("/sdk/log", { agent_name: agent, action, status, details }, doneAnswer, deadline);
  }

  async ask(agent: string, action: string, args: string, deadline?: number): Promise<number> {
    const body = { agent_name: agent, action, args_json: args };
    return (await this.post("/sdk/approval", body, askedAnswer, deadline)).approval_id;
  }

  async approvalStatus(id: number, deadline?: number): Promise<OriginalApprovalStatus> {
    return (await this.get(`/sdk/approval-status/${id}`, approvalStatusAnswer, deadline)).data.status;
  }

  /** The dashboard's way: it refuses what is decided already, where the SDK's overwrites it. */
  async decide(id: number, decision: "APPROVED" | "DENIED"): Promise<void> {
    await this.post(`/approvals/${id}/decide`, { decision }, decidedAnswer);
  }

  async pending(): Promise<readonly OriginalPending[]> {
    return (await this.get("/sdk/pending-approvals", pendingAnswer)).data.approvals;
  }

  async agents(): Promise<readonly OriginalAgent[]> {
    return (await this.get("/agents", agentsAnswer)).data;
  }

  async entries(agent: string | undefined, limit: number): Promise<readonly OriginalEntry[]> {
    const query = new URLSearchParams({
      ...(agent === undefined ? {} : { agent_name: agent }),
      limit: String(limit),
    });
    return (await this.get(`/sdk/audit-log?${query.toString()}`, entriesAnswer)).data.entries;
  }

  /** Reading changes nothing: it is asked again once where the kept connection turned out to be closed. */
  private async get<T>(
    path: string,
    schema: z.ZodType<T>,
    deadline = DEADLINE,
  ): Promise<{ data: T; sentAt: number }> {
    const until = performance.now() + deadline;
    const question = (): Question => ({ method: "GET", path, deadline: until - performance.now() });
    let answer: Answer;
    try {
      answer = await this.requests.ask(question());
    } catch (thrown) {
      if (!(thrown instanceof NoAnswer && thrown.broke)) throw thrown;
      answer = await this.requests.ask(question());
    }
    return { data: this.parse(answer, schema), sentAt: answer.sentAt };
  }

  private async post<T>(path: string, body: object, schema: z.ZodType<T>, deadline = DEADLINE): Promise<T> {
    return this.parse(await this.requests.ask({ method: "POST", path, body, deadline }), schema);
  }

  private parse<T>(answer: Answer, schema: z.ZodType<T>): T {
    const hint = "`aegis doctor` says what answers at that address.";
    const problem = (what: string): AegisError =>
      new AegisError("backend_unavailable", `The backend at ${this.shown} cannot be used: ${what}.`, {
        hint,
      });
    if (answer.status === 401 || answer.status === 403) {
      throw new AegisError(
        "not_permitted",
        `The backend at ${this.shown} does not let us in (HTTP ${answer.status}).`,
        {
          hint: "Put user and password of its proxy into AEGIS_BACKEND_URL, or a token into AEGIS_TOKEN.",
        },
      );
    }
    if (answer.status !== 200) throw problem(statusText(answer.status));
    const parsed = schema.safeParse(jsonOf(answer));
    if (!parsed.success) throw problem("its answer holds a word that the contract does not know");
    return parsed.data;
  }
}

/**
 * A name as one segment of a path. `..` stays `..` whatever is encoded, and is taken for the folder above by clients,
 * proxies and servers, before or after they decode: what could become one is refused (threat Z20).
 *
 * @throws AegisError `usage`
 */
export function segment(what: string, name: string): string {
  const dangerous =
    name === "" || /\p{Cs}/u.test(name) || name.split(/[/\\]/).some((part) => part === "." || part === "..");
  if (dangerous) {
    throw new AegisError(
      "usage",
      `The ${what} "${visible(name)}" has a name that the original contract cannot carry: it stands in a path there.`,
      { hint: `Give the ${what} another name.` },
    );
  }
  return encodeURIComponent(name);
}

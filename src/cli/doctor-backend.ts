import type { Backend } from "../client/backend.js";
import { countOf } from "./approvals/pages.js";
import type { RemoteChoice } from "./backend-choice.js";
import type { Session } from "./context.js";
import type { Check } from "./doctor.js";

type Add = (name: string, state: Check["state"], message: string) => void;

/** What the original contract has no word for; each is a hole that no client of it can close. */
const missing =
  "it is the original Aegis backend, which cannot give:\n" +
  "- a token, or a role: whoever reaches it can approve, kill, revive and write its log\n" +
  "- a lease, or a confirmed kill: a gateway learns of a kill with the next call, or within a second while calls run\n" +
  "- a kill that lasts: an agent whose own code registers again is no longer paused, unless a gateway was running that saw it\n" +
  "- a chain: entries of its log can be changed and lost, and are rewritten when an approval is decided\n" +
  "- approvals of one call with its arguments: gateways keep that to themselves, and forget it when they end\n" +
  "- approvals decided once: of two people at one moment, both are told that they decided\n" +
  "- pinned tools: a server that changes a tool's definition is not noticed before it is called\n" +
  "- conditions, defaults and patterns of policies: a rule is for one agent and one action; what is said of arguments, " +
  "hosts, limits and data is not asked anywhere\n" +
  "- pinned tools: what a server says of its tools may change, and nobody is told\n" +
  "- approvers by group, a quorum, a reason that is asked for, and grants: any one answer decides\n" +
  "`aegis backend` gives all of these, and speaks the original contract too.";

/** The backend that was asked for: what it is, who we are to it, and how things stand there. */
export async function lookAtBackend(
  { backend, kind, by }: Session,
  choice: RemoteChoice | null,
  add: Add,
): Promise<void> {
  const named = choice === null ? "" : `, named by ${choice.where}`;
  add("backend", "ok", `${backend.description}${named}`);
  if (kind === "embedded" && by.token !== null)
    add("token", "ok", `AEGIS_TOKEN is valid: you act as ${by.name}, role ${by.role}`);
  if (kind === "aegis") {
    const speaks =
      by.role !== "agent" ? "" : by.agent === null ? ", for any agent" : `, for the agent ${by.agent}`;
    add("token", "ok", `valid: ${by.name}, role ${by.role}${speaks}`);
  }
  if (kind === "original") add("backend", "warning", missing);
  if (choice?.address.clearText) add("token", "warning", `it goes to ${choice.address.shown} in clear text`);

  if (by.role === "agent") {
    // Not asked for: what is refused there stands in its ledger.
    add("backend", "note", "gateways, approvals and ledger are not to be seen with a token of role agent");
    return;
  }
  if (kind === "original") add("gateways", "note", "not known: it keeps none");
  else {
    const names = (await backend.gateways()).map(({ label, pid }) => `${label} (pid ${pid})`);
    add("gateways", "note", names.length === 0 ? "none lives" : `live: ${names.join(", ")}`);
  }
  await lookAtAgents(backend, add);
  if (kind !== "original") await lookAtTools(backend, add);
  add("approvals", "note", `${await countOf(backend, "pending")} wait for a decision`);
  if (kind === "original" || by.role === "approver") return;
  const { ok, records, broken } = await backend.verify();
  if (ok) add("ledger", "ok", `${records} records, every link holds`);
  else add("ledger", "broken", `record ${broken?.id ?? "?"}: ${broken?.reason ?? "it does not verify"}`);
}

/** What is held back as long as nobody has looked at it. */
async function lookAtTools(backend: Backend, add: Add): Promise<void> {
  const tools = await backend.pinnedTools({});
  const open = tools.filter(({ state, flags }) => state !== "accepted" || flags.length > 0).length;
  if (tools.length === 0) add("tools", "note", "no server has shown any yet");
  else if (open === 0) add("tools", "ok", `${tools.length} known, all accepted as they are`);
  else add("tools", "note", `${open} of ${tools.length} are not accepted: \`aegis tools diff\` shows them`);
}

async function lookAtAgents(backend: Backend, add: Add): Promise<void> {
  const agents = await backend.agents();
  const killed = agents.filter((agent) => agent.status === "KILLED").map((agent) => agent.name);
  if (killed.length > 0) add("agents", "warning", `killed: ${killed.join(", ")}`);
  else add("agents", "ok", `${agents.length} known, none killed`);
}

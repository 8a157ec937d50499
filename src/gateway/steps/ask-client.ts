import type { Approval, Waiting } from "../../client/backend.js";
import { reasonOf } from "../../errors.js";
import { canonicalText } from "../../frame/canonical.js";
import { isObject } from "../../frame/parse.js";
import type { ResponseFrame } from "../../frame/types.js";
import { visible } from "../../visible.js";
import type { Call } from "../call.js";
import type { Form } from "../client-questions.js";
import type { Services } from "../services.js";

/** Characters of a question, some 300 of them ours. Nobody approves what they can not be shown whole (threat A19). */
const LONGEST = 4_300;
/** So much white space in a row carries what comes behind it out of sight. */
const PAD = /\s{120,}/u;

/**
 * Asks in the client itself, by a form, where the policy lists that channel and the client has forms (threats A6, A7).
 * Only an acceptance does something, and that is told to the backend, which looks at everything again and decides: whatever
 * else is answered leaves the call waiting as if nobody had been asked. Where nobody can be, nothing changes either.
 *
 * @returns takes the question back, if it is open: the wait is over
 */
export function askClient({ backend, log }: Services, call: Call, { id, status }: Waiting): () => void {
  const { askForm, intent } = call;
  let over = false;
  let withdraw = (): void => {};
  const failed = (thrown: unknown): void => {
    log.warn({ approval: id, reason: reasonOf(thrown) }, "the form in the client decided nothing");
  };
  const answered = (answer: ResponseFrame): void => {
    if (isAcceptance(answer)) backend.answerInClient(id, intent.call).catch(failed);
  };
  const ask = async (): Promise<void> => {
    const form = formOf(await backend.approval(id));
    if (form !== null && !over) withdraw = askForm?.(form, answered) ?? withdraw;
  };
  if (askForm !== undefined && status === "pending") ask().catch(failed);
  return () => {
    over = true;
    withdraw();
  };
}

/** Exactly the one answer that approves; everything else is none. */
function isAcceptance({ result, error }: ResponseFrame): boolean {
  if (error !== undefined || !isObject(result) || result.action !== "accept") return false;
  const { action: _action, content, _meta, ...more } = result;
  if (Object.keys(more).length > 0 || !isObject(content)) return false;
  return Object.keys(content).length === 1 && Object.hasOwn(content, "approve") && content.approve === true;
}

/** What is asked; null where this approval can not be given in the client, by its rule or because it can not be shown. */
function formOf({ id, status, requirement, ...shown }: Approval): Form | null {
  const { approvers, quorum, reason, channels } = requirement;
  if (status !== "pending" || !channels.includes("client")) return null;
  // The backend would refuse the answer.
  if (quorum !== 1 || approvers.length > 0 || reason) return null;
  const written = shown.arguments === "" ? "none" : visible(canonicalText(shown.arguments));
  // Indented behind an empty line: a client that renders Markdown shows that as it is, and one line holds no second one.
  const message = [
    `Aegis asks for its approval ${id}: may this call run, once?`,
    "",
    `    action:    ${visible(shown.action)}`,
    `    server:    ${visible(shown.server)}`,
    `    agent:     ${visible(shown.agent)}`,
    `    why:       ${visible(shown.reason)}`,
    `    arguments: ${written}`,
    "",
    "Unless it is accepted with a yes it waits on, undecided.",
  ].join("\n");
  if (message.length > LONGEST || PAD.test(message)) return null;
  const approve = { type: "boolean", title: "Approve", description: "Run it exactly as shown." };
  return { message, requestedSchema: { type: "object", properties: { approve }, required: ["approve"] } };
}

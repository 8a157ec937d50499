import type { Approval, Principal } from "../../../client/backend.js";
import {
  answerRequest,
  approvalParams,
  approvalsAnswer,
  approvalsQuery,
  approvalToWire,
  approvalWire,
  contextToWire,
  contextWire,
  decisionRequest,
  detachRequest,
  grantFromRequest,
} from "../../../client/wire/approvals.js";
import { noQuery, nothingWire } from "../../../client/wire/fields.js";
import { AegisError } from "../../../errors.js";
import { unknownApproval } from "../../approvals/rows.js";
import type { Service } from "../../service.js";
import type { App, RouteContext } from "../app.js";
import { speaksFor } from "../own-agent.js";
import type { KnownGateways } from "./known-gateways.js";

const page = 100;
/** Bytes of arguments in one answer: a page of the longest calls would be a gigabyte. */
const most = 8 * 1024 * 1024;

/** The questions that held calls wait on. */
export function approvalRoutes(app: App, { service }: RouteContext, known: KnownGateways): void {
  app.get(
    "/v1/approvals",
    {
      schema: {
        summary: "Approvals",
        description:
          "The newest `limit` (with an id smaller than `before`), oldest of them first; fewer where their arguments are " +
          "long: `more` says whether there are older ones.",
        querystring: approvalsQuery,
        response: { 200: approvalsAnswer },
      },
    },
    async (request) => {
      const { status, limit = page, before } = request.query;
      const filter = status === undefined ? {} : { status };
      const found = await service.approvals({
        ...filter,
        limit,
        bytes: most,
        ...(before === undefined ? {} : { before }),
      });
      const [oldest] = found;
      const older =
        oldest === undefined ? [] : await service.approvals({ ...filter, limit: 1, before: oldest.id });
      return { approvals: found.map(approvalToWire), more: older.length > 0 };
    },
  );

  app.get(
    "/v1/approvals/:id",
    {
      schema: {
        summary: "One approval",
        description: "To a token that is bound to an agent, those of other agents do not exist.",
        params: approvalParams,
        querystring: noQuery,
        response: { 200: approvalWire },
      },
    },
    async (request) => approvalToWire(await visible(service, request.params.id, request.principal)),
  );

  app.get(
    "/v1/approvals/:id/context",
    {
      schema: {
        summary: "What an approver sees beside an approval",
        params: approvalParams,
        querystring: noQuery,
        response: { 200: contextWire },
      },
    },
    async (request) => contextToWire(await service.approvalContext(request.params.id)),
  );

  app.post(
    "/v1/approvals/:id/decision",
    {
      schema: {
        summary: "Approve or deny",
        description:
          "Decided once: whoever comes second is told who decided what. With `digest`, it is decided only if that is still " +
          "what the approval binds. Where its requirement asks for several people it stays pending until the last one.",
        params: approvalParams,
        body: decisionRequest,
        response: { 200: approvalWire },
      },
    },
    async (request) => {
      const { id } = request.params;
      const { decision, reason, digest, grant } = request.body;
      // What an approval binds never changes: what is read here is what is decided.
      if (digest !== undefined && (await service.approval(id)).digest !== digest) throw differs(id);
      // A token is shown by a program: whoever holds one can not say that it is a page.
      const options = { channel: "cli", ...(grant && { grant: grantFromRequest(grant) }) } as const;
      return approvalToWire(await service.decideApproval(id, decision, request.principal, reason, options));
    },
  );

  app.post(
    "/v1/approvals/:id/detach",
    {
      schema: {
        summary: "The caller of a held call is gone",
        description: "The approval stays: a repeat of the call picks its decision up.",
        params: approvalParams,
        body: detachRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      const { id } = await visible(service, request.params.id, request.principal);
      await service.detachWaiter(id, request.body.call);
      return {};
    },
  );

  app.post(
    "/v1/approvals/:id/answer",
    {
      schema: {
        summary: "The form in the client was accepted",
        description:
          "Approves the call that waits on it, which is one of a gateway of this credential, where the requirement lists the " +
          "channel `client` and asks for one approver, no group and no reason. Recorded as `client:AGENT`: nobody knows who " +
          "answered. Every other answer in the client is not told here, and changes nothing.",
        params: approvalParams,
        body: answerRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      const { call } = request.body;
      const { id } = await visible(service, request.params.id, request.principal);
      // The id of a call begins with that of its gateway, and the number behind the hyphen has none.
      await known.require(call.slice(0, Math.max(0, call.lastIndexOf("-"))), request.principal);
      await service.answerInClient(id, call);
      return {};
    },
  );
}

/** Foreign and absent ones answer alike (threat Z29). */
async function visible(service: Service, id: number, by: Principal): Promise<Approval> {
  const approval = await service.approval(id);
  if (speaksFor(by, approval.agent)) return approval;
  throw unknownApproval(id);
}

/** Threat U7: a view that is older than what it decides. */
function differs(id: number): AegisError {
  return new AegisError(
    "approval_differs",
    `Approval ${id} is not for what was shown; nothing was changed.`,
    {
      hint: "Look at it again, and decide what it says now.",
    },
  );
}

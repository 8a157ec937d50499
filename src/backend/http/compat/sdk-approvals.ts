import { z } from "zod";
import { nameField } from "../../../client/wire/fields.js";
import type { RegisterRoutes } from "../app.js";
import { requireOwnAgent } from "../own-agent.js";
import { decide } from "./decide.js";
import { agentAndActionIn } from "./path-names.js";
import {
  actionField,
  approvalStatus,
  approvalToWire,
  approvalWire,
  done,
  idParams,
  ok,
  pendingFilter,
  textField,
} from "./wire.js";

/** `/sdk`: approvals that an agent asks for by itself and polls. */
export const sdkApprovalRoutes: RegisterRoutes = (app, { service, settings }) => {
  app.post(
    "/sdk/approval",
    {
      schema: {
        summary: "Ask for an approval",
        body: z.object({ agent_name: nameField, action: actionField, args_json: textField.default("{}") }),
        response: { 200: z.object({ approval_id: z.int() }) },
      },
    },
    async (request) => {
      const { agent_name: agent, action, args_json: args } = request.body;
      requireOwnAgent(request.principal, agent);
      return { approval_id: await service.requestApproval(agent, action, args, request.principal) };
    },
  );

  app.get(
    "/sdk/approval-status/:id",
    {
      schema: {
        summary: "What has become of an approval",
        description:
          "Null for one that does not exist, or is another's. One that expired or is void reads DENIED.",
        params: idParams,
        response: { 200: z.object({ status: z.enum(["PENDING", "APPROVED", "DENIED"]).nullable() }) },
      },
    },
    async (request) => {
      const status = await service.pollApproval(request.params.id, request.principal);
      return { status: status === null ? null : approvalStatus(status) };
    },
  );

  app.post(
    "/sdk/decide-approval/:id",
    {
      schema: {
        summary: "Approve or deny",
        description: "Decided once: whoever comes second gets 400, and is told who decided what.",
        params: idParams,
        body: z.object({ decision: z.string() }),
        response: { 200: ok },
      },
    },
    async (request) => {
      await decide(service, request.params.id, request.body.decision, request.principal);
      return done;
    },
  );

  app.get(
    "/sdk/find-approval/:agent_name/:action",
    {
      schema: {
        summary: "An earlier approval of an action",
        description:
          "Null, so that every call gets an approval of its own: the question carries no arguments. `compat.reuse_approvals` changes that.",
        params: z.object({ agent_name: z.string(), action: z.string() }),
        response: { 200: z.object({ approval: approvalWire.nullable() }) },
      },
    },
    async (request) => {
      const { agent, action } = await agentAndActionIn(request, "/sdk/find-approval/", service);
      requireOwnAgent(request.principal, agent);
      const found = settings.reuseApprovals ? await service.latestApproval(agent, action) : null;
      return { approval: found === null ? null : approvalToWire(found) };
    },
  );

  app.get(
    "/sdk/pending-approvals",
    {
      schema: {
        summary: "Approvals that wait for a decision",
        description: "The newest 200 of them, newest first; fewer where their arguments are long.",
        response: { 200: z.object({ approvals: z.array(approvalWire) }) },
      },
    },
    async () => {
      const pending = await service.approvals(pendingFilter);
      return { approvals: pending.toReversed().map(approvalToWire) };
    },
  );
};

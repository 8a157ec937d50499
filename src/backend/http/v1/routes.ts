import type { RegisterRoutes } from "../app.js";
import { agentRoutes } from "./agents.js";
import { approvalRoutes } from "./approvals.js";
import { decisionRoutes } from "./decisions.js";
import { eventRoutes } from "./events.js";
import { exportRoutes } from "./export.js";
import { gatewayEventRoutes } from "./gateway-events.js";
import { gatewayRoutes } from "./gateways.js";
import { grantRoutes } from "./grants.js";
import { KnownGateways } from "./known-gateways.js";
import { ledgerRoutes } from "./ledger.js";
import { outcomeRoutes } from "./outcomes.js";
import { policyRoutes } from "./policies.js";
import { productRoutes } from "./product.js";
import { tokenRoutes } from "./tokens.js";
import { toolRoutes } from "./tools.js";

/** Our own API: names never stand in its paths, only in bodies and queries. */
export const v1Routes: RegisterRoutes = async (app, context) => {
  const known = new KnownGateways(context.service);
  gatewayRoutes(app, context, known);
  gatewayEventRoutes(app, context, known);
  decisionRoutes(app, context, known);
  approvalRoutes(app, context, known);
  for (const routes of [
    productRoutes,
    agentRoutes,
    outcomeRoutes,
    grantRoutes,
    ledgerRoutes,
    exportRoutes,
    eventRoutes,
    tokenRoutes,
    toolRoutes,
    policyRoutes,
  ]) {
    await routes(app, context);
  }
};

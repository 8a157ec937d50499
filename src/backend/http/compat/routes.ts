import type { RegisterRoutes } from "../app.js";
import { dashboardRoutes } from "./dashboard.js";
import { sdkAgentRoutes } from "./sdk-agents.js";
import { sdkApprovalRoutes } from "./sdk-approvals.js";
import { sdkLogRoutes } from "./sdk-log.js";

/** The contract of the existing SDKs and their dashboard. */
export const compatRoutes: RegisterRoutes = async (app, context) => {
  for (const register of [sdkAgentRoutes, sdkApprovalRoutes, sdkLogRoutes, dashboardRoutes])
    await register(app, context);
};

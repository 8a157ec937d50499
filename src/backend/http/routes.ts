import type { AppOptions } from "./app.js";
import { compatRoutes } from "./compat/routes.js";
import { peopleRoutes } from "./pages/routes.js";
import { v1Routes } from "./v1/routes.js";

/** Everything that answers beside the core, by section of `permissions.ts`. */
export const routes: AppOptions["routes"] = {
  v1: v1Routes,
  compat: compatRoutes,
  people: peopleRoutes,
};

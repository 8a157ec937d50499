import { z } from "zod";
import { countField } from "./fields.js";

/** `GET /v1`: how a client finds out what it talks to. Nobody is asked for a credential. */
export const productWire = z.object({
  product: z.literal("aegis"),
  version: z.string(),
  api: z.literal(1),
});

/** `GET /v1/stats`. */
export const statsWire = z.object({
  agents: countField,
  active_agents: countField,
  blocks: countField.meta({ description: "Calls refused in the last 24 hours." }),
  pending_approvals: countField,
});

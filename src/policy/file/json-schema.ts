import * as z from "zod";
import { policySchema } from "./schema.js";

/** The format of policy files as a JSON Schema, for editors: what it lets through the loader may still refuse. */
export function policyJsonSchema(): object {
  const schema = z.toJSONSchema(policySchema({ bareNames: true }), { io: "input", target: "draft-7" });
  return { title: "A policy of aegis", ...schema };
}

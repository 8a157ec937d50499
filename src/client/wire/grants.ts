import { z } from "zod";
import type { Grant } from "../backend.js";
import { countField, idField, noBody, numberInQuery, reasonField, timeField } from "./fields.js";

export const grantWire = z.object({
  id: idField,
  approval: idField.meta({ description: "The approval it was given with." }),
  agent: z.string(),
  principal: z.string(),
  server: z.string(),
  tool: z.string(),
  action: z.string(),
  arguments: z.record(z.string(), z.string()).meta({
    description: "Patterns by argument; every other argument is as it was approved.",
  }),
  uses: countField,
  left: countField,
  created_at: timeField,
  created_by: z.string(),
  expires_at: timeField,
  status: z.enum(["active", "used", "expired", "revoked", "void"]),
});

export type GrantWire = z.infer<typeof grantWire>;

/** `GET /v1/grants`. */
export const grantsQuery = z.strictObject({
  all: z.enum(["true", "false"]).optional().meta({ description: "Those that ended too." }),
});
export const grantsAnswer = z.object({ grants: z.array(grantWire) });

/** `POST /v1/grants/:id/revoke`. */
export const grantParams = z.strictObject({ id: numberInQuery(1, Number.MAX_SAFE_INTEGER) });
export const revokeGrantRequest = z.union([z.strictObject({ reason: reasonField.default("") }), noBody]);

export function grantToWire({ createdAt, createdBy, expiresAt, ...same }: Grant): GrantWire {
  return {
    ...same,
    arguments: { ...same.arguments },
    created_at: createdAt,
    created_by: createdBy,
    expires_at: expiresAt,
  };
}

export function grantFromWire({ created_at, created_by, expires_at, ...same }: GrantWire): Grant {
  return { ...same, createdAt: created_at, createdBy: created_by, expiresAt: expires_at };
}

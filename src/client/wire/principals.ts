import { z } from "zod";
import type { Principal } from "../backend.js";
import { idField } from "./fields.js";

export const roleField = z.enum(["agent", "approver", "admin", "auditor"]);

export const principalWire = z
  .object({
    name: z.string(),
    role: roleField,
    agent: z.string().nullable().meta({ description: "The agent that a token of role agent is bound to." }),
    groups: z.array(z.string()),
    token: idField
      .nullable()
      .meta({ description: "Id of the token; null for whom an OIDC issuer vouches for." }),
    trust_declared: z.boolean().meta({ description: "What it declares about an agent may also allow." }),
  })
  .meta({ description: "Whoever a credential stands for." });

export type PrincipalWire = z.infer<typeof principalWire>;

/** `POST /v1/authenticate`. */
export const authenticateRequest = z.strictObject({
  token: z.string().min(1).max(8_192).meta({ description: "What a client of the gateway presented." }),
});

/** Null where the token is unknown, expired or revoked. */
export const authenticateAnswer = z.object({ principal: principalWire.nullable() });

export function principalToWire(principal: Principal): PrincipalWire {
  const { name, role, agent, groups, token, trustDeclared = false } = principal;
  return { name, role, agent, groups: [...groups], token, trust_declared: trustDeclared };
}

export function principalFromWire({ trust_declared, ...principal }: PrincipalWire): Principal {
  return trust_declared ? { ...principal, trustDeclared: true } : principal;
}

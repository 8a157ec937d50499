import { z } from "zod";
import type { NewToken, Token } from "../backend.js";
import { idField, nameField, numberInQuery, timeField } from "./fields.js";
import { roleField } from "./principals.js";

/** `POST /v1/tokens`. */
export const newTokenRequest = z.strictObject({
  name: nameField.meta({ description: "The principal it stands for." }),
  role: roleField,
  agent: nameField.optional().meta({
    description:
      "Role agent: the only agent it speaks for. Left out, it speaks for any: that of a gateway which serves many.",
  }),
  groups: z.array(nameField).max(100).optional(),
  trust_declared: z
    .boolean()
    .optional()
    .meta({ description: "Role agent: what it declares about an agent may also allow." }),
  expires_ms: z
    .number()
    .positive()
    .max(1e12)
    .optional()
    .meta({ description: "Milliseconds until it expires; never, if left out." }),
});

export type NewTokenWire = z.infer<typeof newTokenRequest>;

export const newTokenAnswer = z.object({
  id: idField,
  token: z.string().meta({ description: "Shown this once: only its hash is stored." }),
});

/** The id of a token in a path. */
export const tokenParams = z.strictObject({ id: numberInQuery(1, Number.MAX_SAFE_INTEGER) });

export const tokenWire = z.object({
  id: idField,
  name: z.string(),
  role: roleField,
  agent: z.string().nullable(),
  groups: z.array(z.string()),
  trust_declared: z.boolean(),
  created_at: timeField,
  expires_at: timeField.nullable(),
  revoked_at: timeField.nullable(),
});

export type TokenWire = z.infer<typeof tokenWire>;

/** `GET /v1/tokens`. */
export const tokensAnswer = z.object({ tokens: z.array(tokenWire) });

export function newTokenToWire({
  name,
  role,
  agent,
  groups,
  trustDeclared,
  expires,
}: NewToken): NewTokenWire {
  return {
    name,
    role,
    ...(agent === undefined ? {} : { agent }),
    ...(groups === undefined ? {} : { groups: [...groups] }),
    ...(trustDeclared === undefined ? {} : { trust_declared: trustDeclared }),
    ...(expires === undefined ? {} : { expires_ms: expires }),
  };
}

export function newTokenFromWire(wire: NewTokenWire): NewToken {
  const { name, role, agent, groups, trust_declared, expires_ms } = wire;
  return {
    name,
    role,
    ...(agent === undefined ? {} : { agent }),
    ...(groups === undefined ? {} : { groups }),
    ...(trust_declared === undefined ? {} : { trustDeclared: trust_declared }),
    ...(expires_ms === undefined ? {} : { expires: expires_ms }),
  };
}

export function tokenToWire(token: Token): TokenWire {
  const { groups, trustDeclared, createdAt, expiresAt, revokedAt, ...same } = token;
  return {
    ...same,
    groups: [...groups],
    trust_declared: trustDeclared,
    created_at: createdAt,
    expires_at: expiresAt,
    revoked_at: revokedAt,
  };
}

export function tokenFromWire(wire: TokenWire): Token {
  const { trust_declared, created_at, expires_at, revoked_at, ...same } = wire;
  return {
    ...same,
    trustDeclared: trust_declared,
    createdAt: created_at,
    expiresAt: expires_at,
    revokedAt: revoked_at,
  };
}

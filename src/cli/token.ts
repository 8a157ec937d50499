import type { Role } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { agentNameProblem } from "../identity.js";
import { visible } from "../visible.js";
import { adminTokenFile } from "./admin-token.js";
import { readId } from "./approvals/decide.js";
import { type Command, type CommonOptions, type Session, withBackend } from "./context.js";
import { tokenJson } from "./json.js";
import { relativeTime } from "./output.js";
import { readToken } from "./token-file.js";

interface CreateOptions extends CommonOptions {
  readonly role: Role;
  readonly name: string;
  readonly agent?: string;
  readonly trustDeclared?: boolean;
  readonly group?: readonly string[];
  readonly expires?: number;
}

/** `aegis token create`: the only moment the token is seen; the store keeps a hash of it. */
export const create: Command<CreateOptions> = {
  async run(context, options) {
    const { out } = context;
    const { role, name, agent, trustDeclared, group, expires } = options;
    if (agent !== undefined) {
      if (role !== "agent") {
        throw new AegisError(
          "usage",
          `--agent binds a token of role agent, and this one has the role ${role}.`,
          {
            hint: "Leave --agent out, or use --role agent.",
          },
        );
      }
      const problem = agentNameProblem(agent);
      if (problem !== null) throw new AegisError("usage", `--agent: ${problem}.`);
    }
    return withBackend(context, options, async ({ backend, by }) => {
      const wanted = {
        name,
        role,
        ...(agent === undefined ? {} : { agent }),
        ...(trustDeclared === undefined ? {} : { trustDeclared }),
        ...(group === undefined ? {} : { groups: group }),
        ...(expires === undefined ? {} : { expires }),
      };
      const { id, token } = await backend.createToken(wanted, by);
      if (out.json) {
        out.document({ id, token, name, role, agent: agent ?? null, groups: group ?? [] });
        return 0;
      }
      out.line(`id     ${id}`);
      out.line(`token  ${token}`);
      out.say("It is shown this once. Keep it where only its holder can read it.");
      return 0;
    });
  },
};

/** `aegis token list`. */
export const list: Command<CommonOptions> = {
  async run(context, options) {
    const { out } = context;
    return withBackend(context, options, async ({ backend }) => {
      const tokens = await backend.tokens();
      if (out.json) {
        for (const token of tokens) out.document(tokenJson(token));
        return 0;
      }
      if (tokens.length === 0) out.line("There is no token.");
      else {
        out.table(
          ["ID", "NAME", "ROLE", "AGENT", "GROUPS", "CREATED", "STATE"],
          tokens.map((token) => [
            String(token.id),
            visible(token.name),
            token.role,
            visible(token.agent ?? "any"),
            visible(token.groups.join(", ")) || "-",
            relativeTime(token.createdAt),
            stateOf(token.revokedAt, token.expiresAt),
          ]),
        );
      }
      return 0;
    });
  },
};

/** `aegis token revoke ID`. */
export const revoke: Command<CommonOptions> = {
  async run(context, options, [text = ""]) {
    const { out } = context;
    const id = readId(text);
    return withBackend(context, options, async (session) => {
      const used = await isInUse(id, session, context.home);
      await session.backend.revokeToken(id, session.by);
      if (out.json) out.document({ id, revoked: true });
      else out.line(`Revoked token ${id}: it opens nothing any more.`);
      if (used) {
        out.warn(
          `token ${id} is the one that commands use here: they are refused from now on. Set AEGIS_TOKEN to another; ` +
            `where it was from ${adminTokenFile(context.home)}, restarting \`aegis backend\` makes a new one.`,
        );
      }
      return 0;
    });
  },
};

/** It proves who this command is, or the commands that speak to the `aegis backend` of this AEGIS_HOME. */
async function isInUse(id: number, { backend, kind, by }: Session, home: string): Promise<boolean> {
  if (kind !== "embedded" || by.token !== null) return by.token === id;
  const own = await readToken(adminTokenFile(home));
  return own !== null && (await backend.authenticate(own))?.token === id;
}

function stateOf(revokedAt: string | null, expiresAt: string | null): string {
  if (revokedAt !== null) return `revoked ${relativeTime(revokedAt)}`;
  if (expiresAt === null) return "valid";
  return Date.parse(expiresAt) <= Date.now()
    ? `expired ${relativeTime(expiresAt)}`
    : `valid, ends ${relativeTime(expiresAt)}`;
}

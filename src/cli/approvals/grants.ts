import type { Grant } from "../../client/backend.js";
import { visible } from "../../visible.js";
import { type Command, type CommonOptions, withBackend } from "../context.js";
import { grantJson } from "../json.js";
import { type Output, relativeTime } from "../output.js";
import { Card } from "./card.js";
import { readId } from "./decide.js";
import { coverText } from "./requirement-text.js";

interface ListOptions extends CommonOptions {
  readonly all?: boolean;
}

interface RevokeOptions extends CommonOptions {
  readonly reason: string;
}

/** `aegis grants`: the calls that somebody has let through ahead of their coming, newest first. */
export const list: Command<ListOptions> = {
  run: (context, options) => {
    const { out } = context;
    return withBackend(context, options, async ({ backend }) => {
      const grants = await backend.grants(options.all === true);
      for (const grant of grants) {
        if (out.json) out.document(grantJson(grant));
        else showGrant(out, grant);
      }
      if (grants.length === 0 && !out.json)
        out.line(
          options.all === true ? "Nothing was ever granted." : "Nothing is granted: every call is asked for.",
        );
      return 0;
    });
  },
};

/** `aegis grants revoke ID`. */
export const revoke: Command<RevokeOptions> = {
  run: (context, options, [text = ""]) => {
    const { out } = context;
    const id = readId(text);
    return withBackend(context, options, async ({ backend, by }) => {
      await backend.revokeGrant(id, by, options.reason);
      if (out.json) out.document({ id, status: "revoked" });
      else out.line(`${out.style("red", "Revoked")} grant ${id}: it lets no call through any more.`);
      return 0;
    });
  },
};

function showGrant(out: Output, grant: Grant): void {
  const { id, status, uses, left } = grant;
  const card = new Card(out);
  const active = status === "active";
  const used = `${left} of ${uses} ${uses === 1 ? "use" : "uses"} left`;
  const ends = Date.parse(grant.expiresAt) <= Date.now() ? "expired" : "expires";
  const head = `grant ${id}  ${status}  ${visible(grant.action)}`;
  card.head(`${head}  by agent ${visible(grant.agent)}`, head.length);
  card.field("left", `${used}, ${ends} ${relativeTime(grant.expiresAt)}`);
  card.field(
    "given",
    `by ${visible(grant.createdBy)} ${relativeTime(grant.createdAt)}, with approval ${grant.approval}`,
  );
  card.field("to", visible(grant.principal));
  card.field("covers", coverText(grant.arguments));
  if (active) out.line(out.style("dim", `  aegis grants revoke ${id}`));
  out.line();
}

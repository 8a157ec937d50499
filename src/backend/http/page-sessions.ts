import { createHmac, timingSafeEqual } from "node:crypto";
import type { CookieSerializeOptions } from "@fastify/cookie";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Principal } from "../../client/backend.js";
import type { Service } from "../service.js";
import type { Credential } from "./auth.js";
import { HttpError } from "./errors.js";

/**
 * Who asks for a page: a cookie says so, and nothing else does. A browser sends Basic credentials along with what
 * another site makes it ask for; this cookie it does not (SameSite, threat T9).
 */
export class PageSessions {
  private readonly name: string;
  private readonly attributes: CookieSerializeOptions;

  constructor(
    private readonly service: Pick<Service, "session" | "openSession" | "endSession">,
    /** Browsers reach us over TLS. With its prefix no other host, and nothing unencrypted, can plant the cookie. */
    secure: boolean,
  ) {
    this.name = secure ? "__Host-aegis" : "aegis";
    this.attributes = { path: "/", httpOnly: true, sameSite: "strict", secure };
  }

  /** @throws HttpError 401 */
  async prove(request: FastifyRequest): Promise<Credential> {
    const id = this.idOf(request);
    const session = id === null ? null : await this.service.session(id);
    if (id === null || session === null)
      throw new HttpError(401, id === null ? "Nobody is signed in here." : "The session has ended.");
    return {
      principal: session.principal,
      stands: async () => (await this.service.session(id)) !== null,
      form: formToken(id),
    };
  }

  async isSignedIn(request: FastifyRequest): Promise<boolean> {
    const id = this.idOf(request);
    return id !== null && (await this.service.session(id)) !== null;
  }

  async begin(request: FastifyRequest, reply: FastifyReply, by: Principal): Promise<void> {
    const id = await this.service.openSession(by, this.idOf(request));
    // No lifetime: the browser forgets it at its end, and the server long before.
    reply.setCookie(this.name, id, this.attributes);
  }

  async end(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const id = this.idOf(request);
    if (id !== null) await this.service.endSession(id);
    reply.clearCookie(this.name, this.attributes);
  }

  /** Twice is none: one of the two was planted, and nobody knows which. */
  private idOf({ headers: { cookie = "" } }: FastifyRequest): string | null {
    const start = `${this.name}=`;
    const found = cookie.split(";").flatMap((pair) => {
      const trimmed = pair.trim();
      return trimmed.startsWith(start) ? [trimmed.slice(start.length)] : [];
    });
    return found.length === 1 ? (found[0] ?? null) : null;
  }
}

/**
 * What every form of a session carries: another site's form does not know it. Made from the session's id, which does not
 * follow from it.
 */
function formToken(id: string): string {
  return createHmac("sha256", id).update("aegis form 1").digest("base64url");
}

export function isFormToken({ form = "" }: Credential, sent: unknown): boolean {
  if (typeof sent !== "string" || form === "") return false;
  const [theirs, ours] = [Buffer.from(sent), Buffer.from(form)];
  return theirs.length === ours.length && timingSafeEqual(theirs, ours);
}

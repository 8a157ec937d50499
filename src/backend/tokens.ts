import { hash, randomBytes } from "node:crypto";
import type { NewToken, Principal, Role, Token } from "../client/backend.js";
import { AegisError } from "../errors.js";
import type { Batch } from "./batch.js";
import { checkName } from "./names.js";
import { invalidToken } from "./permission.js";
import type { Statement, Store } from "./store/store.js";
import { isoTime } from "./time.js";

const PREFIX = "aegis_";
/** `aegis_` and 32 random bytes in base64url. */
const FORM = /^aegis_[A-Za-z0-9_-]{43}$/;
/** Principals remembered; asked for at every HTTP request. */
const REMEMBERED = 1_024;
/** Milliseconds they are remembered: should the news of a revocation not arrive, it holds after that time. */
const KNOWN = 1_000;
const roles: readonly string[] = ["agent", "approver", "admin", "auditor"] satisfies Role[];

interface Known {
  readonly principal: Principal;
  /** Milliseconds since the epoch, by the store's clock. */
  readonly expires: number;
  /** `performance.now()`. */
  readonly until: number;
}

interface TokenRow {
  readonly id: number;
  readonly name: string;
  readonly role: Role;
  readonly agent: string | null;
  readonly groups: string;
  readonly trust_declared: number;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly revoked_at: number | null;
}

/** Bearer tokens. Only their SHA-256 is stored: 32 random bytes need no salt and no slow hash. */
export class Tokens {
  private readonly select: Statement;
  private readonly selectHash: Statement;
  private readonly selectId: Statement;
  private readonly selectAll: Statement;
  private readonly insert: Statement;
  private readonly setRevoked: Statement;
  private readonly known = new Map<string, Known>();
  /** How often something was forgotten: what was read before that is not to be remembered. */
  private forgotten = 0;

  constructor(private readonly store: Store) {
    const { reader, writer } = store;
    this.select = writer.prepare("SELECT * FROM tokens WHERE id = ?");
    this.selectHash = reader.prepare("SELECT * FROM tokens WHERE hash = ?");
    this.selectId = reader.prepare("SELECT * FROM tokens WHERE id = ?");
    this.selectAll = reader.prepare("SELECT * FROM tokens ORDER BY id");
    this.insert = writer.prepare(
      `INSERT INTO tokens (id, hash, name, role, agent, "groups", trust_declared, created_at, expires_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.setRevoked = writer.prepare("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL");
  }

  async list(): Promise<Token[]> {
    return ((await this.selectAll.all()) as TokenRow[]).map((row) => ({
      id: row.id,
      name: row.name,
      role: row.role,
      agent: row.agent,
      groups: JSON.parse(row.groups) as string[],
      trustDeclared: row.trust_declared !== 0,
      createdAt: isoTime(row.created_at),
      expiresAt: row.expires_at === null ? null : isoTime(row.expires_at),
      revokedAt: row.revoked_at === null ? null : isoTime(row.revoked_at),
    }));
  }

  /** The principal, where it was found before and nothing has changed since. */
  remembered(token: string): Principal | undefined {
    const found = this.known.get(hash("sha256", token));
    if (found === undefined || this.store.now() >= found.expires || performance.now() >= found.until)
      return undefined;
    return found.principal;
  }

  /** Null where the token is unknown, expired or revoked. */
  async find(token: string): Promise<Principal | null> {
    if (!FORM.test(token)) return null;
    const digest = hash("sha256", token);
    const { forgotten } = this;
    const until = performance.now() + KNOWN;
    const row = (await this.selectHash.get(digest)) as TokenRow | undefined;
    if (row === undefined || !isValid(row, this.store.now())) return null;
    const principal = principalOf(row);
    if (this.known.size >= REMEMBERED) this.known.clear();
    const expires = row.expires_at ?? Number.POSITIVE_INFINITY;
    // A revocation that was heard since the row was read is newer than the row.
    if (forgotten === this.forgotten) this.known.set(digest, { principal, expires, until });
    return principal;
  }

  /** Committed: whom it stands for; null where it is unknown, expired or revoked. */
  async principalOf(id: number): Promise<Principal | null> {
    const row = (await this.selectId.get(id)) as TokenRow | undefined;
    return row === undefined || !isValid(row, this.store.now()) ? null : principalOf(row);
  }

  /** Some token was revoked, in whichever process. */
  forget(): void {
    this.forgotten++;
    this.known.clear();
  }

  /**
   * Asked in the transaction of what the principal does: a token that was revoked since it came in does nothing.
   *
   * @throws AegisError `not_permitted`
   */
  async require(batch: Batch, by: Principal): Promise<void> {
    if (!(await this.holds(by.token, by.role, batch.now))) throw invalidToken(by);
  }

  /** Whether the token may act in this role at this moment; null stands for a person of the operating system. */
  private async holds(token: number | null, role: Role, now: number): Promise<boolean> {
    if (token === null) return true;
    const row = (await this.select.get(token)) as TokenRow | undefined;
    return row !== undefined && row.role === role && isValid(row, now);
  }

  async create(batch: Batch, wanted: NewToken, by: Principal, token: string): Promise<number> {
    const { name, role, agent = null, groups = [], trustDeclared = false, expires } = wanted;
    const id = await batch.nextId("tokens");
    const until = expires === undefined ? null : batch.now + expires;
    const said = [name, role, agent, JSON.stringify(groups), trustDeclared ? 1 : 0];
    await this.insert.run(id, hash("sha256", token), ...said, batch.now, until);
    const whose = agent === null ? "" : ` for the agent ${agent}`;
    this.record(batch, by, agent, `Token ${id} (${role}, ${name})${whose} was made.`);
    return id;
  }

  async revoke(batch: Batch, id: number, by: Principal): Promise<AegisError | null> {
    const row = Number.isSafeInteger(id) ? ((await this.select.get(id)) as TokenRow | undefined) : undefined;
    if (row === undefined) {
      return new AegisError("unknown_token", `There is no token ${id}; nothing was changed.`, {
        hint: "`aegis token list` lists them.",
      });
    }
    if ((await this.setRevoked.run(batch.now, id)) === 0) return null;
    // Only here: whoever hears it ends what was opened with the token.
    await batch.emit({ kind: "token", id });
    this.record(batch, by, row.agent, `Token ${id} (${row.role}, ${row.name}) was revoked.`);
    return null;
  }

  private record(batch: Batch, by: Principal, agent: string | null, reason: string): void {
    const whose = agent === null ? {} : { agent };
    batch.records.append({ kind: "token", ...whose, principal: by.name, reason });
  }
}

/** A new token: shown once, stored nowhere. */
export function newToken(): string {
  return PREFIX + randomBytes(32).toString("base64url");
}

/** @throws AegisError `usage` */
export function checkNewToken({ name, role, agent, groups = [], trustDeclared, expires }: NewToken): void {
  checkName("token", name);
  for (const group of groups) checkName("group", group);
  if (agent !== undefined) checkName("agent", agent);
  if (trustDeclared && role !== "agent") {
    throw new AegisError("usage", `A token of role ${role} declares nothing that could be trusted.`, {
      hint: "Only a token of role agent is made with trust in what it declares.",
    });
  }
  const problem = problemOf(name, role, agent, expires);
  if (problem !== null) throw new AegisError("usage", problem);
}

function problemOf(
  name: string,
  role: string,
  agent: string | undefined,
  expires: number | undefined,
): string | null {
  if (/^(?:os|oidc):/.test(name))
    return `A token can not be named ${name}: os: and oidc: stand for people that are vouched for otherwise.`;
  // In the ledger it is whoever answered a form there.
  if (/^client:/i.test(name))
    return `A token can not be named ${name}: client: stands for an agent's client.`;
  if (!roles.includes(role)) return `There is no role "${role}": it is one of ${roles.join(", ")}.`;
  if (role !== "agent" && agent !== undefined) return `A token of role ${role} is not bound to an agent.`;
  if (expires === undefined || (Number.isFinite(expires) && expires > 0 && expires < 1e13)) return null;
  return "A token expires after more than 0 ms.";
}

function principalOf({ id, name, role, agent, groups, trust_declared }: TokenRow): Principal {
  const trusted = trust_declared === 0 ? {} : { trustDeclared: true };
  return { name, role, agent, groups: JSON.parse(groups) as string[], token: id, ...trusted };
}

function isValid({ revoked_at, expires_at }: TokenRow, now: number): boolean {
  return revoked_at === null && (expires_at === null || now < expires_at);
}

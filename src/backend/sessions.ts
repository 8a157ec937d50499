import { hash, randomBytes } from "node:crypto";
import type { Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import type { Batch } from "./batch.js";
import type { Statement, Store } from "./store/store.js";
import { isoTime } from "./time.js";
import type { Tokens } from "./tokens.js";

/** 32 random bytes in base64url. */
const FORM = /^[A-Za-z0-9_-]{43}$/;
/** Milliseconds after which nobody is signed in any more, whatever they do. */
const LONGEST = 8 * 3_600_000;
/** Milliseconds without a request after which it ends. */
const IDLE = 3_600_000;
/** Sessions of one token: the oldest ends where one more begins. */
const MOST = 20;

/** A person who signed in on a page. */
export interface Session {
  /** As the token that signed in stands at this moment. */
  readonly principal: Principal;
  /** When it ends at the latest. */
  readonly until: string;
}

interface SessionRow {
  readonly token: number;
  readonly created_at: number;
  readonly expires_at: number;
}

/**
 * Who signed in on a page. What the cookie holds is told once and stored as its SHA-256; the token that signed in is not
 * stored at all, and its row is asked at every request: with it, its sessions end.
 */
export class Sessions {
  private readonly select: Statement;
  private readonly insert: Statement;
  private readonly slide: Statement;
  private readonly remove: Statement;
  private readonly removeOver: Statement;
  private readonly removeOldest: Statement;

  constructor(
    private readonly store: Store,
    private readonly tokens: Tokens,
  ) {
    const { reader, writer } = store;
    this.select = reader.prepare("SELECT token, created_at, expires_at FROM sessions WHERE hash = ?");
    this.insert = writer.prepare(
      "INSERT INTO sessions (hash, principal, token, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
    );
    this.slide = writer.prepare("UPDATE sessions SET expires_at = ? WHERE hash = ?");
    this.remove = writer.prepare("DELETE FROM sessions WHERE hash = ?");
    this.removeOver = writer.prepare("DELETE FROM sessions WHERE expires_at <= ?");
    this.removeOldest = writer.prepare(
      `DELETE FROM sessions WHERE token = ? AND hash NOT IN
         (SELECT hash FROM sessions WHERE token = ? ORDER BY created_at DESC, hash LIMIT ?)`,
    );
  }

  /**
   * Inside a transaction. A new one every time, and the one before ends: an id that somebody else knew, or planted, is
   * worth nothing after a sign-in (threat T18).
   */
  async open(batch: Batch, id: string, by: Principal, before: string | null): Promise<void> {
    if (by.token === null)
      throw new AegisError("usage", "Only a token of Aegis signs in: a session ends with it.");
    if (before !== null) await this.end(before);
    await this.removeOver.run(batch.now);
    await this.removeOldest.run(by.token, by.token, MOST - 1);
    const { now } = batch;
    await this.insert.run(keyOf(id), JSON.stringify({ name: by.name }), by.token, now, now + IDLE);
  }

  /** Null where there is none, or it has ended; `due`: it is used, and to be kept from ending. */
  async find(id: string): Promise<(Session & { readonly due: number | null }) | null> {
    if (!FORM.test(id)) return null;
    const row = (await this.select.get(keyOf(id))) as SessionRow | undefined;
    const now = this.store.now();
    if (row === undefined || now >= row.expires_at) return null;
    const principal = await this.tokens.principalOf(row.token);
    if (principal === null) return null;
    const last = row.created_at + LONGEST;
    const next = Math.min(last, now + IDLE);
    // Not at every request: that would be a write for each.
    const due = next - row.expires_at > IDLE / 4 ? next : null;
    return { principal, until: isoTime(last), due };
  }

  async keep(id: string, until: number): Promise<void> {
    await this.slide.run(until, keyOf(id));
  }

  async end(id: string): Promise<void> {
    await this.remove.run(keyOf(id));
  }
}

export function newSession(): string {
  return randomBytes(32).toString("base64url");
}

function keyOf(id: string): string {
  return hash("sha256", id);
}

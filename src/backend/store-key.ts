import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { join } from "node:path";
import { AegisError, reasonOf } from "../errors.js";
import type { Batch } from "./batch.js";
import { placeSecret, readSecret } from "./secret-file.js";
import type { GroupCommit } from "./store/commit.js";
import { patiently } from "./store/patience.js";
import type { Store } from "./store/store.js";

/** How the exact arguments of an open approval are kept (invariant 3). */
export interface Safe {
  /** @param about what they belong to: what is sealed for one row opens for no other */
  seal(text: string, about: string): string;
  /** A sentence in square brackets where it cannot be opened: an approver sees that, and not nothing. */
  open(sealed: string, about: string): string;
}

/** The store is a file of this user alone. */
export const openSafe: Safe = { seal: (text) => text, open: (text) => text };

/**
 * The key of a database that others can read too: its administrators, its backups. It stands in AEGIS_HOME/store.key of
 * every backend on it, and never in the database, which only knows a hash of it, so that two with different keys do not
 * write into each other's rows.
 */
export class StoreKey implements Safe {
  /** For the digests of calls. */
  readonly digest: Uint8Array;
  private readonly sealing: Uint8Array;

  private constructor(secret: Uint8Array) {
    this.digest = derive(secret, "aegis digest");
    this.sealing = derive(secret, "aegis arguments");
  }

  /**
   * Made by the first backend on the database.
   *
   * @throws AegisError `store_key` where this home has another one, or none though the database has; `home_insecure`
   */
  static async of(home: string, store: Store, commit: GroupCommit<Batch>): Promise<StoreKey> {
    const file = join(home, "store.key");
    const select = "SELECT value FROM settings WHERE name = 'store_key'";
    const known = store.reader.prepare(select);
    const hasOne = (await patiently(store, () => known.get())) !== undefined;
    const secret = read(file) ?? (hasOne ? null : create(file));
    if (secret === null) throw missing(file, "is not there");
    const [insert, again] = [
      store.writer.prepare(
        "INSERT INTO settings (name, value) VALUES ('store_key', ?) ON CONFLICT DO NOTHING",
      ),
      store.writer.prepare(select),
    ];
    const fingerprint = createHash("sha256").update("aegis store key\n").update(secret).digest("hex");
    const { value } = await commit.write(async () => {
      await insert.run(fingerprint);
      return (await again.get()) as { value: string };
    });
    if (value !== fingerprint) throw missing(file, "is of another database");
    return new StoreKey(secret);
  }

  /** AES-256-GCM: nonce, tag and text, in base64. */
  seal(text: string, about: string): string {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.sealing, nonce).setAAD(Buffer.from(about));
    const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64");
  }

  open(sealed: string, about: string): string {
    try {
      const bytes = Buffer.from(sealed, "base64");
      const cipher = createDecipheriv("aes-256-gcm", this.sealing, bytes.subarray(0, 12))
        .setAAD(Buffer.from(about))
        .setAuthTag(bytes.subarray(12, 28));
      return Buffer.concat([cipher.update(bytes.subarray(28)), cipher.final()]).toString("utf8");
    } catch {
      return "[the arguments cannot be read: they were changed in the database]";
    }
  }
}

function read(file: string): Uint8Array | null {
  let text: string | null;
  try {
    text = readSecret(file);
  } catch (thrown) {
    if (thrown instanceof AegisError) throw thrown;
    throw missing(file, `cannot be read (${reasonOf(thrown)})`);
  }
  if (text === null) return null;
  const secret = Buffer.from(text.trim(), "base64");
  if (secret.length !== 32) throw missing(file, "holds no key");
  return secret;
}

function create(file: string): Uint8Array | null {
  const secret = randomBytes(32);
  return placeSecret(file, `${secret.toString("base64")}\n`) ? secret : read(file);
}

function derive(secret: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", secret, "", purpose, 32));
}

function missing(file: string, what: string): AegisError {
  return new AegisError("store_key", `The key of the database, ${file}, ${what}.`, {
    hint: "Copy store.key from the AEGIS_HOME of a backend that uses this database already.",
  });
}

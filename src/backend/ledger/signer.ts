import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AegisError, reasonOf } from "../../errors.js";
import { placeSecret, readSecret } from "../secret-file.js";
import { keyId, sealed, type TrustedKeys, trustedKeys } from "./signature.js";

interface Pair {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly publicPem: string;
}

/**
 * The Ed25519 key of AEGIS_HOME, which signs the ledger. It never is in the database: whoever writes there, but can not
 * read this file, can not sign what he has forged. Made when it is first needed, by whichever process comes first.
 */
export class Signer {
  private pair: Pair | null = null;

  /** @param home AEGIS_HOME, which exists */
  constructor(private readonly home: string) {}

  /**
   * SHA-256 (hex) of the public key.
   *
   * @throws AegisError `ledger_key`, as everything here
   */
  get keyId(): string {
    return this.open().id;
  }

  /** PEM (SPKI). */
  get publicKey(): string {
    return this.open().publicPem;
  }

  /** The body with a signature over it. */
  seal(body: string): string {
    return sealed(body, this.open().privateKey);
  }

  /**
   * The keys that are believed here: of `ledger.pub`, where the public keys of all that ever signed in this home stay.
   * Null where nothing was ever signed.
   */
  trusted(): TrustedKeys | null {
    const file = join(this.home, "ledger.pub");
    if (statSync(join(this.home, "ledger.key"), { throwIfNoEntry: false }) !== undefined) this.open();
    const text = readIfThere(file);
    return text === null ? null : trustedKeys([{ from: file, text }]);
  }

  private open(): Pair {
    this.pair ??= load(this.home);
    return this.pair;
  }
}

function load(home: string): Pair {
  const file = join(home, "ledger.key");
  const pem = readPrivate(file) ?? create(file);
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch (thrown) {
    throw unusable(file, reasonOf(thrown), thrown);
  }
  if (privateKey.asymmetricKeyType !== "ed25519") {
    throw unusable(file, `it is of type ${String(privateKey.asymmetricKeyType)}, not Ed25519`);
  }
  const publicKey = createPublicKey(privateKey);
  const publicPem = publicKey.export({ type: "spki", format: "pem" }) as string;
  const id = keyId(publicKey);
  publish(home, id, publicPem);
  return { id, privateKey, publicPem };
}

/** Null where there is none. */
function readPrivate(file: string): string | null {
  try {
    return readSecret(file);
  } catch (thrown) {
    if (thrown instanceof AegisError) throw thrown;
    throw unusable(file, reasonOf(thrown), thrown);
  }
}

function create(file: string): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  try {
    return placeSecret(file, pem) ? pem : (readSecret(file) ?? pem);
  } catch (thrown) {
    if (thrown instanceof AegisError) throw thrown;
    throw unusable(file, `it could not be made (${reasonOf(thrown)})`, thrown);
  }
}

/** The public key beside those of earlier private keys: what they have signed is still believed. */
function publish(home: string, id: string, pem: string): void {
  const file = join(home, "ledger.pub");
  const text = readIfThere(file) ?? (placeSecret(file, pem) ? pem : readIfThere(file));
  if (text !== null && trustedKeys([{ from: file, text }]).has(id)) return;
  writeFileSync(file, pem, { flag: "a", mode: 0o600 });
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (thrown) {
    if (isMissing(thrown)) return null;
    throw unusable(file, reasonOf(thrown), thrown);
  }
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
}

function unusable(file: string, why: string, cause?: unknown): AegisError {
  return new AegisError("ledger_key", `${file} cannot be used: ${why}.`, {
    cause,
    hint: "Restore it from a backup. If it is lost, move it away: a new key is made, and what the old one signed still verifies with the ledger.pub that stays.",
  });
}

import { createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";
import { AegisError, reasonOf } from "../../errors.js";

/** Before what is signed: a signature over anything else that the key may ever sign can not stand here. */
const DOMAIN = "aegis ledger record 1\n";
/** 64 bytes in base64, in its one form; the last member of a signed record, in the order of RFC 8785. */
const MEMBER = /,"signature":"([A-Za-z0-9+/]{85}[AQgw]==)"\}$/;

/** Kinds of records that stand only with a signature of their own. */
export const signedKinds: ReadonlySet<string> = new Set(["checkpoint", "rotation"]);

/** Public keys by their id. */
export type TrustedKeys = ReadonlyMap<string, KeyObject>;

/** SHA-256 (hex) of the key as DER (SPKI). */
export function keyId(key: KeyObject): string {
  return hash("sha256", key.export({ type: "spki", format: "der" }));
}

/** Puts the signature (Ed25519, RFC 8032) over a body as its last member. */
export function sealed(body: string, key: KeyObject): string {
  const signature = sign(null, Buffer.from(DOMAIN + body, "utf8"), key).toString("base64");
  return `${body.slice(0, -1)},"signature":"${signature}"}`;
}

/** Why the signature of a body does not stand, as the end of a sentence that begins with the record; or null. */
export function sealProblem(body: string, keys: TrustedKeys): string | null {
  const [member, signature] = MEMBER.exec(body) ?? [];
  if (member === undefined || signature === undefined) return "has no signature";
  const { key_id: id } = JSON.parse(body) as { readonly key_id?: unknown };
  if (typeof id !== "string") return "does not name the key that signed it";
  const key = keys.get(id);
  if (key === undefined)
    return `is signed with the key ${id}, which is not trusted: add that backend's ledger.pub to the one of this home, or name it with --key`;
  const text = `${DOMAIN}${body.slice(0, -member.length)}}`;
  const stands = verify(null, Buffer.from(text, "utf8"), key, Buffer.from(signature, "base64"));
  return stands ? null : `has a signature that the key ${id} did not make`;
}

/**
 * The keys of PEM texts, several in each or one.
 *
 * @param from whose text it is, for errors
 * @throws AegisError `ledger_key`
 */
export function trustedKeys(pems: Iterable<{ readonly from: string; readonly text: string }>): TrustedKeys {
  const keys = new Map<string, KeyObject>();
  for (const { from, text } of pems) {
    const blocks = text.match(/-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----/g) ?? [];
    if (blocks.length === 0) throw noKey(from, "there is no public key in it");
    for (const block of blocks) {
      const key = parse(from, block);
      keys.set(keyId(key), key);
    }
  }
  return keys;
}

function parse(from: string, block: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(block);
  } catch (thrown) {
    throw noKey(from, reasonOf(thrown), thrown);
  }
  if (key.asymmetricKeyType !== "ed25519")
    throw noKey(from, `it is of type ${String(key.asymmetricKeyType)}`);
  return key;
}

function noKey(from: string, why: string, cause?: unknown): AegisError {
  return new AegisError("ledger_key", `${from} is no public key of a ledger: ${why}.`, {
    cause,
    hint: "It is a PEM text (BEGIN PUBLIC KEY) of an Ed25519 key, as in AEGIS_HOME/ledger.pub.",
  });
}

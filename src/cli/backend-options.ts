import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { createSecureContext } from "node:tls";
import type { Tls } from "../backend/http/server.js";
import { AegisError, reasonOf } from "../errors.js";
import { readTextFile } from "../text-file.js";
import { visible } from "../visible.js";
import type { CommonOptions } from "./context.js";

/** The flags of `aegis backend`. */
export interface BackendFlags extends CommonOptions {
  readonly port: number;
  readonly host: string;
  readonly policies?: string;
  readonly database?: string;
  readonly publicUrl?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly insecure?: boolean;
  readonly static?: string;
}

/**
 * Certificate and key, where both flags name them.
 *
 * @throws AegisError usage
 */
export async function readTls({ tlsCert, tlsKey }: BackendFlags): Promise<Tls | null> {
  if (tlsCert === undefined && tlsKey === undefined) return null;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw wrong("--tls-cert and --tls-key belong together", "Give both, or neither.");
  }
  const tls = { cert: await readPem("--tls-cert", tlsCert), key: await readPem("--tls-key", tlsKey) };
  try {
    createSecureContext(tls);
  } catch (thrown) {
    const hint = "Both are PEM files, and the key is the one the certificate was made for.";
    throw wrong(`${tlsCert} and ${tlsKey} cannot be used: ${reasonOf(thrown)}`, hint);
  }
  return tls;
}

/** @throws AegisError usage */
export function readPublicUrl({ publicUrl }: BackendFlags): URL | null {
  if (publicUrl === undefined) return null;
  const url = URL.canParse(publicUrl) ? new URL(publicUrl) : null;
  const whole = url !== null && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.search === "";
  if (!whole || url.username !== "" || url.password !== "") {
    const hint = "Write --public-url https://aegis.example.com, without a path or a password.";
    throw wrong("--public-url is not the URL of a server", hint);
  }
  return url;
}

/**
 * The folder of built pages, absolute.
 *
 * @throws AegisError usage
 */
export function readStatic({ static: folder }: BackendFlags): string | null {
  if (folder === undefined) return null;
  const path = resolve(folder);
  if (statSync(join(path, "index.html"), { throwIfNoEntry: false })?.isFile() === true) return path;
  throw wrong(`--static ${folder} has no index.html`, "Name the folder of a dashboard's built files.");
}

async function readPem(flag: string, file: string): Promise<string> {
  try {
    return await readTextFile(file);
  } catch (thrown) {
    throw wrong(`${flag} ${file}: ${reasonOf(thrown)}`, "Name a PEM file that this user may read.");
  }
}

function wrong(problem: string, hint: string): AegisError {
  return new AegisError("usage", `${visible(problem)}.`, { hint });
}

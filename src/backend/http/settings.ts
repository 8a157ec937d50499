import type { Section } from "../../config-yaml.js";
import type { OidcSettings } from "./oidc-settings.js";
import { readOidc } from "./oidc-settings.js";

/** What `AEGIS_HOME/config.yaml` says of the server. */
export interface Settings {
  /** Origins of pages elsewhere that may use the API, such as `https://board.example.com`. */
  readonly origins: readonly string[];
  /** Null where only tokens prove who asks. */
  readonly oidc: OidcSettings | null;
  /** `compat.reuse_approvals`: /sdk/find-approval finds them, whatever the arguments were. */
  readonly reuseApprovals: boolean;
}

export const defaultSettings: Settings = { origins: [], oidc: null, reuseApprovals: false };

/** @throws AegisError config_invalid */
export function readSettings(root: Section): Settings {
  const origins = root.texts("origins") ?? [];
  for (const origin of origins) {
    // A pattern, a path or a `*` would never be equal to what a browser sends.
    if (!/^https?:\/\//.test(origin) || !URL.canParse(origin) || new URL(origin).origin !== origin)
      throw root.refuse("origins", "origins lists origins such as https://board.example.com, without a path");
  }
  const compat = root.section("compat")?.only(["reuse_approvals"]);
  const reuse = compat?.text("reuse_approvals") ?? "false";
  if (compat !== undefined && reuse !== "true" && reuse !== "false")
    throw compat.refuse("reuse_approvals", "compat.reuse_approvals must be true or false");
  const oidc = root.section("oidc");
  return { origins, oidc: oidc === undefined ? null : readOidc(oidc), reuseApprovals: reuse === "true" };
}

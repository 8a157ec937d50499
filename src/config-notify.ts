import type { Section } from "./config-yaml.js";
import { isLoopback } from "./listen.js";

/** `notify:` of AEGIS_HOME/config.yaml: who is told that a person is asked. */
export interface NotifyConfig {
  readonly webhook: { readonly url: string; readonly secret: string } | null;
  readonly slack: { readonly url: string } | null;
  /** A program and its arguments, {@link placeholders} among them. */
  readonly command: readonly string[] | null;
}

/** What stands for a value in `notify.command`, each an argument by itself. */
export const placeholders = [
  "{event}",
  "{id}",
  "{agent}",
  "{action}",
  "{server}",
  "{tool}",
  "{rule}",
  "{reason}",
  "{expires}",
  "{link}",
  "{text}",
] as const;

/** A shorter one could be guessed by whoever wants to forge what we say. */
const shortestSecret = 16;

/**
 * Reads the section `notify` of a configuration. Only by processes that open approvals: it may name variables of the
 * environment that another has not, and `aegis kill` must not fail for that.
 *
 * @returns null where nobody is told
 * @throws AegisError config_invalid; its message holds no secret
 */
export function readNotify(root: Section): NotifyConfig | null {
  const section = root.section("notify")?.only(["webhook", "slack", "command"]);
  if (section === undefined) return null;
  const webhook = section.section("webhook")?.only(["url", "secret"]);
  const slack = section.section("slack")?.only(["url"]);
  const config = {
    webhook: webhook === undefined ? null : { url: readUrl(webhook), secret: readSecret(webhook) },
    slack: slack === undefined ? null : { url: readUrl(slack) },
    command: readCommand(section),
  };
  return config.webhook === null && config.slack === null && config.command === null ? null : config;
}

/** On the way to another http:// anybody could read who asks for what, and the address, which is a secret. */
function readUrl(section: Section): string {
  const text = section.text("url");
  if (text === undefined) throw section.refuse(null, `${section.path} has no url`);
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(url.hostname))) return text;
  throw section.refuse(
    "url",
    `${section.path}.url must begin with https://, or lead to this machine`,
    "Put a program on this machine before a receiver that speaks no TLS.",
  );
}

function readSecret(section: Section): string {
  const secret = section.text("secret");
  if (secret === undefined)
    throw section.refuse(
      null,
      `${section.path} has no secret`,
      "It signs what is sent: make one with `openssl rand -hex 32`.",
    );
  if (secret.length >= shortestSecret) return secret;
  throw section.refuse("secret", `${section.path}.secret is shorter than ${shortestSecret} characters`);
}

function readCommand(section: Section): readonly string[] | null {
  const command = section.texts("command");
  if (command === undefined) return null;
  const [program = ""] = command;
  if (program === "" || program.includes("{"))
    throw section.refuse("command", "notify.command begins with the program to run");
  for (const argument of command) {
    const found = /\{[a-z]+\}/.exec(argument)?.[0];
    if (found === undefined || placeholders.some((known) => known === argument)) continue;
    const known = placeholders.some((one) => one === found);
    throw section.refuse(
      "command",
      known
        ? `notify.command has ${found} inside of a longer argument`
        : `notify.command has ${found}, which stands for nothing`,
      // A foreign value in the text of a script would be run as a part of it.
      known
        ? `Write ${found} as an argument by itself, or read the variable AEGIS_NOTIFY_${found.slice(1, -1).toUpperCase()}.`
        : `Known here: ${placeholders.join(" ")}.`,
    );
  }
  return command;
}

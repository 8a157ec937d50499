import { dirname } from "node:path";

/** Ready-to-paste entries with which MCP clients find the gateway. */
export interface ClientEntries {
  /** `claude_desktop_config.json`. It takes stdio entries only, and starts its own gateway on the same AEGIS_HOME. */
  readonly claudeDesktop: string;
  /** A command for a terminal. */
  readonly claudeCode: string;
  /** `~/.cursor/mcp.json`. */
  readonly cursor: string;
  /** `.vscode/mcp.json`. */
  readonly vsCode: string;
}

export interface EntryOptions {
  /** The merged endpoint, such as `http://127.0.0.1:8100/mcp`. */
  readonly url: string;
  readonly token: string;
  /** Absolute: a client's PATH and working directory are not the terminal's. */
  readonly node: string;
  readonly script: string;
  readonly config: string;
  readonly home: string;
  /** Name of the entry. */
  readonly name?: string;
}

export function clientEntries(options: EntryOptions): ClientEntries {
  const { url, token, node, script, config, home, name = "aegis" } = options;
  const headers = { Authorization: `Bearer ${token}` };
  // A desktop application's PATH often lacks node and npx, which the servers in the configuration may be started by.
  const path =
    process.platform === "win32"
      ? {}
      : { PATH: [...new Set([dirname(node), "/usr/local/bin", "/usr/bin", "/bin"])].join(":") };
  const stdio = {
    command: node,
    args: [script, "gateway", "--config", config],
    env: { AEGIS_HOME: home, ...path },
  };
  return {
    claudeDesktop: pretty({ mcpServers: { [name]: stdio } }),
    claudeCode: `claude mcp add --transport http ${name} ${url} --header "Authorization: Bearer ${token}"`,
    cursor: pretty({ mcpServers: { [name]: { url, headers } } }),
    vsCode: pretty({ servers: { [name]: { type: "http", url, headers } } }),
  };
}

function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

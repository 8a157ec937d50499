// `npm start`: makes a scratch folder, starts the gateway in front of the reference filesystem server on it, says how
// to connect and how to decide, and ends everything it started on Ctrl-C.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const script = join(root, "dist/cli/main.js");
const config = join(root, "examples/start/aegis.yaml");
const home = process.env.AEGIS_HOME ? resolve(process.env.AEGIS_HOME) : join(homedir(), ".aegis");

// A path that is computed: what is built is not there yet when the types of this file are checked.
const { clientEntries } = await import(pathToFileURL(join(root, "dist/cli/client-entries.js")).href);

const http = readFlags();
const scratch = makeScratch();

// In a process group of its own: Ctrl-C reaches this process alone, which then ends the gateway in order, once.
const gateway = spawn(process.execPath, [script, "gateway", "--config", config, "--http", http], {
  stdio: ["ignore", "ignore", "pipe"],
  detached: process.platform !== "win32",
});
let said = "";
let listening = false;
gateway.stderr.on("data", (chunk) => {
  process.stderr.write(chunk);
  if (listening) return;
  said += chunk;
  const url = /listening on (http\S+)\n/.exec(said)?.[1];
  if (url === undefined) return;
  listening = true;
  console.log(instructions(url));
});
gateway.on("error", (error) => {
  console.error(`The gateway did not start: ${error.message}`);
  process.exitCode = 1;
});
gateway.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => gateway.kill("SIGTERM"));
// Whatever else ends this process: the gateway ends its own children when it is told to end.
process.on("exit", () => gateway.kill("SIGTERM"));

function readFlags() {
  try {
    const { values } = parseArgs({ options: { http: { type: "string", default: "127.0.0.1:8100" } } });
    return values.http;
  } catch (error) {
    console.error(
      `${error instanceof Error ? error.message : String(error)}\nUse: npm start -- [--http HOST:PORT]`,
    );
    return process.exit(2);
  }
}

/** Files that are there already stay as they are. */
function makeScratch() {
  const folder = join(root, "scratch");
  const samples = {
    "welcome.txt": "An agent may read this file. Changing it needs your approval.\n",
    "notes/todo.md": "- read this file\n- try to write one: the call waits for `aegis approve`\n",
    "data/prices.csv": "item,price\napple,1.20\npear,1.50\n",
  };
  for (const [name, text] of Object.entries(samples)) {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true });
    if (!existsSync(file)) writeFileSync(file, text);
  }
  return folder;
}

/** @param {string} url */
function instructions(url) {
  const token = readFileSync(join(home, "gateway.token"), "utf8").trim();
  const entries = clientEntries({ url, token, node: process.execPath, script, config, home });
  // Another terminal does not have the variable: without it the commands would speak to another home.
  const aegis = process.env.AEGIS_HOME ? `AEGIS_HOME=${quoted(home)} npx aegis` : "npx aegis";
  return `
The gateway is at  ${url}
Its token is       ${token}
It governs         ${relative(process.cwd(), scratch) || scratch}  (reading is allowed, changes wait for you)

Claude Desktop, in claude_desktop_config.json (it starts its own gateway on the same AEGIS_HOME):
${entries.claudeDesktop}

Claude Code, in a terminal:
${entries.claudeCode}

Cursor, in ~/.cursor/mcp.json:
${entries.cursor}

VS Code, in .vscode/mcp.json:
${entries.vsCode}

When a call is held, in another terminal in this folder:
  ${aegis} approvals          what waits, with its arguments
  ${aegis} approve ID         let it run, once   (or: deny ID)
  ${aegis} log --follow       every decision as it is made
  ${aegis} kill default       stop the agent at once   (revive default lets it go on)

Ctrl-C ends the gateway and everything it started.
`;
}

/** @param {string} text */
function quoted(text) {
  return /^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

import { Command, InvalidArgumentError, Option } from "commander";
import type { StartedThread } from "../backend/thread/threaded.js";
import { parseDuration } from "../duration.js";
import { version } from "../version.js";
import { type Command as CliCommand, type CommonOptions, type Context, createContext } from "./context.js";

/**
 * The command line: every command with its flags, and nothing of what they do. A command's file is imported when it is
 * run.
 *
 * @param startThread gives the thread in which a gateway's backend runs
 * @param exit is given the exit code of the command that ran
 */
export function buildProgram(
  embedded: Context["embedded"],
  startThread: () => StartedThread,
  exit: (code: number) => void,
): Command {
  const program = new Command("aegis")
    .description(
      "Governs MCP servers: every tool call is checked, recorded, and held where a person must decide.",
    )
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride();

  /** Connects a command to its file. */
  const starts = <Options extends CommonOptions>(
    command: Command,
    load: () => Promise<CliCommand<Options>>,
  ): void => {
    command.action(async () => {
      const options = command.opts<Options>();
      const context = createContext(options, embedded);
      exit(await (await load()).run(context, options, command.args));
    });
  };
  /** The same, for one that speaks to a backend. */
  const runs = <Options extends CommonOptions>(
    command: Command,
    load: () => Promise<CliCommand<Options>>,
  ): void => starts(command.option("--backend <url>", "the backend to speak to (default: embedded)"), load);
  const printing = (command: Command): Command => command.option("--json", "print JSON");

  runs(
    program
      .command("wrap")
      .description("govern one stdio server, and speak stdio")
      .usage("[options] -- COMMAND [ARG...]")
      .argument("<command>")
      .argument("[args...]")
      .passThroughOptions()
      .option("--agent <name>", "the agent this is for")
      .option("--server <key>", "what policies call the server (default: from the command)")
      .option("--policies <dir>", "the policies (default: AEGIS_HOME/policies)")
      .option("--allow-home", "start although the server can reach AEGIS_HOME; recorded"),
    async () => (await import("./wrap.js")).wrap(startThread()),
  );
  runs(
    program
      .command("gateway")
      .description("govern many servers, over stdio or HTTP")
      .requiredOption("--config <file>", "aegis.yaml, or a client's own JSON file")
      .option("--http <host:port>", "serve Streamable HTTP at /mcp and /mcp/KEY instead of stdio")
      .option("--agent <name>", "the agent this is for")
      .option("--policies <dir>", "the policies (default: the configuration's, else AEGIS_HOME/policies)")
      .option("--allow-home", "start although a server can reach AEGIS_HOME; recorded"),
    async () => (await import("./gateway.js")).gateway(startThread()),
  );
  starts(
    program
      .command("backend")
      .description("serve the API over HTTP: one backend for many gateways, SDKs and people")
      .option("--port <n>", "the port to listen on; 0 takes a free one", portNumber, 8000)
      .option("--host <host>", "the address to listen on; beyond this machine only with TLS", "127.0.0.1")
      .option("--policies <dir>", "put these policies in force (default: what is in force already)")
      .option("--database <url>", "postgres://… instead of the SQLite file in AEGIS_HOME")
      .option("--public-url <url>", "where clients reach it through a proxy")
      .option("--tls-cert <file>", "serve HTTPS: the certificate chain, PEM")
      .option("--tls-key <file>", "and its key, PEM")
      .option("--insecure", "listen beyond this machine without TLS")
      .option("--static <dir>", "serve the built files of a dashboard at /"),
    async () => (await import("./backend.js")).backend(startThread()),
  );

  runs(
    printing(program.command("kill"))
      .description("stop an agent at once")
      .argument("<agent>")
      .option("--reason <text>", "why, for the ledger", ""),
    () => import("./kill.js"),
  );
  runs(
    printing(program.command("revive"))
      .description("let a killed agent go on")
      .argument("<agent>")
      .option("--reason <text>", "why, for the ledger", ""),
    () => import("./revive.js"),
  );
  runs(
    printing(program.command("status")).description("show agents and live gateways").argument("[agent]"),
    () => import("./status.js"),
  );
  runs(
    printing(program.command("log"))
      .alias("logs")
      .description("show the ledger")
      .argument("[agent]")
      .option("--limit <n>", "how many records", wholeNumber, 20)
      .option("--follow", "go on with new records until interrupted"),
    () => import("./log.js"),
  );
  runs(
    printing(program.command("approvals"))
      .description("show what waits for a decision; of one approval, all of it")
      .argument("[id]")
      .option("--watch", "go on with new ones until interrupted")
      .option("--all", "also those that are decided or over"),
    () => import("./approvals/list.js"),
  );
  runs(
    printing(program.command("approve"))
      .description("let a held call run, once")
      .argument("<id>")
      .option("--reason <text>", "why, for the ledger", "")
      .option("--grant", "also let calls like it through, where the policy offers it")
      .option("--uses <n>", "with --grant: so many (default: as many as the policy offers)", wholeNumber)
      .option("--for <duration>", "with --grant: so long (default: as long as the policy offers)", duration),
    async () => (await import("./approvals/decide.js")).approve,
  );
  runs(
    printing(program.command("deny"))
      .description("refuse a held call")
      .argument("<id>")
      .option("--reason <text>", "why, for the ledger", ""),
    async () => (await import("./approvals/decide.js")).deny,
  );
  const grants = program
    .command("grants")
    .helpCommand(false)
    .enablePositionalOptions()
    .description("show what approvers have granted ahead, and take it back");
  runs(
    printing(grants).option("--all", "also those that are used up or over"),
    async () => (await import("./approvals/grants.js")).list,
  );
  runs(
    printing(grants.command("revoke"))
      .description("take a grant back at once")
      .argument("<id>")
      .option("--reason <text>", "why, for the ledger", ""),
    async () => (await import("./approvals/grants.js")).revoke,
  );

  const audit = program
    .command("audit")
    .helpCommand(false)
    .description("verify, export and rotate the ledger");
  /** One that may work on a store itself. */
  const audits = (command: Command): Command =>
    command
      .option("--database <url>", "postgres://… instead of the SQLite file in AEGIS_HOME")
      .option("--local", "the store in AEGIS_HOME, whichever backend is configured");
  runs(
    audits(printing(audit.command("verify")))
      .description("check every record, link and signature of the ledger, and its anchor")
      .option("--file <export>", "verify an export instead, without a database")
      .option("--key <file...>", "public keys to believe, PEM (default: AEGIS_HOME/ledger.pub)")
      .option("--anchor <file...>", "the anchors to compare (default: the configured ones)")
      .option("--no-anchor", "compare none")
      .option("--segments <dir>", "also verify what was rotated into this folder")
      .option("--allow-unsigned", "with --file: accept records behind its last signature"),
    () => import("./audit/verify.js"),
  );
  runs(
    audits(audit.command("export"))
      .description("write the ledger as text that verifies by itself")
      .addOption(new Option("--format <format>", "its form").choices(["jsonl", "csv"]).default("jsonl"))
      .option("--from <id>", "the first record (default: the oldest)", recordNumber)
      .option("--to <id>", "the last record (default: the newest); on to the signature over it", recordNumber)
      .option("--agent <name>", "only its records: such an export cannot be verified")
      .option("--out <file>", "where to (default: standard output)"),
    () => import("./audit/export.js"),
  );
  runs(
    audits(printing(audit.command("rotate")))
      .description("move the oldest records into segment files")
      .requiredOption("--before <age|id>", "records older than 90d, or with a smaller number", ageOrNumber)
      .option("--out <dir>", "the folder of the segments (default: AEGIS_HOME/segments)"),
    () => import("./audit/rotate.js"),
  );

  const policy = program.command("policy").helpCommand(false).description("check and explain policies");
  runs(
    printing(policy.command("check"))
      .description("look for errors in policy files, or folders of them, and for rules that do nothing")
      .argument("<path...>")
      .option("--strict", "a warning is an error"),
    () => import("./policy/check.js"),
  );
  runs(
    printing(policy.command("explain"))
      .description("say what would be decided, and by which rule")
      .requiredOption("--agent <name>", "the agent that would call")
      .requiredOption("--action <server__tool>", "what it would call")
      .option("--args <json>", "the arguments it would give")
      .option("--client <name@version>", "what the client would call itself")
      .option("--now <time>", "when it would call, such as 2026-01-05T10:00:00Z (default: now)")
      .option("--policies <dir>", "the policies (default: AEGIS_HOME/policies)"),
    () => import("./policy/explain.js"),
  );
  starts(
    printing(policy.command("test"))
      .description("ask policies about cases, and compare what they decide")
      .argument("<path...>"),
    () => import("./policy/test.js"),
  );
  runs(
    printing(policy.command("replay"))
      .description("say what a policy would have decided about the recorded calls")
      .argument("<path>")
      .option("--limit <n>", "the newest so many calls (default: all)", wholeNumber)
      .option("--agent <name>", "only calls of this agent"),
    () => import("./policy/replay.js"),
  );
  runs(
    printing(policy.command("add"))
      .description("make a rule, from an approval or for an action; shows what changes first")
      .option("--from <approval>", "the approval it is made from", recordNumber)
      .option("--action <server__tool>", "instead: the action it is for")
      .option("--agent <name>", "and the agent")
      .option("--allow", "let such calls run")
      .option("--block", "refuse them")
      .option("--review", "leave them to a person")
      .option("--exact", "only with exactly these arguments")
      .option("--pattern <pattern>", "for more actions than this one, such as files__read_*")
      .option("--when <condition>", "only where this holds (CEL)")
      .option("--reason <text>", "why, for whoever is refused")
      .option("--policies <dir>", "the policies (default: AEGIS_HOME/policies)")
      .option("--file <file>", "the file to write to (default: that of the agent)")
      .option("--dry-run", "only show what would change")
      .option("--yes", "write it without asking"),
    () => import("./policy/add.js"),
  );

  const tools = program.command("tools").helpCommand(false).description("show and accept what servers offer");
  const ofAgent = (command: Command): Command =>
    printing(command).option("--agent <name>", "only what this agent is shown");
  runs(
    ofAgent(tools.command("list", { isDefault: true }))
      .description("show every tool, and whether somebody has accepted it")
      .option("--server <key>", "only of this server"),
    async () => (await import("./tools.js")).list,
  );
  runs(
    ofAgent(tools.command("diff"))
      .description("show what nobody has accepted, against what was there before")
      .argument("[server]")
      .argument("[tool]"),
    async () => (await import("./tools.js")).diff,
  );
  runs(
    ofAgent(tools.command("accept"))
      .description("show the same, and accept it as it is")
      .argument("<server>")
      .argument("[tool]")
      .option("--yes", "accept it without asking"),
    async () => (await import("./tools.js")).accept,
  );

  const token = program.command("token").helpCommand(false).description("make, list and revoke tokens");
  runs(
    printing(token.command("create"))
      .description("make a token; it is shown once")
      .addOption(
        new Option("--role <role>", "what it may do")
          .choices(["agent", "approver", "admin", "auditor"])
          .makeOptionMandatory(),
      )
      .requiredOption("--name <principal>", "whom it stands for")
      .option("--agent <name>", "the agent it is bound to (role agent; without it: any)")
      .option("--trust-declared", "what it declares about its agent may also allow (role agent)")
      .option("--group <group...>", "groups of the principal")
      .option("--expires <duration>", "when it ends: 45s 10m 1h 7d (default: never)", duration),
    async () => (await import("./token.js")).create,
  );
  runs(
    printing(token.command("list")).description("show all tokens, without their secrets"),
    async () => (await import("./token.js")).list,
  );
  runs(
    printing(token.command("revoke")).description("end a token at once").argument("<id>"),
    async () => (await import("./token.js")).revoke,
  );

  runs(
    printing(program.command("doctor"))
      .description("look for what is wrong, and say what is protected")
      .option("--config <file>", "also check this configuration")
      .option("--policies <dir>", "the policies (default: the configuration's, else AEGIS_HOME/policies)"),
    () => import("./doctor.js"),
  );
  return program;
}

function portNumber(text: string): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 65_536;
  if (value > 65_535) throw new InvalidArgumentError("It must be a port from 0 to 65535.");
  return value;
}

function wholeNumber(text: string): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("It must be a whole number from 1 to 999999.");
  return value;
}

function recordNumber(text: string): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("It must be the number of a record.");
  return value;
}

function ageOrNumber(text: string): { readonly age: number } | { readonly id: number } {
  if (/^\d+$/.test(text)) return { id: recordNumber(text) };
  return { age: duration(text) };
}

function duration(text: string): number {
  const value = parseDuration(text);
  if (value === null || value === 0)
    throw new InvalidArgumentError("It must be a duration such as 45s 10m 1h 7d.");
  return value;
}

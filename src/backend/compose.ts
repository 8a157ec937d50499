import type { LedgerConfig } from "../config-ledger.js";
import type { Logger } from "../log.js";
import type { PolicySet } from "../policy/policy.js";
import { Agents } from "./agents.js";
import { Approvals } from "./approvals/approvals.js";
import { ApprovalContexts } from "./approvals/context.js";
import { Deadlines } from "./approvals/deadlines.js";
import { ApprovalEnds } from "./approvals/ends.js";
import { OpenApprovals } from "./approvals/open-approvals.js";
import { Votes } from "./approvals/votes.js";
import { Batch } from "./batch.js";
import { Blocks } from "./blocks.js";
import { CallCounts } from "./decisions/counts.js";
import { Decisions } from "./decisions/decisions.js";
import { Digester } from "./decisions/digest.js";
import { Outcomes } from "./decisions/outcomes.js";
import { RunningCalls } from "./decisions/running-calls.js";
import { EventFeed, Events } from "./events.js";
import { Gateways } from "./gateways/gateways.js";
import { Membership } from "./gateways/membership.js";
import { OpenCalls } from "./gateways/open-calls.js";
import { RemoteGateways } from "./gateways/remote.js";
import { Grants } from "./grants/grants.js";
import { digestKey } from "./keys.js";
import { Anchors } from "./ledger/anchors.js";
import { Chain } from "./ledger/chain.js";
import { Checkpoints } from "./ledger/checkpoints.js";
import { warnOfForeignKeys } from "./ledger/foreign-keys.js";
import { Records } from "./ledger/read.js";
import { compilePaths } from "./ledger/redact-paths.js";
import { Signer } from "./ledger/signer.js";
import { Notifier, type Notify } from "./notify/notifier.js";
import { OwnPolicies, type PolicySource, PublishedPolicies } from "./policies.js";
import { SdkAgents } from "./sdk/agents.js";
import { Declarations } from "./sdk/declarations.js";
import { Sessions } from "./sessions.js";
import { GroupCommit } from "./store/commit.js";
import { Counters } from "./store/counters.js";
import { patiently } from "./store/patience.js";
import type { Store } from "./store/store.js";
import { openSafe, StoreKey } from "./store-key.js";
import { Sweep } from "./sweep.js";
import { Tokens } from "./tokens.js";
import { ToolPins } from "./tools/tool-pins.js";

export interface Composition {
  /** AEGIS_HOME: where the key is that signs the ledger. */
  readonly home: string;
  /** Others than this user can read the store. */
  readonly shared: boolean;
  readonly ledger: LedgerConfig;
  /** Who is told of the approvals that are opened here; left out: nobody. */
  readonly notify?: Notify;
  /** What is in force in this process; null takes the revision that is published in the store. */
  readonly policies: PolicySet | null;
  /** Milliseconds until an approval nobody decided expires, where no rule says. */
  readonly holdExpires: number;
  /** Milliseconds an ALLOW may be used by a gateway of this process, and by one that asks over HTTP. */
  readonly lease: { readonly local: number; readonly remote: number };
  readonly log: Logger;
}

/** Everything a backend consists of, over one store. */
export interface Parts {
  readonly store: Store;
  readonly commit: GroupCommit<Batch>;
  readonly agents: Agents;
  readonly approvals: Approvals;
  readonly contexts: ApprovalContexts;
  readonly decisions: Decisions;
  readonly ends: ApprovalEnds;
  readonly events: Events;
  readonly checkpoints: Checkpoints;
  readonly feed: EventFeed;
  readonly gateways: Gateways;
  readonly grants: Grants;
  readonly membership: Membership;
  readonly notifier: Notifier;
  readonly ledger: LedgerConfig;
  readonly outcomes: Outcomes;
  readonly records: Records;
  readonly signer: Signer;
  readonly remote: RemoteGateways;
  readonly sdkAgents: SdkAgents;
  readonly sessions: Sessions;
  readonly tokens: Tokens;
  readonly tools: ToolPins;
  /** Null where this process has policies of its own. */
  readonly published: PublishedPolicies | null;
  /** Null where this process takes what is published in the store. */
  readonly own: OwnPolicies | null;
  readonly policies: PolicySource;
}

/** Puts the parts together and starts what runs by itself. */
export async function compose(store: Store, options: Composition): Promise<Parts> {
  const { log, holdExpires, lease, ledger } = options;
  const agents = new Agents(store);
  const events = new Events(store);
  const gateways = new Gateways(store);
  const tokens = new Tokens(store);
  const tools = new ToolPins(store);
  const openCalls = new OpenCalls();
  const running = new RunningCalls(store);
  const counts = new CallCounts(store, running);
  const counters = new Counters(store.writer);
  const blocks = new Blocks(store);
  const declarations = new Declarations(store, agents);
  const signer = new Signer(options.home);
  const chain = new Chain(store.writer, signer, ledger.checkpoint.records);
  const policies =
    options.policies === null ? new PublishedPolicies(store) : new OwnPolicies(options.policies);
  const own = policies instanceof OwnPolicies ? policies : null;
  const tables = { store, chain, agents, blocks, counters, events, gateways };

  const commit = new GroupCommit(
    store,
    (careful) => Batch.open(tables, careful),
    (batch) => {
      openCalls.committed(batch);
      checkpoints.committed(batch);
      notifier.committed(batch.opened);
      own?.took(batch);
      if (batch.eventful) feed.deliver();
    },
    log,
  );
  const notifier = new Notifier(store, options.notify ?? null, log);
  const anchors = new Anchors(store, ledger.anchor, log);
  const checkpoints = new Checkpoints(store, commit, anchors, ledger.checkpoint.every, log);
  const key = options.shared ? await StoreKey.of(options.home, store, commit) : null;
  const counted = new OpenApprovals(store);
  const deadlines = new Deadlines();
  const digester = new Digester(key?.digest ?? (await digestKey(store, commit)));
  const votes = new Votes(store);
  const grants = new Grants(store, digester, votes);
  const approvals = new Approvals(store, key ?? openSafe, counted, deadlines, votes, grants);
  const ends = new ApprovalEnds(store, counted, deadlines, grants);
  const membership = new Membership(commit, gateways, events, openCalls, lease.local, log);
  const sweep = new Sweep({ commit, ends, gateways, events, counts, running, store, log });
  const feed = new EventFeed(
    store,
    events,
    () => sweep.look(),
    (event) => membership.confirm(event),
    log,
  );
  feed.subscribe((event) => notifier.hear(event));
  feed.subscribe((event) => {
    if (event.kind === "token" || event.kind === "resync") tokens.forget();
  });

  const redactPaths = compilePaths(ledger.redact);
  const decisions = new Decisions(store, {
    policies,
    approvals,
    grants,
    tools,
    counts,
    declarations,
    digester,
    redactPaths,
    holdExpires,
    lease: (gateway) => (membership.has(gateway) ? lease.local : lease.remote),
  });
  const sdkAgents = new SdkAgents({
    store,
    commit,
    agents,
    approvals,
    blocks,
    counts,
    declarations,
    tokens,
    policies,
    digester,
    redactPaths,
    holdExpires,
  });
  const records = new Records(store.reader);
  if (options.shared) await patiently(store, () => warnOfForeignKeys(records, signer, log));
  await feed.start();
  checkpoints.start();
  return {
    store,
    checkpoints,
    ledger,
    signer,
    commit,
    agents,
    approvals,
    contexts: new ApprovalContexts(store),
    decisions,
    ends,
    events,
    feed,
    gateways,
    grants,
    membership,
    notifier,
    outcomes: new Outcomes(store, approvals, running),
    records,
    remote: new RemoteGateways(commit, gateways, events, lease.remote),
    sdkAgents,
    sessions: new Sessions(store, tokens),
    tokens,
    tools,
    published: policies instanceof PublishedPolicies ? policies : null,
    own,
    policies,
  };
}

/** Ends what {@link compose} began; what is queued is written. */
export async function decompose({
  store,
  checkpoints,
  commit,
  feed,
  membership,
  notifier,
}: Parts): Promise<void> {
  await feed.stop();
  await membership.leave();
  await checkpoints.stop();
  await commit.close();
  await notifier.close();
  await patiently(store, () => store.close());
}

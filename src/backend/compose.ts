import type { LedgerConfig } from "../config-ledger.js";
import type { Logger } from "../log.js";
import { policySet } from "../policy/load.js";
import type { PolicySet } from "../policy/policy.js";
import { Agents } from "./agents.js";
import { ApprovalEnds } from "./approval-ends.js";
import { Approvals } from "./approvals.js";
import { Batch } from "./batch.js";
import { Blocks } from "./blocks.js";
import { Deadlines } from "./deadlines.js";
import { Decisions } from "./decisions.js";
import { Declarations } from "./declarations.js";
import { Digester } from "./digest.js";
import { EventFeed, Events } from "./events.js";
import { Gateways } from "./gateways.js";
import { digestKey } from "./keys.js";
import { Anchors } from "./ledger/anchors.js";
import { Chain } from "./ledger/chain.js";
import { Checkpoints } from "./ledger/checkpoints.js";
import { warnOfForeignKeys } from "./ledger/foreign-keys.js";
import { Records } from "./ledger/read.js";
import { compilePaths } from "./ledger/redact-paths.js";
import { Signer } from "./ledger/signer.js";
import { Membership } from "./membership.js";
import { OpenApprovals } from "./open-approvals.js";
import { OpenCalls } from "./open-calls.js";
import { Outcomes } from "./outcomes.js";
import { fixedPolicies, type PolicySource, PublishedPolicies } from "./policies.js";
import { RemoteGateways } from "./remote-gateways.js";
import { SdkAgents } from "./sdk-agents.js";
import { GroupCommit } from "./store/commit.js";
import { Counters } from "./store/counters.js";
import { patiently } from "./store/patience.js";
import type { Store } from "./store/store.js";
import { openSafe, StoreKey } from "./store-key.js";
import { Sweep } from "./sweep.js";
import { Tokens } from "./tokens.js";

export interface Composition {
  /** AEGIS_HOME: where the key is that signs the ledger. */
  readonly home: string;
  /** Others than this user can read the store. */
  readonly shared: boolean;
  readonly ledger: LedgerConfig;
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
  readonly decisions: Decisions;
  readonly ends: ApprovalEnds;
  readonly events: Events;
  readonly checkpoints: Checkpoints;
  readonly feed: EventFeed;
  readonly gateways: Gateways;
  readonly membership: Membership;
  readonly ledger: LedgerConfig;
  readonly outcomes: Outcomes;
  readonly records: Records;
  readonly signer: Signer;
  readonly remote: RemoteGateways;
  readonly sdkAgents: SdkAgents;
  readonly tokens: Tokens;
  /** Null where this process has policies of its own. */
  readonly published: PublishedPolicies | null;
  readonly policies: PolicySource;
}

/** Puts the parts together and starts what runs by itself. */
export async function compose(store: Store, options: Composition): Promise<Parts> {
  const { log, holdExpires, lease, ledger } = options;
  const agents = new Agents(store);
  const events = new Events(store);
  const gateways = new Gateways(store);
  const tokens = new Tokens(store);
  const openCalls = new OpenCalls();
  const counters = new Counters(store.writer);
  const blocks = new Blocks(store);
  const declarations = new Declarations(store, agents);
  const signer = new Signer(options.home);
  const chain = new Chain(store.writer, signer, ledger.checkpoint.records);
  const tables = { store, chain, agents, blocks, counters, events, gateways };

  const commit = new GroupCommit(
    store,
    (careful) => Batch.open(tables, careful),
    (batch) => {
      openCalls.committed(batch);
      checkpoints.committed(batch);
      if (batch.eventful) feed.deliver();
    },
    log,
  );
  const anchors = new Anchors(store, ledger.anchor, log);
  const checkpoints = new Checkpoints(store, commit, anchors, ledger.checkpoint.every, log);
  const key = options.shared ? await StoreKey.of(options.home, store, commit) : null;
  const counted = new OpenApprovals(store);
  const deadlines = new Deadlines();
  const approvals = new Approvals(store, key ?? openSafe, counted, deadlines);
  const ends = new ApprovalEnds(store, counted, deadlines);
  const membership = new Membership(commit, gateways, events, openCalls, lease.local, log);
  const sweep = new Sweep(commit, ends, gateways, events, store, log);
  const feed = new EventFeed(
    store,
    events,
    () => sweep.look(),
    (event) => membership.confirm(event),
    log,
  );
  feed.subscribe((event) => {
    if (event.kind === "token" || event.kind === "resync") tokens.forget();
  });

  const redactPaths = compilePaths(ledger.redact);
  const digester = new Digester(key?.digest ?? (await digestKey(store, commit)));
  const published = options.policies === null ? new PublishedPolicies(store) : null;
  const policies = published ?? fixedPolicies(options.policies ?? policySet([]));
  const decisions = new Decisions(store, {
    policies,
    approvals,
    declarations,
    tokens,
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
    decisions,
    ends,
    events,
    feed,
    gateways,
    membership,
    outcomes: new Outcomes(store, approvals),
    records,
    remote: new RemoteGateways(commit, gateways, events, lease.remote),
    sdkAgents,
    tokens,
    published,
    policies,
  };
}

/** Ends what {@link compose} began; what is queued is written. */
export async function decompose({ store, checkpoints, commit, feed, membership }: Parts): Promise<void> {
  await feed.stop();
  await membership.leave();
  await checkpoints.stop();
  await commit.close();
  await patiently(store, () => store.close());
}

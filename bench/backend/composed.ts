import { compose, type Parts } from "../../src/backend/compose.js";
import type { Store } from "../../src/backend/store/store.js";
import { ledgerDefaults } from "../../src/config-ledger.js";
import { createLogger } from "../../src/log.js";
import { parsePolicy, policySet } from "../../src/policy/file/load.js";

export const agent = "claude-desktop";

/** A backend over this store, without the thread and the network it has in the product. */
export async function composed(store: Store, home: string): Promise<Parts> {
  const text = `agent: ${agent}\nallow: [files__read_text_file]\n`;
  const policies = policySet([parsePolicy(text, "claude.yaml", { bareNames: false })]);
  const parts = await compose(store, {
    home,
    shared: false,
    ledger: ledgerDefaults(home),
    policies,
    holdExpires: 60_000,
    lease: { local: 200, remote: 2_000 },
    log: createLogger("silent"),
  });
  await parts.commit.write((batch) => parts.agents.ensure(batch, agent, null));
  return parts;
}

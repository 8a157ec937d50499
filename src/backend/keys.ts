import { randomBytes } from "node:crypto";
import type { Batch } from "./batch.js";
import type { GroupCommit } from "./store/commit.js";
import type { Store } from "./store/store.js";

/** The key of the digests: made by whichever process comes first, the same for all of them from then on. */
export async function digestKey({ writer }: Store, commit: GroupCommit<Batch>): Promise<Uint8Array> {
  const select = writer.prepare("SELECT value FROM keys WHERE name = 'digest'");
  const insert = writer.prepare("INSERT INTO keys (name, value) VALUES ('digest', ?) ON CONFLICT DO NOTHING");
  const { value } = await commit.write(async () => {
    await insert.run(randomBytes(32));
    return (await select.get()) as { value: Uint8Array };
  });
  return value;
}

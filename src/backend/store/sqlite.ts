import { type Connection, loadDriver } from "./driver.js";
import { isBusy, openingFault } from "./faults.js";
import { migrate } from "./migrations.js";
import { patiently } from "./patience.js";

/**
 * On every connection. FULL: without it a commit in WAL mode is not on the disk when it returns. No busy handler: it
 * would sleep in the event loop; `patience.ts` waits instead. `secure_delete` overwrites the arguments of an approval
 * that ended, in the file with the next checkpoint.
 */
const pragmas = `
  PRAGMA busy_timeout = 0;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA secure_delete = ON;
  PRAGMA trusted_schema = OFF;
  PRAGMA journal_size_limit = 67108864;
`;

/**
 * Opens the database at `path`, in the newest schema.
 *
 * @throws AegisError `store_newer`, `store_corrupt`, `backend_unsupported`; `backend_unavailable` where another process
 *   held the lock for 2 s or the disk fails
 */
export async function openSqlite(path: string): Promise<Connection> {
  const driver = await loadDriver();
  return patiently(() => {
    let connection: Connection | undefined;
    try {
      connection = driver.open(path);
      connection.exec(pragmas);
      migrate(connection, path);
      return connection;
    } catch (thrown) {
      connection?.close();
      throw isBusy(thrown) ? thrown : openingFault(path, thrown);
    }
  });
}

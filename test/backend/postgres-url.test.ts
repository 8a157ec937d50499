import { describe, expect, test } from "vitest";
import { openPostgres } from "../../src/backend/store/postgres.js";
import { numbered } from "../../src/backend/store/postgres-statements.js";
import { readPostgresUrl } from "../../src/backend/store/postgres-url.js";
import { AegisError } from "../../src/errors.js";
import { createLogger } from "../../src/log.js";

const secret = "hunter22-secret";

describe("the URL of a database", () => {
  test.each([
    ["postgres://ada:hunter22-secret@db.example.com/aegis", "postgres://db.example.com:5432/aegis"],
    ["postgresql://ada@db.example.com:6432/aegis?application_name=x", "postgres://db.example.com:6432/aegis"],
    ["postgres://ada:hunter22-secret@[::1]:5433/aegis", "postgres://[::1]:5433/aegis"],
    ["postgres://ada@localhost/aegis?host=/var/run/postgresql", "postgres:///aegis?host=/var/run/postgresql"],
    ["postgres://ada@/aegis?host=/var/run/postgresql", "postgres:///aegis?host=/var/run/postgresql"],
    [
      "postgres://db.example.com/aegis?user=ada&password=hunter22-secret",
      "postgres://db.example.com:5432/aegis",
    ],
    [
      "postgres://db.example.com/aegis?sslmode=disable&aegis_listen=off",
      "postgres://db.example.com:5432/aegis",
    ],
  ])("%s is described without what is secret", (url, description) => {
    expect(readPostgresUrl(url).description).toBe(description);
  });

  test("says whether the database can tell what happens; pg does not see that", () => {
    const url = "postgres://db.example.com/aegis";
    expect(readPostgresUrl(url)).toMatchObject({ listen: true, config: { connectionString: url } });
    expect(readPostgresUrl(`${url}?aegis_listen=on`)).toMatchObject({
      listen: true,
      config: { connectionString: url },
    });
    expect(readPostgresUrl(`${url}?aegis_listen=off`)).toMatchObject({
      listen: false,
      config: { connectionString: url },
    });
    expect(readPostgresUrl(`${url}?sslmode=disable&aegis_listen=off&port=1`)).toMatchObject({
      listen: false,
      config: { connectionString: `${url}?sslmode=disable&port=1` },
    });
  });

  test.each([
    "mysql://ada:hunter22-secret@db/aegis",
    "db.example.com",
    "",
    "postgres://ada:hunter22-secret@db:notaport/aegis",
    "postgres://ada:hunter22-secret@db/aegis?sslrootcert=/nowhere/ca.pem",
    "postgres://ada:hunter22-secret@db/aegis?aegis_listen=maybe",
    "postgres://ada:hunter22-secret@db/aegis?aegis_lsten=off",
  ])("%s is refused, and not repeated", async (url) => {
    const thrown: unknown = await openPostgres(url, { log: createLogger("silent") }).catch(
      (error: unknown) => error,
    );
    expect(thrown).toBeInstanceOf(AegisError);
    expect(thrown).toMatchObject({ code: "usage", hint: expect.stringContaining("postgres://") });
    expect(everything(thrown)).not.toContain(secret);
  });

  test.each([
    "postgres://ada:hunter22-secret@127.0.0.1:1/aegis",
    "postgres://ada:hunter22-secret@localhost/aegis?host=/nowhere",
  ])("%s, where nothing answers, says what is missing without what is secret", async (url) => {
    const thrown: unknown = await openPostgres(url, { log: createLogger("silent") }).catch(
      (error: unknown) => error,
    );
    expect(thrown).toMatchObject({
      code: "backend_unavailable",
      message: expect.stringMatching(/aegis.* could not be opened: connect (ECONNREFUSED|ENOENT)/),
      hint: expect.stringContaining("PostgreSQL runs"),
    });
    expect(everything(thrown)).not.toContain(secret);
  });
});

/** All that could reach a log: own properties and causes, also those that are hidden. */
function everything(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const own = Object.getOwnPropertyNames(thrown).map((name) => String(Reflect.get(thrown, name)));
  return `${own.join("\n")}\n${thrown.cause === undefined ? "" : everything(thrown.cause)}`;
}

test.each([
  ["SELECT 1", "SELECT 1"],
  ["SELECT ?, ? + ?", "SELECT $1, $2 + $3"],
  ["SELECT '?', \"?\", 'it''s ?', ?", "SELECT '?', \"?\", 'it''s ?', $1"],
  ["a = ? AND b = '?' AND c = ?", "a = $1 AND b = '?' AND c = $2"],
])("%s is written for PostgreSQL as %s", (sql, expected) => {
  expect(numbered(sql)).toBe(expected);
});

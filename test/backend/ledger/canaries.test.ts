import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { linesOfFile, rowsOf } from "../../fixtures/backend/ledger.js";
import { intent, makeHome, open, outcomeOf, person } from "../../fixtures/backend/store.js";

/** A secret of its own for every way in. */
let made = 0;
const canaries: string[] = [];
function canary(): string {
  const text = `CANARY${(++made).toString().padStart(2, "0")}zQ8vX2mK4pR7`;
  canaries.push(text);
  return text;
}

const jwt = (text: string): string => `eyJhbGciOiJIUzI1NiJ9.${text}.${text}`;

/** Where secrets turn up in the arguments of a call. */
function secretArguments(): Record<string, unknown> {
  return {
    password: canary(),
    nested: { deep: [{ api_key: canary() }, { inner: { clientSecret: canary() } }] },
    headers: { Authorization: `Bearer ${canary()}`, Cookie: `sid=${canary()}`, "X-Api-Key": canary() },
    env: { GITHUB_TOKEN: canary(), AWS_SECRET_ACCESS_KEY: canary() },
    command: `curl -H "Authorization: Basic ${canary()}" https://x --password=${canary()}`,
    url: `https://user:${canary()}@example.com/path`,
    database: `postgres://${canary()}@db/prod`,
    jwt: `token is ${jwt(canary())}`,
    key: `-----BEGIN PRIVATE KEY-----\n${canary()}\n-----END PRIVATE KEY-----`,
    openai: `use sk-${canary()} for it`,
    github: `ghp_${canary()}`,
    slack: `xoxb-${canary()}`,
    google: `AIza${canary()}0123456789abcdef`,
    base64: `Basic ${Buffer.from(`user:${canary()}`).toString("base64")}`,
    [`sk-${canary()}`]: "a secret as a key",
    list: [[[`gitlab glpat-${canary()}`]]],
    json: JSON.stringify({ password: canary() }),
    otp: Number(`4242${made}4242`),
    // Configured.
    customer: { ssn: canary(), card: { number: canary(), holder: canary() } },
    rows: [{ iban: canary() }, { iban: canary() }],
  };
}

const sentence = (): string =>
  `failed for https://me:${canary()}@host with api_key=${canary()} and ghp_${canary()}`;

test("no secret that shows by its name, its form or a configured path is in the ledger, its anchor or its export", async () => {
  const place = makeHome();
  mkdirSync(place.home, { mode: 0o700 });
  const paths = "[arguments.customer.ssn, customer.card, 'rows.*.iban']";
  writeFileSync(
    join(place.home, "config.yaml"),
    `ledger: { redact: ${paths}, checkpoint: { records: 5 } }\n`,
  );
  const embedded = await open(place);
  const gateway = await embedded.attach({ pid: process.pid, label: "wrap files", address: null });
  const args = secretArguments();
  const text = JSON.stringify(args);
  // ALLOW, BLOCK, REVIEW: the arguments are in each decision.
  const calls = ["read", "delete", "write"].map((tool) => intent(gateway, tool, text));
  for (const call of calls) {
    await embedded.decide(call);
    embedded.outcome(outcomeOf(call, { reason: sentence() }));
  }
  const [approval] = await embedded.approvals({ status: "pending" });
  await embedded.decideApproval(approval?.id ?? 0, "denied", person(), sentence());
  for (const kind of ["refused", "login_refused", "gateway", "server"] as const)
    await embedded.note({ kind, action: `token=${canary()}`, reason: sentence() });
  await embedded.kill("claude-desktop", person(), sentence());
  await embedded.revive("claude-desktop", person(), sentence());
  await embedded.createToken({ name: "bob", role: "approver" }, person());
  await embedded.revokeToken(1, person());
  await embedded.report(
    { agent: "claude-desktop", action: "pay", status: "ALLOWED", details: sentence() },
    person(),
  );
  await embedded.report(
    { agent: "claude-desktop", action: "think", status: "THOUGHT", details: sentence() },
    person(),
  );
  await embedded.requestApproval("claude-desktop", "pay", JSON.stringify(secretArguments()), person());
  await embedded.close();

  const rows = await rowsOf(place.home);
  const kinds = new Set(rows.map(({ body }) => (JSON.parse(body) as { kind: string }).kind));
  for (const kind of [
    "decision",
    "outcome",
    "approval",
    "kill",
    "revive",
    "token",
    "refused",
    "report",
    "thought",
  ])
    expect(kinds).toContain(kind);
  expect(canaries.length).toBeGreaterThan(40);
  const ledger = [
    ...rows.flatMap(({ body, agent, key }) => [body, agent ?? "", key ?? ""]),
    ...linesOfFile(join(place.home, "ledger.anchor")),
  ];
  // As it is, as base64, and as the numbers of a one-time password.
  for (const row of ledger) expect(row).not.toContain("4242");
  for (const secret of canaries) {
    const forms = [
      secret,
      ...[0, 1, 2].map((shift) =>
        Buffer.from(" ".repeat(shift) + secret)
          .toString("base64")
          .slice(4, -4),
      ),
    ];
    for (const form of forms) {
      for (const row of ledger) expect(row.includes(form), `${secret} in ${row}`).toBe(false);
    }
  }
  // The digest binds the arguments as they were, and is keyed: the same call has the same one.
  const decisions = rows
    .map(({ body }) => JSON.parse(body) as Record<string, unknown>)
    .filter(({ kind }) => kind === "decision");
  expect(decisions.every(({ digest }) => /^[0-9a-f]{64}$/.test(String(digest)))).toBe(true);
  expect(String(decisions[0]?.arguments)).toContain('"customer":{"ssn":"[redacted]","card":"[redacted]"}');
  place.remove();
});

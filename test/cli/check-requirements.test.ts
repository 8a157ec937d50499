import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { requirePeople } from "../../src/cli/policy/check-requirements.js";
import { publishPolicies } from "../../src/cli/policy/publish.js";
import { createLogger } from "../../src/log.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { makeHome, person } from "../fixtures/backend/store.js";

let root: string;
let place: ReturnType<typeof makeHome>;
let service: Service;
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "aegis-requirements-"));
  place = makeHome();
  service = await openBackend({ home: place.home, holdExpires: 60_000, log: createLogger("silent") });
});
afterEach(async () => {
  await service.close();
  place.remove();
  rmSync(root, { recursive: true, force: true });
});

async function check(terms: string, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const text = `agent: bot\nreview:\n  - { action: mail__send, approval: ${terms} }\n`;
  writeFileSync(join(root, "bot.yaml"), text);
  await requirePeople(await loadPolicies(root, { bareNames: false }), service, place.home, env);
}

async function token(name: string, groups: readonly string[] = []): Promise<number> {
  return (await service.createToken({ name, role: "approver", groups }, person())).id;
}

const invalid = { code: "policy_invalid" };

describe("a policy whose approvals nobody can give is refused at start:", () => {
  test("a group without people, until there is one", async () => {
    await token("ann", ["sales"]);
    await expect(check("{ approvers: [mail-team] }")).rejects.toMatchObject({
      ...invalid,
      message: expect.stringContaining("bot.yaml:3 review mail__send"),
      hint: expect.stringContaining("aegis token create --role approver --name NAME --group mail-team"),
    });
    await token("bob", ["mail-team"]);
    await check("{ approvers: [mail-team] }");
  });

  test("a quorum of more people than there are, however many tokens one of them has", async () => {
    await check("{ quorum: 1 }");
    await expect(check("{ quorum: 2 }")).rejects.toMatchObject(invalid);
    await token("bob");
    await check("{ quorum: 2 }");
    await token("bob", ["mail-team"]);
    await expect(check("{ quorum: 3 }")).rejects.toMatchObject(invalid);
  });

  test("tokens that were revoked count for nobody", async () => {
    const id = await token("bob", ["mail-team"]);
    await check("{ approvers: [mail-team] }");
    await service.revokeToken(id, person());
    await expect(check("{ approvers: [mail-team] }")).rejects.toMatchObject(invalid);
  });

  test("not where an issuer vouches for people that are not known here", async () => {
    const oidc = "oidc: { issuer: 'https://id.example.com', audience: aegis }\n";
    writeFileSync(join(place.home, "config.yaml"), oidc, { mode: 0o600 });
    await check("{ approvers: [mail-team] }");
  });
});

test("a backend keeps what is in force when a token is revoked, and refuses what is new", async () => {
  const write = (terms: string): void =>
    writeFileSync(
      join(root, "bot.yaml"),
      `agent: bot\nreview:\n  - { action: mail__send, approval: ${terms} }\n`,
    );
  write("{ approvers: [mail-team] }");
  await expect(publishPolicies(service, place.home, root)).rejects.toMatchObject(invalid);
  expect(await service.policy()).toBeNull();
  const id = await token("bob", ["mail-team"]);
  await publishPolicies(service, place.home, root);
  await service.revokeToken(id, person());
  expect((await publishPolicies(service, place.home, root)).said).toContain("stays in force");
  write("{ approvers: [mail-team], quorum: 2 }");
  await expect(publishPolicies(service, place.home, root)).rejects.toMatchObject(invalid);
});

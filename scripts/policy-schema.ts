/** `tsx scripts/policy-schema.ts`: writes policies/policy.schema.json, from which editors complete policy files. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { policyJsonSchema } from "../src/policy/file/json-schema.js";
import { casesJsonSchema } from "../src/policy/trial/cases.js";

const path = fileURLToPath(new URL("../policies/policy.schema.json", import.meta.url));
writeFileSync(path, `${JSON.stringify(policyJsonSchema(), null, 2)}\n`);

const cases = fileURLToPath(new URL("../policies/policy-test.schema.json", import.meta.url));
writeFileSync(cases, `${JSON.stringify(casesJsonSchema(), null, 2)}\n`);

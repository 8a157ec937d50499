// Runs dependency-cruiser over src/ and fails when it finds a forbidden import, or no module at all.
import { cruise } from "dependency-cruiser";
import extractConfig from "dependency-cruiser/config-utl/extract-depcruise-config";
import extractTSConfig from "dependency-cruiser/config-utl/extract-ts-config";

const config = await extractConfig("./.dependency-cruiser.cjs");
const result = await cruise(
  ["src"],
  { ...config.options, ruleSet: { forbidden: config.forbidden ?? [] }, validate: true },
  undefined,
  { tsConfig: extractTSConfig("./tsconfig.json") },
);
if (typeof result.output === "string") throw new Error(result.output);
const { modules, summary } = result.output;
for (const violation of summary.violations) {
  console.error(`${violation.rule.severity} ${violation.rule.name}: ${violation.from} → ${violation.to}`);
}
const own = modules.filter((module) => module.source.startsWith("src/")).length;
if (own === 0) {
  console.error("dependency-cruiser saw no module in src/: its result means nothing");
  process.exit(1);
}
console.log(`${own} modules, ${summary.violations.length} forbidden imports`);
process.exit(summary.error > 0 ? 1 : 0);

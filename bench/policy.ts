/**
 * What one decision takes under 10 rules and under 10,000, side by side: `npm run bench -- policy [--quick]`. In
 * process, without a store: the part of a call that is policy's.
 */
import { argv } from "node:process";
import { decide } from "../src/policy/decide.js";
import { parsePolicy, policySet } from "../src/policy/file/load.js";
import type { PolicySet, Question } from "../src/policy/policy.js";

const few = 10;
const many = 10_000;
const quick = argv.includes("--quick");
const rounds = quick ? 5 : 21;
const decisions = quick ? 20_000 : 100_000;

/** Half of the rules name their tool, half have a star; those of one server are a fiftieth. */
function policies(rules: number, when: string | null): PolicySet {
  const entries = Array.from({ length: rules }, (_, index) => {
    const server = `server${index % Math.max(1, rules / 50)}`;
    const action = index % 2 === 0 ? `${server}__tool_${index}` : `${server}__get_${index}_*`;
    return when === null ? `  - "${action}"` : `  - { action: "${action}", when: '${when}' }`;
  });
  // Files may be as large as 1 MiB.
  const size = 2_000;
  const files = Array.from({ length: Math.ceil(rules / size) }, (_, number) =>
    ["agent: claude", "allow:", ...entries.slice(number * size, (number + 1) * size)].join("\n"),
  );
  return policySet(files.map((text, number) => parsePolicy(text, `${number}.yaml`, { bareNames: false })));
}

/** Calls of tools that rules name, that match a star, and that no rule speaks of. */
function questions(rules: number): readonly Question[] {
  return Array.from({ length: 600 }, (_, index): Question => {
    const rule = Math.floor((index * rules) / 1_200) * 2 + (index % 3 === 1 ? 1 : 0);
    const server = `server${rule % Math.max(1, rules / 50)}`;
    const tool = [`tool_${rule}`, `get_${rule}_x`, `other_${index}`][index % 3] ?? "";
    const args = { path: `/srv/docs/${index}.md`, amount: index, to: ["a@example.com", "b@example.com"] };
    return { agent: "claude", server, tool, action: `${server}__${tool}`, args };
  });
}

function at(asked: readonly Question[], index: number): Question {
  const question = asked[index % asked.length];
  if (question === undefined) throw new Error("nothing is asked");
  return question;
}

interface Measured {
  /** Microseconds a decision, of a whole round. */
  readonly mean: number[];
  /** Microseconds of single decisions. */
  readonly single: number[];
}

function round(set: PolicySet, asked: readonly Question[], into: Measured): void {
  const each = decisions / rounds;
  let index = 0;
  const next = () => at(asked, index++);
  const began = performance.now();
  for (let done = 0; done < each; done++) decide(set, next());
  into.mean.push(((performance.now() - began) * 1_000) / each);
  for (let done = 0; done < each; done++) {
    const question = next();
    const before = performance.now();
    decide(set, question);
    into.single.push((performance.now() - before) * 1_000);
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function microseconds(value: number): string {
  return `${value.toFixed(2)} µs`;
}

const conditions = [
  ["no conditions", null],
  ["a condition each", 'args.path.startsWith("/srv/docs/") && args.amount < 1000.0'],
  ["a search each", 'args.to.all(x, x.matches("^[a-z]+@example[.]com$"))'],
] as const;

console.log(`One decision, ${rounds} rounds of each, in turn; p50 and p99 of single decisions.`);
for (const [name, when] of conditions) {
  const sides = [few, many].map((rules) => ({
    rules,
    set: policies(rules, when),
    asked: questions(rules),
    measured: { mean: [], single: [] } as Measured,
  }));
  // Compiled, and warm.
  for (const { set, asked } of sides) round(set, asked, { mean: [], single: [] });
  for (let turn = 0; turn < rounds; turn++)
    for (const { set, asked, measured } of sides) round(set, asked, measured);
  const means = sides.map(({ measured }) => quantile(measured.mean, 0.5));
  console.log(`\n${name}`);
  for (const [index, { rules, measured }] of sides.entries()) {
    const cells = [
      `${rules.toLocaleString("en")} rules`.padEnd(14),
      `mean ${microseconds(means[index] ?? Number.NaN)}`.padEnd(16),
      `p50 ${microseconds(quantile(measured.single, 0.5))}`.padEnd(16),
      `p99 ${microseconds(quantile(measured.single, 0.99))}`,
    ];
    console.log(`  ${cells.join("  ")}`);
  }
  console.log(`  ratio ${((means[1] ?? Number.NaN) / (means[0] ?? Number.NaN)).toFixed(2)} (at most 2)`);
}

/** The first decision about an action looks its rules up: what a call of a tool never called before takes. */
const cold = policies(many, null);
decide(cold, at(questions(many), 0));
const first: number[] = [];
for (let index = 0; index < 2_000; index++) {
  const tool = `cold_${index}`;
  const server = `server${index % 200}`;
  const question = { agent: "claude", server, tool, action: `${server}__${tool}` };
  const before = performance.now();
  decide(cold, question);
  first.push((performance.now() - before) * 1_000);
}
console.log(`\nthe first decision about an action, ${many.toLocaleString("en")} rules`);
console.log(
  `  p50 ${microseconds(quantile(first, 0.5))}  p99 ${microseconds(quantile(first, 0.99))} (under 100 µs)`,
);

/**
 * `npm run bench`: the governed gateway (gateway.ts). `npm run bench -- backend`: the backend and its stores
 * (backend/run.ts). `npm run bench -- policy`: one decision (policy.ts). All take `--quick`.
 */
import { argv } from "node:process";

const [subject] = argv.slice(2);
if (subject === "backend") await import("./backend/run.js");
else if (subject === "policy") await import("./policy.js");
else await import("./gateway.js");

/** Imports point one way: cli → gateway, backend, client, policy; gateway → policy (types), client; backend → policy. */
const leaves = "^src/(data/)?[^/]+\\.ts$";
module.exports = {
  forbidden: [
    {
      name: "no-circular",
      comment: "Types may refer to each other; modules that need each other to run may not.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "leaves-import-only-leaves",
      comment: "The shared leaves (errors, log, ids, …) know nothing of the folders.",
      severity: "error",
      from: { path: leaves },
      to: { path: "^src/[^/]+/", pathNot: leaves },
    },
    {
      name: "frame-is-a-leaf",
      severity: "error",
      from: { path: "^src/frame/" },
      to: { path: "^src/", pathNot: ["^src/frame/", leaves] },
    },
    {
      name: "policy-is-a-leaf",
      severity: "error",
      from: { path: "^src/policy/" },
      to: { path: "^src/", pathNot: ["^src/policy/", leaves] },
    },
    {
      name: "the-decision-is-pure",
      comment: "Only load.ts reads files; a decision does no I/O.",
      severity: "error",
      from: { path: "^src/policy/", pathNot: "^src/policy/file/load\\.ts$" },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "client-knows-no-implementation",
      severity: "error",
      from: { path: "^src/client/" },
      to: { path: "^src/", pathNot: ["^src/client/", leaves] },
    },
    {
      name: "backend-imports",
      severity: "error",
      from: { path: "^src/backend/" },
      to: {
        path: "^src/",
        pathNot: ["^src/backend/", "^src/client/", "^src/policy/", "^src/frame/", leaves],
      },
    },
    {
      name: "gateway-imports",
      comment:
        "The gateway enforces what the backend decides: it sees the interface, never an implementation.",
      severity: "error",
      from: { path: "^src/gateway/" },
      to: { path: "^src/", pathNot: ["^src/gateway/", "^src/client/", "^src/frame/", leaves] },
    },
    {
      name: "nobody-imports-the-cli",
      severity: "error",
      from: { pathNot: "^src/cli/" },
      to: { path: "^src/cli/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
  },
};

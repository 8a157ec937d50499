import { createRequire } from "node:module";

const file = createRequire(import.meta.url)("aegis-sentinel/package.json") as { version: string };

/** The version of this package, asked by its name: wherever a build puts this module, that leads to the same file. */
export const { version } = file;

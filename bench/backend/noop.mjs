// @ts-check
/** A Fastify route that does nothing: it reads the same request and gives an answer of the same size. */
import Fastify from "fastify";

const verdict = {
  call: "",
  decision: "ALLOW",
  rule: "claude.yaml:2 allow files__read_text_file",
  reason: "Allowed by the rule claude.yaml:2 allow files__read_text_file.",
  revision: "7".repeat(64),
  record: 1_000_000,
  lease_ms: 2000,
};
const app = Fastify();
app.post("/v1/decisions", async (request) => ({
  ...verdict,
  call: /** @type {{ call: string }} */ (request.body).call,
}));
await app.listen({ host: "127.0.0.1", port: 0 });
const address = app.server.address();
process.send?.({ port: typeof address === "object" && address !== null ? address.port : 0 });
process.on("disconnect", () => process.exit(0));

import { visible } from "../visible.js";
import { type CommonOptions, type Context, withBackend } from "./context.js";
import { receiptJson } from "./json.js";

interface Options extends CommonOptions {
  readonly reason: string;
}

/** `aegis kill AGENT`: returns when every live gateway has stopped it, or its leases have run out. */
export async function run(
  context: Context,
  options: Options,
  [agent = ""]: readonly string[],
): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async ({ backend, by, kind }) => {
    const receipt = await backend.kill(agent, by, options.reason);
    const confirmed = receipt.gateways.filter((gateway) => gateway.confirmed);
    if (out.json) {
      out.document(receiptJson(receipt, backend.description));
    } else {
      const name = visible(agent);
      out.line(
        receipt.already
          ? `${name} was already killed.`
          : `${out.style("red", "Killed")} ${name}: none of its calls runs until \`aegis revive ${name}\`.`,
      );
      if (receipt.voided > 0) out.line(`Held calls ended: ${receipt.voided}.`);
      out.line(`Backend: ${visible(backend.description)}`);
      for (const gateway of receipt.gateways) {
        const how = gateway.confirmed ? "confirmed" : "did not confirm; its leases have run out";
        out.line(`Gateway ${visible(gateway.id)} (pid ${gateway.pid}): ${how}.`);
      }
      out.line(`Gateways that confirmed: ${confirmed.length} of ${receipt.gateways.length}.`);
    }
    if (kind === "original") {
      out.warn(
        "the original backend knows no gateways: none confirms. A call asks for itself; what is in flight is cancelled within about a second.",
      );
    } else if (receipt.gateways.length === 0) {
      out.warn(
        `this backend knows no live gateway. If the agent runs somewhere, its gateway uses another backend: compare ${kind === "embedded" ? "AEGIS_HOME" : "AEGIS_BACKEND_URL"}.`,
      );
    } else if (confirmed.length < receipt.gateways.length) {
      out.warn(
        "a gateway did not confirm. Its leases have run out, so it forwards nothing new; a call in flight may still finish.",
      );
    }
    return 0;
  });
}

import { visible } from "../visible.js";
import { type CommonOptions, type Context, withBackend } from "./context.js";
import { receiptJson } from "./json.js";
import { person } from "./person.js";

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
  return withBackend(context, options, async (backend) => {
    const receipt = await backend.kill(agent, person(), options.reason);
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
      const pids = confirmed.map((gateway) => gateway.pid).join(", ");
      const which = confirmed.length === 0 ? "" : ` (pid ${pids})`;
      out.line(`Gateways that confirmed: ${confirmed.length} of ${receipt.gateways.length}${which}.`);
    }
    if (receipt.gateways.length === 0) {
      out.warn(
        "this backend knows no live gateway. If the agent runs somewhere, its gateway uses another backend: compare AEGIS_HOME.",
      );
    } else if (confirmed.length < receipt.gateways.length) {
      out.warn(
        "a gateway did not confirm. Its leases have run out, so it forwards nothing new; a call in flight may still finish.",
      );
    }
    return 0;
  });
}

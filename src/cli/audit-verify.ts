import { visible } from "../visible.js";
import { type CommonOptions, type Context, withBackend } from "./context.js";

/** `aegis audit verify`: 0 where every link holds, 1 where one does not. */
export async function run(context: Context, options: CommonOptions): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async (backend) => {
    const report = await backend.verify();
    const { ok, records, head, broken, open } = report;
    if (out.json) {
      out.document({ ok, records, head, broken, open, backend: backend.description });
    } else if (ok) {
      const newest = head === "" ? "" : `; the newest has the hash ${head}`;
      out.line(`${out.style("green", "The ledger holds")}: ${records} records${newest}.`);
      if (open > 0) {
        out.line(
          `Allowed calls without an outcome: ${open}. They run now, or their gateway died and it is unknown.`,
        );
      }
    } else {
      const where = broken === null ? "" : ` at record ${broken.id}: ${visible(broken.reason)}`;
      out.line(`${out.style("red", "The ledger is broken")}${where}.`);
      out.line(
        `The ${records} records before it hold. Keep a copy of the store before anything else is done to it.`,
      );
    }
    return ok ? 0 : 1;
  });
}

import { z } from "zod";
import type { PinnedTool, Sighted, Sighting, ToolFilter } from "../backend.js";
import {
  foreignNameField,
  hashField,
  longestForeignName,
  nameField,
  textField,
  timeField,
} from "./fields.js";

/** Tools of one server. */
export const mostTools = 5_000;
/** Characters of one definition, and of a server's instructions. */
export const longestDefinition = 1_048_576;
/** Characters of definitions that one sighting carries; the others come with the next one. */
export const sightingText = 4_194_304;

/** Bytes of an answer with definitions: whoever lists all of a large house names a server instead. */
export const longestPinned = 64 * 1024 * 1024;

/** NUL, which a store cuts a text at, and half of a surrogate pair, which UTF-8 cannot write. */
const unwritable = /\0|\p{Cs}/u;

/** Whether a tool by this name can be spoken of at all. */
export function isToolName(name: string): boolean {
  return name !== "" && name.length <= longestForeignName && !unwritable.test(name);
}

const definitionField = z
  .string()
  .regex(/^[0-9a-f]{64}$/, { error: "Not a SHA-256 in hexadecimal digits." })
  .meta({ description: "SHA-256 (hex) over the definition in lossless canonical form." });
const stateField = z.enum(["accepted", "new", "added", "changed"]);

/** `POST /v1/tools/sightings`. */
export const sightingRequest = z.strictObject({
  agent: nameField,
  server: nameField.meta({ description: "The server's key in the gateway's configuration." }),
  tools: z
    .array(
      z.strictObject({
        name: foreignNameField.refine(isToolName, { error: "No name of a tool." }),
        definition: definitionField,
        text: textField(longestDefinition)
          .optional()
          .meta({ description: "The definition as the server gave it, JSON text: where it was asked for." }),
      }),
    )
    .max(mostTools),
  instructions: textField(longestDefinition)
    .nullable()
    .meta({ description: "The server's instructions; null where it gives none." }),
});

export const sightedAnswer = z.object({
  tools: z.array(
    z.object({
      name: z.string(),
      state: stateField,
      hidden: z.boolean().meta({
        description: "Not to be listed: nobody has accepted it as it is, and policy blocks it until then.",
      }),
    }),
  ),
  missing: z
    .array(z.string())
    .meta({ description: "Definitions that are not known here: to be sent again with their text." }),
});

/** `GET /v1/tools`. */
export const toolsQuery = z.strictObject({
  agent: nameField.optional(),
  server: nameField.optional(),
  tool: foreignNameField.optional().meta({ description: "Empty for the server's instructions." }),
});

const pinnedWire = z.object({
  agent: z.string(),
  server: z.string(),
  tool: z.string().meta({ description: "Empty for the server's instructions." }),
  state: stateField,
  flags: z.array(z.string()).meta({ description: "Why it may be taken for another tool, in sentences." }),
  definition: hashField,
  text: z.string().meta({ description: "What the server offers now, JSON text." }),
  before: z
    .object({ definition: hashField, text: z.string() })
    .nullable()
    .meta({ description: "What was accepted, or seen first; null where that is the same." }),
  seen_at: timeField,
  changed_at: timeField,
  accepted_at: timeField.nullable(),
  accepted_by: z.string().nullable(),
});

export type PinnedWire = z.infer<typeof pinnedWire>;

export const pinnedAnswer = z.object({ tools: z.array(pinnedWire) });

/** `POST /v1/tools/accept`. */
export const acceptRequest = z.strictObject({
  ...toolsQuery.shape,
  definitions: z
    .array(definitionField)
    .max(100_000)
    .meta({ description: "What the person has seen: anything else is left as it is." }),
});

export function sightingToWire({
  agent,
  server,
  tools,
  instructions,
}: Sighting): z.input<typeof sightingRequest> {
  return { agent, server, tools: [...tools], instructions };
}

export function sightingFromWire(wire: z.output<typeof sightingRequest>): Sighting {
  const tools = wire.tools.map(({ text, ...offer }) => (text === undefined ? offer : { ...offer, text }));
  return { ...wire, tools };
}

export function sightedToWire({ tools, missing }: Sighted): z.input<typeof sightedAnswer> {
  return { tools: [...tools], missing: [...missing] };
}

export function filterFromWire({ agent, server, tool }: z.output<typeof toolsQuery>): ToolFilter {
  return {
    ...(agent === undefined ? {} : { agent }),
    ...(server === undefined ? {} : { server }),
    ...(tool === undefined ? {} : { tool }),
  };
}

export function pinnedToWire(pinned: PinnedTool): PinnedWire {
  const { seenAt, changedAt, acceptedAt, acceptedBy, flags, ...rest } = pinned;
  return {
    ...rest,
    flags: [...flags],
    seen_at: seenAt,
    changed_at: changedAt,
    accepted_at: acceptedAt,
    accepted_by: acceptedBy,
  };
}

export function pinnedFromWire(wire: PinnedWire): PinnedTool {
  const { seen_at, changed_at, accepted_at, accepted_by, ...rest } = wire;
  return {
    ...rest,
    seenAt: seen_at,
    changedAt: changed_at,
    acceptedAt: accepted_at,
    acceptedBy: accepted_by,
  };
}

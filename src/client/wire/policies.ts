import { z } from "zod";
import { nameField, textField, timeField } from "./fields.js";

const revisionFields = {
  revision: z.string().meta({ description: "SHA-256 (hex); what records name." }),
  published_at: timeField,
  published_by: z.string(),
};

const documentWire = z.strictObject({
  name: nameField.meta({ description: "The file's name." }),
  text: textField(1024 * 1024).meta({ description: "YAML." }),
});

/** `PUT /v1/policies`: all documents of the new revision. */
export const publishRequest = z.strictObject({ documents: z.array(documentWire).max(1_000) });

export const policyWire = z.object({ ...revisionFields, documents: z.array(documentWire) });

/** `GET /v1/policies`: the revision in force; null before the first was published. */
export const policyAnswer = z.object({ policy: policyWire.nullable() });

/** `GET /v1/policies/revisions`: newest first, without their documents. */
export const revisionsAnswer = z.object({ revisions: z.array(z.object(revisionFields)) });

interface Published {
  readonly revision: string;
  readonly publishedAt: string;
  readonly publishedBy: string;
}

export function revisionToWire(published: Published): z.infer<z.ZodObject<typeof revisionFields>> {
  const { revision, publishedAt, publishedBy } = published;
  return { revision, published_at: publishedAt, published_by: publishedBy };
}

type Documents = ReadonlyArray<{ readonly name: string; readonly text: string }>;

export function policyToWire(
  policy: Published & { readonly documents: Documents },
): z.infer<typeof policyWire> {
  return { ...revisionToWire(policy), documents: policy.documents.map(({ name, text }) => ({ name, text })) };
}

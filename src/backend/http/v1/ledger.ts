import type { VerifyReport } from "../../../client/backend.js";
import { noQuery } from "../../../client/wire/fields.js";
import {
  filterFromQuery,
  keyAnswer,
  ledgerQuery,
  recordsAnswer,
  verifyAnswer,
} from "../../../client/wire/ledger.js";
import type { RegisterRoutes } from "../app.js";

/** The ledger's read side. */
export const ledgerRoutes: RegisterRoutes = (app, { service }) => {
  app.get(
    "/v1/ledger",
    {
      schema: {
        summary: "Records",
        description:
          "The newest `limit`, oldest of them first; with `after`, the first `limit` behind that id.",
        querystring: ledgerQuery,
        response: { 200: recordsAnswer },
      },
    },
    async (request) => ({ records: [...(await service.records(filterFromQuery(request.query)))] }),
  );

  let verifying: Promise<VerifyReport> | null = null;
  app.get(
    "/v1/ledger/verify",
    {
      schema: {
        summary: "Check every link of the chain",
        description: "Reads the whole ledger; whoever asks while a check runs gets its report.",
        querystring: noQuery,
        response: { 200: verifyAnswer },
      },
    },
    async () => {
      verifying ??= service.verify().finally(() => {
        verifying = null;
      });
      return { ...(await verifying) };
    },
  );

  app.get(
    "/v1/ledger/key",
    {
      schema: {
        summary: "The key that signs the checkpoints",
        querystring: noQuery,
        response: { 200: keyAnswer },
      },
    },
    async () => ({ public_key: await service.publicKey() }),
  );
};

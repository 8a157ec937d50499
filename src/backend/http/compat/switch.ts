import type { Principal } from "../../../client/backend.js";
import { AegisError } from "../../../errors.js";
import type { Service } from "../../service.js";
import { HttpError } from "../errors.js";

/**
 * PAUSED is the kill switch and ACTIVE undoes it, for admins; everything else is what an agent says of itself. A status
 * that is none, or an agent that nobody knows, is never answered with success (threat Z14).
 *
 * @throws AegisError `unknown_agent`, `not_permitted`; HttpError 400 where the status is none
 */
export async function setStatus(
  service: Service,
  agent: string,
  status: string,
  by: Principal,
): Promise<void> {
  switch (status) {
    case "PAUSED":
      if (by.role !== "admin") throw notAdmin("kill");
      await service.kill(agent, by, "");
      return;
    case "ACTIVE":
      if (by.role === "admin") await service.revive(agent, by, "");
      await service.setLifecycle(agent, "ACTIVE", by);
      return;
    case "REGISTERED":
    case "COMPLETED":
      await service.setLifecycle(agent, status, by);
      return;
    default:
      throw new HttpError(400, "Status must be REGISTERED, ACTIVE, PAUSED or COMPLETED");
  }
}

function notAdmin(what: string): AegisError {
  return new AegisError("not_permitted", `This token may not ${what} an agent: that takes the role admin.`);
}

// Owns noticing that nobody could ever give anybody a right.
// Refuses to own who may do what (api/auth/). Invariant: it only says so; whoever has rights keeps them.
import type { Acls } from "../actors/acl/types.ts";
import type { Config } from "./config_keys.ts";
import { hasCredential } from "./token_verifier.ts";

/** What to warn of: credentials are asked for, and none that there can be is an administrator's. Null: all is well. */
export function noAdministrator(config: Config, acls: Pick<Acls, "list">): string | null {
  if (!hasCredential(config) || config.adminToken !== undefined) return null;
  const isMade = acls.list().some(({ resource, operation, effect }) =>
    resource === "cluster" && effect === "allow" && (operation === "admin" || operation === "all")
  );
  return isMade
    ? null
    : "nobody may make ACLs: without admin-token, only who was given admin on the cluster before could";
}

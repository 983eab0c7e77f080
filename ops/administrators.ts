// Owns noticing that nobody could ever give anybody a right, and that anybody could guess the administrator's token.
// Refuses to own who may do what (api/auth/). Invariant: it only says so; whoever has rights keeps them.
import type { Acls } from "../actors/acl/types.ts";
import type { Config } from "./config_keys.ts";
import { hasCredential } from "./token_verifier.ts";

/** Shorter tokens are warned of. */
const ADVISED_TOKEN_CHARS = 16;

/** What to warn of: the administrator's token is short enough to be found by trying. Null: all is well. */
export function guessableToken({ adminToken }: Pick<Config, "adminToken">): string | null {
  if (adminToken === undefined || adminToken.length >= ADVISED_TOKEN_CHARS) return null;
  return `admin-token has less than ${ADVISED_TOKEN_CHARS} characters: others may guess it`;
}

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

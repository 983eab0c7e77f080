// Owns as whom a request speaks to what belongs to somebody: its transactional ids, its members of groups.
// Refuses to own who may act on them (actors/ownership.ts).
// Invariant: where no credential is asked for nobody owns anything, so that credentials can be configured later.
import type { Asker } from "../../actors/ownership.ts";
import { type Access, LOCAL_ADMINISTRATOR } from "./access.ts";

/** Who asks, as a field; none for whoever needed no credential. */
export function askedBy(access: Access): { readonly asker?: Asker } {
  const asker = askerOf(access);
  return asker === undefined ? {} : { asker };
}

/** Who asks; undefined for whoever needed no credential. */
export function askerOf(access: Access): Asker | undefined {
  if (access === LOCAL_ADMINISTRATOR) return undefined;
  const { principal, tenant, isAdministrator } = access;
  return { principal, tenant, isAdministrator };
}

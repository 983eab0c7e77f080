// Owns as whom a request speaks to what belongs to somebody: its transactional ids, its members of groups.
// Refuses to own who may act on them (actors/ownership.ts).
// Invariant: where no credential is asked for nobody owns anything, so that credentials can be configured later.
import type { Asker } from "../../actors/ownership.ts";
import { type Access, LOCAL_ADMINISTRATOR } from "./access.ts";
import type { Authorizer } from "./authorizer.ts";

/** Tells of administrators by an ACL. */
export type Administrators = Pick<Authorizer, "isAdministrator">;

/** As `askerOf`, as a field; none for whoever needed no credential. */
export function askedBy(access: Access, admins?: Administrators): { readonly asker?: Asker } {
  const asker = askerOf(access, admins);
  return asker === undefined ? {} : { asker };
}

/**
 * Who asks; undefined for whoever needed no credential. With `admins`, where others' things are looked after, administrators
 * by an ACL count as such: elsewhere they speak for themselves alone.
 */
export function askerOf(access: Access, admins?: Administrators): Asker | undefined {
  if (access === LOCAL_ADMINISTRATOR) return undefined;
  const { principal, tenant } = access;
  const isAdministrator = access.isAdministrator || admins?.isAdministrator(access) === true;
  return { principal, tenant, isAdministrator };
}

// Owns to whom lasting things belong, transactional ids and members of groups, and who may act on them.
// Refuses to own what a principal may do with topics and groups (api/auth/): owning is asked beside that.
// Invariant: what belongs to nobody, of older journals or made without credentials, is anyone's.

/** To whom something belongs. Tenants may use the same names of principals. */
export interface Owner {
  readonly principal: string;
  readonly tenant: string;
}

/** Who asks. Left out where nobody had to say who they are, and where the broker itself asks. */
export interface Asker extends Owner {
  /** May act on what belongs to others. */
  readonly isAdministrator: boolean;
}

/** Whether `asker` may act on what belongs to `owner`. */
export function mayActOn(owner: Owner | null | undefined, asker: Asker | undefined): boolean {
  if (owner === null || owner === undefined || asker === undefined || asker.isAdministrator) {
    return true;
  }
  return owner.principal === asker.principal && owner.tenant === asker.tenant;
}

/** To whom belongs what `asker` makes; null: nobody. */
export function ownerFor(asker: Asker | undefined): Owner | null {
  return asker === undefined ? null : { principal: asker.principal, tenant: asker.tenant };
}

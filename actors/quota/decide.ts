// Owns what a change of the quotas means: which is refused, and what happened.
// Refuses to own where they are kept (quotas.ts). Pure.
// Invariant: a tenant has one quota at most, and there are never more than `maxQuotas`.
import { BrokerError } from "../../storage/broker_error.ts";
import type { EntryChange } from "../runtime/kept_entries.ts";
import type { NewQuota, Quota } from "./types.ts";

export type QuotaCommand =
  | { readonly type: "PutQuota"; readonly quota: NewQuota; readonly at: number }
  | { readonly type: "DeleteQuota"; readonly tenant: string };

export type QuotaEvent =
  | { readonly type: "QuotaPut"; readonly quota: Quota }
  | { readonly type: "QuotaDeleted"; readonly tenant: string };

/** Quotas by tenant. */
export type QuotaState = ReadonlyMap<string, Quota>;

/** What happens. Throws LIMIT_REACHED, NOT_FOUND. */
export function decideQuotas(
  state: QuotaState,
  command: QuotaCommand,
  { maxQuotas }: { readonly maxQuotas: number },
): QuotaEvent {
  if (command.type === "DeleteQuota") {
    const { tenant } = command;
    if (state.has(tenant)) return { type: "QuotaDeleted", tenant };
    throw new BrokerError("NOT_FOUND", `tenant ${tenant} has no quota of its own`, { tenant });
  }
  const { quota: { tenant, limits, updatedBy }, at } = command;
  if (!state.has(tenant) && state.size >= maxQuotas) {
    throw new BrokerError("LIMIT_REACHED", `there are ${maxQuotas} quotas: delete some first`);
  }
  return { type: "QuotaPut", quota: { tenant, ...limits, updatedAt: at, updatedBy } };
}

/** What `event` makes of the set. */
export function changeOfQuotas(event: QuotaEvent): EntryChange<Quota> {
  return event.type === "QuotaPut"
    ? { id: event.quota.tenant, entry: event.quota }
    : { id: event.tenant, entry: null };
}

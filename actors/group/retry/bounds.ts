// Owns the bound of how many retries one group may have waiting.
// Refuses to own what is done about it: whoever is refused keeps its message, and asks again later.
// Invariant: what is done but not committed past counts too, since it is kept too.
import { BrokerError } from "../../../storage/broker_error.ts";
import type { GroupSettings } from "../settings.ts";
import type { GroupState } from "../state.ts";

/** Throws OVERLOADED when `added` more would be too many. */
export function refuseTooManyRetries(
  { groupId, retry }: GroupState,
  added: number,
  { maxPendingRetries }: GroupSettings,
): void {
  const waiting = retry.entries.size + retry.done.size;
  if (added === 0 || waiting + added <= maxPendingRetries) return;
  throw new BrokerError(
    "OVERLOADED",
    `group ${groupId} keeps ${waiting} messages for retries, ${maxPendingRetries} are allowed`,
    { groupId, maxPendingRetries },
  );
}

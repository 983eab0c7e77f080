// Owns the words in which every part says that a group is not there.
// Refuses to own looking for it.
// Invariant: whoever may not see a group is told exactly what one is told of a group that does not exist.
import { BrokerError } from "../../storage/broker_error.ts";

/** UNKNOWN_GROUP, to be thrown. */
export function unknownGroup(groupId: string): BrokerError {
  return new BrokerError("UNKNOWN_GROUP", `there is no group ${groupId}`, { groupId });
}

// Owns whether somebody may go on consuming as a member of a group, asked again and again while that lasts.
// Refuses to own who asks when (../stream/hub.ts, ../members/registry.ts), and letting anyone in (access_table.ts).
// Invariant: what is asked here is what joining takes, so that nothing lasts longer than it could begin anew.
import { BrokerError } from "../../storage/broker_error.ts";
import { type Access, endedError } from "./access.ts";
import type { Authorizer } from "./authorizer.ts";

/** As what somebody consumes. */
export interface Consumed {
  readonly group: string;
  readonly topics: readonly string[];
}

/** What to close with: the credential has ended, or an ACL takes away what joining took. Null while it may go on. */
export function consumingRefusal(
  authorizer: Pick<Authorizer, "allows">,
  access: Access,
  { group, topics }: Consumed,
): BrokerError | null {
  const end = access.ended();
  if (end !== null) return endedError(end);
  if (!authorizer.allows(access, "read", "group", group)) return noMore("group", group);
  const lost = topics.find((topic) => !authorizer.allows(access, "read", "topic", topic));
  return lost === undefined ? null : noMore("topic", lost);
}

/** The caller has seen it, so that there is nothing to hide. */
function noMore(resource: "group" | "topic", name: string): BrokerError {
  return new BrokerError("FORBIDDEN", `no ACL allows read on ${resource} ${name} any more`, {
    operation: "read",
    resource,
    name,
  });
}

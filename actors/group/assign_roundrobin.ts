// Owns the round robin assignor: all partitions of all topics dealt over the members in turn.
// Refuses to own stickiness: a join may move nearly everything.
// Invariant: members with equal subscriptions are balanced within one partition over all topics.
import type { AssignGround } from "./assignment.ts";
import { lowerBound } from "../../storage/lower_bound.ts";

/** Owners by topic, as Kafka's RoundRobinAssignor deals them: a member that does not subscribe is passed over. */
export function assignRoundRobin(ground: AssignGround): Int32Array[] {
  /** The member whose turn it is, whether it subscribes or not. */
  let turn = 0;
  return ground.topics.map(({ partitions, subscribers }) => {
    const owners = new Int32Array(partitions);
    let at = lowerBound(subscribers.length, (i) => subscribers[i]! < turn);
    for (let partition = 0; partition < partitions; partition++) {
      const member = subscribers[at % subscribers.length]!;
      owners[partition] = member;
      turn = (member + 1) % ground.members.length;
      at = (at % subscribers.length) + 1;
    }
    return owners;
  });
}

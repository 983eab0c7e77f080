// Owns the choice of assignor by name.
// Refuses to own when a group is assigned anew (decide_rebalance.ts).
// Invariant: every partition of a subscribed topic gets exactly one owner, a subscriber; equal input gives equal output.
import { assignRange } from "./assign_range.ts";
import { assignRoundRobin } from "./assign_roundrobin.ts";
import { assignSticky } from "./assign_sticky.ts";
import { type AssignInput, type Assignment, assignmentOf, groundOf } from "./assignment.ts";
import type { AssignorName } from "./types.ts";

/**
 * Shares the partitions of all subscribed topics out. `range` and `roundrobin` do as Kafka's assignors of these names;
 * `sticky` is balanced and keeps what `previous` allows. The order of `members` does not matter.
 */
export function assign(name: AssignorName, input: AssignInput): Assignment {
  const ground = groundOf(input);
  switch (name) {
    case "range":
      return assignmentOf(ground, assignRange(ground));
    case "roundrobin":
      return assignmentOf(ground, assignRoundRobin(ground));
    case "sticky":
      return assignmentOf(ground, assignSticky(ground, input.previous));
  }
}

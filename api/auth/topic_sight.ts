// Owns what of a group's doings is told to whoever may see only some of its topics.
// Refuses to own who may see the group (access_table.ts).
// Invariant: a topic that one may not see is named in no answer about a group.
import type { GroupDescription } from "../../actors/group/types.ts";
import type { Access } from "./access.ts";
import type { Authorizer } from "./authorizer.ts";

/** Whether the topic of an entry may be told. */
export type TopicSight = (at: { readonly topic: string }) => boolean;

/** What `access` may see. */
export function topicSight(authorizer: Pick<Authorizer, "sees">, access: Access): TopicSight {
  return ({ topic }) => authorizer.sees(access, "topic", topic);
}

/** The group as far as its topics may be told. */
export function seenGroup(group: GroupDescription, isSeen: TopicSight): GroupDescription {
  return {
    ...group,
    members: group.members.map((member) => ({
      ...member,
      topics: member.topics.filter((topic) => isSeen({ topic })),
      assignment: member.assignment.filter(isSeen),
      revoking: member.revoking.filter(isSeen),
    })),
    offsets: group.offsets.filter(isSeen),
    staged: group.staged.filter(isSeen),
    rebalances: group.rebalances.map((rebalance) => ({
      ...rebalance,
      moved: rebalance.moved.filter(isSeen),
    })),
  };
}

// Owns how many groups a broker may have: a command that would make one more is refused.
// Refuses to own what groups decide, and the bounds within each of them.
// Invariant: commands for groups that exist are never refused or held up; those under way count as if they had made theirs.
import { BrokerError } from "../../storage/broker_error.ts";
import type { GroupCommand } from "./types.ts";

/** What may make a group of which nobody has heard. */
const MAKES_GROUPS: ReadonlySet<GroupCommand["type"]> = new Set<GroupCommand["type"]>([
  "Join",
  "CommitOffsets",
  "StageOffsets",
  "SetRetryPolicy",
]);

interface Shard {
  readonly size: number;
  knows(group: string): boolean;
}

export interface GroupBoundOptions {
  readonly maxGroups: number;
  /** The shards that run. */
  readonly shards: () => readonly Shard[];
}

export class GroupBound {
  /** Commands under way for groups that were not known when they came, by group. */
  readonly #arriving = new Map<string, number>();

  constructor(private readonly options: GroupBoundOptions) {}

  /** What to call when `command` has ended, null when it makes no group. Throws OVERLOADED. */
  enter({ type, group }: GroupCommand, shard: Shard): (() => void) | null {
    if (!MAKES_GROUPS.has(type) || shard.knows(group)) return null;
    const { maxGroups } = this.options;
    if (!this.#arriving.has(group) && this.#isFull()) {
      throw new BrokerError(
        "OVERLOADED",
        `there are ${maxGroups} groups already, no more are made`,
        { groupId: group, maxGroups },
      );
    }
    this.#arriving.set(group, (this.#arriving.get(group) ?? 0) + 1);
    return () => {
      const left = this.#arriving.get(group)! - 1;
      if (left === 0) this.#arriving.delete(group);
      else this.#arriving.set(group, left);
    };
  }

  #isFull(): boolean {
    const { maxGroups } = this.options;
    const shards = this.options.shards();
    const known = shards.reduce((sum, { size }) => sum + size, 0);
    if (known + this.#arriving.size < maxGroups) return false;
    const isKnown = (group: string) => shards.some((shard) => shard.knows(group));
    const unknown = [...this.#arriving.keys()].filter((group) => !isKnown(group));
    return known + unknown.length >= maxGroups;
  }
}

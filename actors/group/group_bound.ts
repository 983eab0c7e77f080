// Owns how many groups a broker may have, and one tenant of them: a command that would make one more is refused.
// Refuses to own what groups decide, and the bounds within each of them.
// Invariant: commands for groups that exist are never refused or held up; those under way count as if they had made theirs.
import { BrokerError } from "../../storage/broker_error.ts";
import type { GroupState } from "./state.ts";
import type { GroupCommand } from "./types.ts";

/** Of all groups, those that one tenant may make: others are to find room. */
const TENANT_SHARE = 3 / 4;

/** What may make a group of which nobody has heard. */
const MAKES_GROUPS: ReadonlySet<GroupCommand["type"]> = new Set<GroupCommand["type"]>([
  "Join",
  "CommitOffsets",
  "StageOffsets",
  "SetRetryPolicy",
]);

/** Whose share a group is of that `command` makes; undefined: nobody's, of an administrator or the broker itself. */
export function tenantOf(command: GroupCommand): string | undefined {
  if (!MAKES_GROUPS.has(command.type) || !("asker" in command)) return undefined;
  return command.asker?.isAdministrator === false ? command.asker.tenant : undefined;
}

interface Arrival {
  readonly tenant: string | undefined;
  commands: number;
}

interface Shard {
  readonly size: number;
  count(counts: (state: GroupState) => boolean): number;
  knows(group: string): boolean;
}

export interface GroupBoundOptions {
  readonly maxGroups: number;
  /** The shards that run. */
  readonly shards: () => readonly Shard[];
}

export class GroupBound {
  /** Commands under way for groups that were not known when they came, by group. */
  readonly #arriving = new Map<string, Arrival>();

  constructor(private readonly options: GroupBoundOptions) {}

  /** What to call when `command` has ended, null when it makes no group. Throws OVERLOADED. */
  enter(command: GroupCommand, shard: Shard): (() => void) | null {
    const { type, group } = command;
    if (!MAKES_GROUPS.has(type) || shard.knows(group)) return null;
    const tenant = tenantOf(command);
    const arrival = this.#arriving.get(group) ?? { tenant, commands: 0 };
    if (arrival.commands === 0) this.#refuseBeyond(group, tenant);
    this.#arriving.set(group, arrival);
    arrival.commands++;
    return () => {
      if (--arrival.commands === 0) this.#arriving.delete(group);
    };
  }

  #refuseBeyond(groupId: string, tenant: string | undefined): void {
    const { maxGroups } = this.options;
    if (this.#isFull()) {
      const message = `there are ${maxGroups} groups already, no more are made`;
      throw new BrokerError("OVERLOADED", message, { groupId, maxGroups });
    }
    const limit = Math.max(1, Math.floor(maxGroups * TENANT_SHARE));
    if (tenant === undefined || this.#countOf(tenant, limit) < limit) return;
    const message = `tenant ${tenant} has made ${limit} groups already, others are to find room`;
    throw new BrokerError("OVERLOADED", message, { groupId, tenant, limit });
  }

  /** Groups of the tenant; a bound of them where it is below `limit`, which is found without a look at each. */
  #countOf(tenant: string, limit: number): number {
    const shards = this.options.shards();
    const known = shards.reduce((sum, { size }) => sum + size, 0) + this.#arriving.size;
    if (known < limit) return known;
    const made = shards.reduce(
      (sum, shard) => sum + shard.count((state) => state.tenant === tenant),
      0,
    );
    const isKnown = (group: string) => shards.some((shard) => shard.knows(group));
    const arriving = [...this.#arriving].filter(([group, arrival]) =>
      arrival.tenant === tenant && !isKnown(group)
    );
    return made + arriving.length;
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

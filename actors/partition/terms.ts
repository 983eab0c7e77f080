// Owns the role that a replica has, and the port by which it learns it: leader of an epoch, follower of one, or neither.
// Refuses to own who decides roles (../cluster/) and what follows from one (replica_log.ts, partition_replication.ts).
// Invariant: a leader's epoch is durable before any batch carries it, and nobody has appended in it before.
import type { LeaderEpochs } from "./leader_epochs.ts";

/** What this replica is to do. */
export type Term =
  | {
    readonly role: "leader";
    readonly leaderEpoch: number;
    readonly inSync: readonly string[];
    readonly minInsync: number;
  }
  | {
    readonly role: "follower";
    readonly leaderEpoch: number;
    /** Node id; null while there is none. */
    readonly leader: string | null;
  };

export interface Terms {
  /** The role with which the log is opened now: for a leader with a new epoch. `reopened`: it was open before in this process. */
  begin(reopened: boolean): Promise<Term>;
  /** Who leads where this broker is no replica; null: it is one. */
  elsewhere(): { readonly leader: string | null } | null;
  /** The log is open in that role. */
  opened(): void;
}

/** A broker alone leads everything. */
export function ownTerms(nodeId: string, epochs: LeaderEpochs): Terms {
  return {
    async begin(reopened) {
      // The broker's start has raised the epoch; opening again within one run must do so itself.
      const leaderEpoch = reopened ? await epochs.raise() : epochs.current;
      return { role: "leader", leaderEpoch, inSync: [nodeId], minInsync: 1 };
    },
    elsewhere: () => null,
    opened: () => {},
  };
}

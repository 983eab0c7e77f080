// Owns what a pause of the group by an operator means for one member: nothing is read, and offsets may be moved meanwhile.
// Refuses to own starting partitions anew (../stream/assignment.ts) and leases.
// Invariant: a partition whose offset was not moved goes on where it stood.
import type { HeldPartition } from "../stream/held_partition.ts";
import type { Session } from "../stream/session.ts";
import type { CommittedOffsets } from "../stream/start_offsets.ts";

export interface GroupPauseOptions {
  readonly group: string;
  readonly session: Session;
  readonly committedOffsets: CommittedOffsets;
  /** Starts partitions anew whose offset was moved. */
  readonly recheck: () => Promise<void>;
}

export class GroupPause {
  /** How often it was begun. */
  #count = 0;
  #reason = "";

  constructor(private readonly options: GroupPauseOptions) {}

  /** Why nothing comes now; null while it is not paused. */
  get reason(): string | null {
    return this.options.session.groupPaused ? this.#reason : null;
  }

  /** Remembers what is committed, so that it shows whether an operator moves it while the group is paused. */
  async begin(reason: string): Promise<void> {
    const { session, committedOffsets, group } = this.options;
    this.#count++;
    this.#reason = reason;
    session.groupPaused = true;
    const offsets = await committedOffsets.read(group).catch(() => null);
    if (offsets === null) return;
    for (const held of session.assigned()) held.committed = offsets.get(held.key) ?? null;
  }

  /** Resolves to which partitions go on where they stood; to null when the group was paused again meanwhile. */
  async end(): Promise<((held: HeldPartition) => boolean) | null> {
    const { session, recheck } = this.options;
    const count = this.#count;
    const positions = new Map<HeldPartition, number>();
    for (const held of session.assigned()) positions.set(held, held.position);
    await recheck();
    if (count !== this.#count) return null;
    session.groupPaused = false;
    return (held) => positions.get(held) === held.position;
  }
}

// Owns the ledgers of all shards of groups: one over each journal, and the port that reads the right one.
// Refuses to own the shards and which group lives in which (../coordinator.ts).
// Invariant: a shard's journal is written through its ledger, so that the index follows.
import type { Crc32c } from "../../../storage/ports.ts";
import type { SnapshotStore } from "../../../storage/snapshots.ts";
import type { Partition } from "../../partition/partition.ts";
import { partitionJournal } from "../../partition/partition_journal.ts";
import type { Journal } from "../../runtime/journal.ts";
import { listOffsets } from "../offset_table.ts";
import { type GroupState, isGroupGone } from "../state.ts";
import { GroupOffsetLedger } from "./offset_ledger.ts";
import { ShardLedger } from "./shard_ledger.ts";
import type { OffsetLedger } from "./types.ts";

export interface ShardLedgersOptions {
  /** The journals' partitions, by shard. */
  readonly partitions: readonly Partition[];
  readonly snapshots: SnapshotStore;
  readonly crc32c: Crc32c;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

export interface LedgerShards {
  /** Number of the group's shard. */
  shardOf(group: string): number;
  /** What `project` makes of the durable states of a shard. */
  query<R>(
    shard: number,
    project: (states: ReadonlyMap<string, GroupState>) => R,
  ): Promise<R>;
}

export class ShardLedgers {
  readonly #ledgers: readonly ShardLedger[];

  constructor(private readonly options: ShardLedgersOptions) {
    const { partitions, snapshots, crc32c, report } = options;
    this.#ledgers = partitions.map((partition, number) => {
      const id = `group-ledger/${number}`;
      const onFailure = (error: unknown) =>
        report({ level: "warning", message: `the index of ${id} was not saved`, error });
      return new ShardLedger({
        id,
        snapshots,
        onFailure,
        journal: partitionJournal(partition, crc32c),
      });
    });
  }

  /** The journal that the shard has to write to. */
  journalOf(shard: number): Journal {
    return this.#ledgers[shard]!.tapped;
  }

  /** Takes over what indexes were saved. Never rejects. */
  async load(): Promise<void> {
    await Promise.all(this.#ledgers.map((ledger) => ledger.load()));
  }

  /** Saves the indexes. */
  async close(): Promise<void> {
    await Promise.all(this.#ledgers.map((ledger) => ledger.close()));
  }

  /** All of them as one. */
  asOne(shards: LedgerShards): OffsetLedger {
    const { partitions } = this.options;
    return new GroupOffsetLedger({
      shardOf: (group) => this.#ledgers[shards.shardOf(group)]!,
      offsetsOf: (group) =>
        shards.query(shards.shardOf(group), (states) => {
          const state = states.get(group);
          return state === undefined || isGroupGone(state) ? null : listOffsets(state.offsets);
        }),
      offsetForTime: (group, timestampMs) =>
        partitions[shards.shardOf(group)]!.offsetForTime(timestampMs),
    });
  }
}

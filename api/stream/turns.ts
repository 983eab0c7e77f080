// Owns the shapes in which a session says what is next and hears what was done.
// Refuses to own any behaviour. Invariant: plain data, but for the partition that is meant.
import type { TopicPartition } from "../../actors/broker.ts";
import type { HeldPartition } from "./held_partition.ts";
import type { OffsetRange } from "./offset_ranges.ts";
import type { Redelivery } from "./redeliveries.ts";

/** What to deliver next. One turn at a time: it ends with `delivered`, `redelivered`, `wait`, `forget`, `postpone` or nothing. */
export type Turn = ReadTurn | RedeliveryTurn;

export interface ReadTurn {
  readonly kind: "read";
  readonly held: HeldPartition;
  readonly position: number;
}

export interface RedeliveryTurn {
  readonly kind: "redelivery";
  readonly held: HeldPartition;
  readonly redelivery: Redelivery;
}

/** What was sent of a partition: the offsets of its messages, and where to read on. */
export interface Delivery {
  readonly runs: readonly OffsetRange[];
  readonly nextOffset: number;
  readonly highWatermark: number;
}

export interface CommitItem extends TopicPartition {
  readonly offset: number;
  /** Redelivered messages that are done, as the client tells; left out when it does not tell. */
  readonly settles?: readonly number[] | undefined;
}

export interface NackItem extends TopicPartition {
  readonly offset: number;
  readonly delayMs?: number | undefined;
}

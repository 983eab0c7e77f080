// Owns what transactions need of the rest of a broker, as ports.
// Refuses to own any of it. Invariant: only plain data crosses, so each side may be elsewhere one day.
import type { Crc32c } from "../../storage/ports.ts";
import type { AppendReceipt, TopicPartition } from "../broker.ts";
import type { SupervisedActorPorts } from "../partition/supervised_actor.ts";
import type { AskedBy, TransactionOffset, TransactionPartition } from "./types.ts";

/** The end of a transaction as a partition is told it; a repeat changes nothing. */
export interface TransactionMarker {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Epoch of the coordinator's leader: an older coordinator's markers are refused. */
  readonly coordinatorEpoch: number;
  readonly commit: boolean;
}

/** The partitions that transactions write to. All reject with UNKNOWN_TOPIC or UNKNOWN_PARTITION for what is not there. */
export interface TransactionLogs {
  /** Of the topic that has this name now. */
  topicIdOf(at: TopicPartition): string;
  append(at: TopicPartition, batches: readonly Uint8Array[]): Promise<AppendReceipt>;
  /** Sequence that the partition expects next of this producer and epoch. */
  nextSequence(
    at: TopicPartition,
    producer: { readonly producerId: number; readonly producerEpoch: number },
  ): Promise<number>;
  /** Durable when it resolves. */
  writeMarker(at: TransactionPartition, marker: TransactionMarker): Promise<void>;
}

/** The groups whose offsets are committed with a transaction. */
export interface TransactionGroups {
  /** Keeps them, hidden, until `end`; the same transaction's earlier ones are replaced. Errors of CommitOffsets. */
  stage(
    staged: AskedBy & {
      readonly group: string;
      readonly transactionId: string;
      readonly offsets: readonly TransactionOffset[];
      readonly principal: string;
    },
  ): Promise<void>;
  /** Commits or drops what was staged; nothing when nothing is. */
  end(ended: {
    readonly group: string;
    readonly transactionId: string;
    readonly commit: boolean;
  }): Promise<void>;
}

export interface TransactionPorts extends SupervisedActorPorts {
  readonly logs: TransactionLogs;
  readonly groups: TransactionGroups;
  /** One that nobody has used. */
  allocateProducerId(): Promise<number>;
  readonly crc32c: Crc32c;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

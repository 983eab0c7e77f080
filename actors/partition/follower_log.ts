// Owns what a follower does to its log with what the leader tells it: alignment by epoch, appending byte for byte, and
// knowing the high watermark.
// Refuses to own asking (../replication/replica_fetcher.ts) and the log's life and role (replica_log.ts).
// Invariant: everything happens in the log's turn and only in the epoch in which it was asked; what is acknowledged by
// the next fetch is synced. It is cut back to where the logs part, never to a high watermark.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import {
  baseOffsetAt,
  batchSpans,
  crcMatches,
  lastOffsetDeltaAt,
} from "../../storage/format/record_batch.ts";
import type { Log } from "../../storage/log.ts";
import type { Clock, Crc32c } from "../../storage/ports.ts";
import type { FetchEntry, ReplicaAnswer } from "../replication/protocol.ts";
import type { ReplicaLog } from "./replica_log.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import type { PartitionReplication } from "./partition_replication.ts";
import { producerEventAt } from "./producer_headers.ts";
import type { ProducerEvent } from "./producer_state.ts";

/** Above every leader epoch: asked for its end, a log tells its last epoch. */
const LAST_EPOCH = 2 ** 31 - 1;

export interface FollowerLogParts {
  readonly name: string;
  readonly log: ReplicaLog;
  readonly producers: PartitionProducers;
  readonly replication: PartitionReplication;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
}

export class FollowerLog {
  /** Of the leader's log, as it was told last; what lies below may be dropped here. */
  leaderStartOffset = 0;

  constructor(private readonly parts: FollowerLogParts) {}

  /** Node id of the leader to fetch from; null: nobody, for now. */
  get leader(): string | null {
    const { log } = this.parts;
    const { term } = log;
    return term?.role === "follower" && log.log !== null && log.fault === null ? term.leader : null;
  }

  /** Where this follower stands; null while it follows nobody. */
  entry(): FetchEntry | null {
    const { log, term } = this.parts.log;
    if (this.leader === null || log === null) return null;
    const lastEpoch = log.endOffsetForEpoch(LAST_EPOCH).leaderEpoch;
    return {
      ...this.parts.replication.at,
      leaderEpoch: term!.leaderEpoch,
      fetchOffset: this.parts.log.readableEnd(log),
      lastEpoch: log.logEndOffset === log.logStartOffset ? -1 : lastEpoch,
    };
  }

  /**
   * Does what the leader's answer to `asked` calls for; what is appended is synced when it resolves. An answer to what
   * another epoch asked, or that does not fit any more, changes nothing. Errors: those of the log; CORRUPT_BATCH when the
   * answer is damaged.
   */
  async apply(asked: FetchEntry, answer: ReplicaAnswer): Promise<void> {
    await this.parts.log.turn.run(async () => {
      const now = this.entry();
      if (now === null || now.leaderEpoch !== asked.leaderEpoch) return;
      if (answer.leaderEpoch !== asked.leaderEpoch || now.fetchOffset !== asked.fetchOffset) return;
      const { log } = this.parts.log.held();
      try {
        if (answer.startAnew) await this.parts.log.restartAt(log, answer.logStartOffset);
        else if (answer.diverging !== undefined) await this.#cut(log, answer.diverging);
        else if (answer.batches !== undefined) await this.#append(log, answer.batches);
      } catch (error) {
        const failure = asBrokerError(error);
        if (failure.code === "STORAGE_FAILED") this.parts.log.failed(log, failure);
        throw failure;
      }
      this.leaderStartOffset = answer.logStartOffset;
      this.parts.log.highWatermarkTold(answer.highWatermark);
    });
  }

  async #append(log: Log, bytes: Uint8Array): Promise<void> {
    const { batches, events } = this.#checked(log, bytes);
    if (batches.length === 0) return;
    await log.append(batches);
    const { logEndOffset } = log;
    this.parts.producers.commit(events, { bytes: bytes.length, logEndOffset });
    this.parts.log.appended(log, { logEndOffset });
  }

  /** Whole batches that go on where the log ends, and what they tell of producers. */
  #checked(log: Log, bytes: Uint8Array): { batches: Uint8Array[]; events: ProducerEvent[] } {
    const { name, crc32c, clock } = this.parts;
    const at = clock.monotonic();
    const batches: Uint8Array[] = [];
    const events: ProducerEvent[] = [];
    let next = log.logEndOffset;
    for (const span of batchSpans(bytes)) {
      const baseOffset = baseOffsetAt(bytes, span.at);
      const isNext = baseOffset === next;
      if (!isNext || !crcMatches(bytes, span.at, crc32c)) {
        const why = isNext ? "its checksum is wrong" : `it begins at ${baseOffset}, not at ${next}`;
        throw new BrokerError("CORRUPT_BATCH", `a batch for ${name} from its leader: ${why}`);
      }
      next += lastOffsetDeltaAt(bytes, span.at) + 1;
      batches.push(bytes.subarray(span.at, span.at + span.sizeBytes));
      const event = producerEventAt(bytes, span.at, at);
      if (event !== null) events.push(event);
    }
    return { batches, events };
  }

  /** Back to where the logs part, as far as one answer tells: the next fetch asks again from there. */
  async #cut(log: Log, leader: { leaderEpoch: number; endOffset: number }): Promise<void> {
    const own = log.endOffsetForEpoch(leader.leaderEpoch);
    const target = Math.min(leader.endOffset, own.endOffset);
    if (target >= log.logEndOffset) {
      const { name } = this.parts;
      throw new BrokerError("CORRUPT_LOG", `${name} parts from its leader at no offset it has`);
    }
    await log.truncateTo(Math.max(target, log.logStartOffset));
    await this.parts.producers.open(log);
    this.parts.log.truncated(log);
  }
}

// Owns giving one message its place: its parts, its partition, the check of its size, the queue it joins.
// Refuses to own waiting: it says what is missing and changes nothing.
// Invariant: synchronous; a message is placed, refused with an error, or untouched.
import type { Accumulator } from "./accumulator.ts";
import type { ChunkLimits } from "./chunk.ts";
import type { Owner } from "./delivery.ts";
import { WaybillError } from "./errors.ts";
import { emptyParts, MessageReader, type Outgoing, type RecordParts } from "./outgoing.ts";
import type { ProducerTopic } from "./topic_cache.ts";

/** Partition that took the message (from 0), or what it waits for. */
export type Placed = number | "no-room" | "no-metadata";

/** A partition that is not there is believed in only when the broker was asked within this time. */
const TRUSTED_AGE_MS = 1_000;
const encoder = new TextEncoder();

export interface PlacerOptions {
  readonly accumulator: Accumulator;
  readonly limits: ChunkLimits;
  readonly ageMs: (topic: ProducerTopic) => number;
}

export class Placer {
  readonly #reader = new MessageReader();
  readonly #parts: RecordParts = emptyParts();
  readonly #options: PlacerOptions;

  constructor(options: PlacerOptions) {
    this.#options = options;
  }

  /** Errors: INVALID_REQUEST, UNKNOWN_PARTITION, MESSAGE_TOO_LARGE. `now` is wall time, ms. */
  place(topic: ProducerTopic, message: Outgoing, env: { owner: Owner; now: number }): Placed {
    if (topic.metadata === null) return "no-metadata";
    const parts = this.#parts;
    this.#reader.read(message, env.now, parts);
    if (parts.partition >= topic.metadata.partitionCount) {
      return this.#missing(topic, parts.partition);
    }
    this.#checkSize(topic, parts);
    const partition = parts.partition >= 0
      ? parts.partition
      : topic.partitionFor(parts.key ?? parts.idempotencyKey);
    const queue = topic.queue(partition);
    const placement = this.#options.accumulator.append(queue, parts, env.owner);
    if (placement === "no-room") return "no-room";
    if (placement === "too-large") {
      throw tooLarge(
        topic,
        `does not fit into ${this.#options.limits.maxBufferedBytes} bytes`,
      );
    }
    if (topic.sticky === partition && queue.open?.isBatchFull(this.#options.limits) !== false) {
      topic.sticky = -1;
    }
    return partition;
  }

  #missing(topic: ProducerTopic, partition: number): Placed {
    if (this.#options.ageMs(topic) > TRUSTED_AGE_MS) {
      topic.metadata = null;
      return "no-metadata";
    }
    throw new WaybillError("UNKNOWN_PARTITION", `${topic.name} has no partition ${partition}`, {
      retryable: false,
      details: { topic: topic.name, partition },
    });
  }

  /** The broker would refuse the whole request for the sake of one message that is too large. */
  #checkSize(topic: ProducerTopic, parts: RecordParts): void {
    const { maxMessageBytes } = topic.metadata!;
    const fixedBytes = (parts.key?.length ?? 0) + parts.headerContentBytes;
    // UTF-8 is at most three bytes for each UTF-16 unit: only what might be too large is measured.
    if (fixedBytes + (parts.value?.length ?? 0) * 3 <= maxMessageBytes) return;
    if (typeof parts.value === "string") parts.value = encoder.encode(parts.value);
    const bytes = fixedBytes + (parts.value?.length ?? 0);
    if (bytes > maxMessageBytes) {
      throw tooLarge(topic, `is ${bytes} bytes long, the topic allows ${maxMessageBytes}`);
    }
  }
}

function tooLarge(topic: ProducerTopic, why: string): WaybillError {
  const detail = `a message for ${topic.name} ${why}`;
  return new WaybillError("MESSAGE_TOO_LARGE", detail, { retryable: false });
}

// Owns messages and batches as a consumer hands them out, and knowing which partition they belong to.
// Refuses to own committing them (consumer.ts).
// Invariant: a message remembers the assignment it came with, so that it cannot be committed for a later one.
import type { PartitionOffset } from "./frames.ts";
import type { HandOut, PartitionState } from "./partition_state.ts";
import { Message } from "./received.ts";

/** A message that a consumer handed out. */
export class ConsumedMessage extends Message {
  /** It came out of its order: after a failure, or after another with its key. */
  readonly isRedelivery: boolean;
  readonly #state: PartitionState;

  constructor(handOut: HandOut, index: number) {
    const record = handOut.records[index]!;
    const { state } = handOut;
    super(state.topic, state.partition, record, handOut.attemptOf(record.offset));
    this.isRedelivery = handOut.isRedelivery;
    this.#state = state;
  }

  /** The assignment that a message came with. */
  static stateOf(message: ConsumedMessage): PartitionState {
    return message.#state;
  }
}

/** Messages of one partition that came together. */
export class MessageBatch implements PartitionOffset {
  readonly topic: string;
  readonly partition: number;
  readonly highWatermark: number;
  readonly messages: readonly ConsumedMessage[];
  readonly #handOut: HandOut;

  /** Of the hand-out, records from `first` on. */
  constructor(handOut: HandOut, first: number) {
    this.topic = handOut.state.topic;
    this.partition = handOut.state.partition;
    this.highWatermark = handOut.highWatermark;
    const messages: ConsumedMessage[] = [];
    for (let index = first; index < handOut.records.length; index++) {
      messages.push(new ConsumedMessage(handOut, index));
    }
    this.messages = messages;
    this.#handOut = handOut;
  }

  /** What to commit when all of them are done. */
  get offset(): number {
    return this.#handOut.nextOffset;
  }

  static handOutOf(batch: MessageBatch): HandOut {
    return batch.#handOut;
  }
}

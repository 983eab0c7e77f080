// Owns writing dead letters where they belong: from the groups' outboxes to the topics of dead letters.
// Refuses to own which messages are dead (decide_nack.ts) and the outbox, which is the group's state.
// Invariant: a letter leaves the outbox only when it is durable; written again after a crash, it is known by its producer
// and sequence and not stored twice.
import { asBrokerError } from "../../../storage/broker_error.ts";
import { encodeBatch } from "../../../storage/format/encode.ts";
import type { Cancel, Crc32c, Timers } from "../../../storage/ports.ts";
import type { AppendReceipt, Topic, TopicConfig, TopicPartition } from "../../broker.ts";
import { deadLetterConfig, deadLetterRecord, deadLetterTopic } from "./dead_letter_record.ts";
import { type Fetch, messagesAt } from "./stored_messages.ts";
import type { DeadLetter, RetryCommand, RetryReply } from "./types.ts";

/** Letters of one partition in one batch, and partitions of one group in one go. */
const MAX_LETTERS_A_BATCH = 200;
const MAX_PARTITIONS_AT_ONCE = 32;
/** Wait before a group whose letters could not be written is tried again: doubles from the first to the last. */
const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 10_000;
/** Sequences count modulo this. */
const SEQUENCES = 0x8000_0000;

export interface DeadLetterPorts {
  readonly timers: Timers;
  readonly crc32c: Crc32c;
  topic(name: string): Topic | null;
  /** Makes the topic, or gives it more partitions; does nothing when it is as wanted. */
  ensureTopic(name: string, wanted: { partitions: number; config: TopicConfig }): Promise<void>;
  /** For the dead letters of a topic that is gone and had none before. */
  readonly defaultConfig: TopicConfig;
  readonly fetch: Fetch;
  append(at: TopicPartition, batch: Uint8Array): Promise<AppendReceipt>;
  allocateProducer(): Promise<{ readonly producerId: number; readonly producerEpoch: number }>;
  group<C extends RetryCommand>(command: C): Promise<RetryReply<C>>;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

interface Letters extends TopicPartition {
  readonly letters: readonly DeadLetter[];
}

interface Producer {
  readonly producerId: number;
  readonly producerEpoch: number;
}

export class DeadLetterWriter {
  /** Groups that may have something to write. */
  readonly #due = new Set<string>();
  /** Groups that are tried again later. */
  readonly #waiting = new Map<string, Cancel>();
  /** Wait after the last failure of a group that has not succeeded since. */
  readonly #delaysMs = new Map<string, number>();
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(private readonly ports: DeadLetterPorts) {}

  /** The group has dead letters to be written. */
  wake(group: string): void {
    if (this.#closed || this.#waiting.has(group)) return;
    this.#due.add(group);
    this.#running ??= this.#run().finally(() => this.#running = null);
  }

  /** Resolves when nothing is under way; what is left is written after the next start. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of this.#waiting.values()) cancel();
    this.#waiting.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    for (const group of this.#due) {
      if (this.#closed) return;
      this.#due.delete(group);
      try {
        if (await this.#writeSome(group)) this.#due.add(group);
        this.#delaysMs.delete(group);
      } catch (error) {
        this.#failed(group, error);
      }
    }
  }

  /** Whether there may be more. */
  async #writeSome(group: string): Promise<boolean> {
    const { producer, partitions } = await this.ports.group({
      type: "PendingDeadLetters",
      group,
      maxPerPartition: MAX_LETTERS_A_BATCH,
      maxPartitions: MAX_PARTITIONS_AT_ONCE,
    });
    if (partitions.length === 0) return false;
    if (producer === null) {
      await this.#newProducer(group, null);
      return true;
    }
    const outcomes = await Promise.allSettled(
      partitions.map((letters) => this.#write(group, producer, letters)),
    );
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    return true;
  }

  async #write(group: string, producer: Producer, pending: Letters): Promise<void> {
    const { topic, partition, letters } = pending;
    const name = deadLetterTopic(topic);
    await this.#ensure(name, pending);
    const batch = await this.#batchOf(group, producer, pending);
    let sequences = letters.map(({ sequence }) => sequence);
    try {
      await this.ports.append({ topic: name, partition }, batch);
    } catch (error) {
      const expected = expectedSequence(error);
      if (expected === null) throw error;
      sequences = writtenBefore(sequences, expected);
      // Nothing is known of this producer there (any more): it begins anew, as another one.
      if (sequences.length === 0) return await this.#newProducer(group, producer.producerId);
    }
    await this.ports.group({ type: "DeadLettersWritten", group, topic, partition, sequences });
  }

  async #batchOf(group: string, producer: Producer, pending: Letters): Promise<Uint8Array> {
    const { topic, partition, letters } = pending;
    const present = letters.filter(({ gone }) => gone !== true);
    const inOrder = present.map(({ offset }) => offset).sort((a, b) => a - b);
    const found = await messagesAt(this.ports.fetch, { topic, partition }, inOrder);
    const byOffset = new Map(inOrder.map((offset, i) => [offset, found[i]!]));
    const records = letters.map((letter) => {
      const record = letter.gone === true ? null : byOffset.get(letter.offset) ?? null;
      return deadLetterRecord({ topic, partition, group }, letter, record);
    });
    const { crc32c } = this.ports;
    return encodeBatch(records, { crc32c, ...producer, baseSequence: letters[0]!.sequence });
  }

  async #ensure(name: string, { topic, partition }: Letters): Promise<void> {
    const { ports } = this;
    const known = ports.topic(name);
    const origin = ports.topic(topic);
    const partitions = Math.max(origin?.partitionCount ?? 0, partition + 1);
    if (known !== null && known.partitionCount >= partitions) return;
    const config = known?.config ?? deadLetterConfig(origin?.config ?? ports.defaultConfig);
    await ports.ensureTopic(name, { partitions, config });
  }

  async #newProducer(group: string, replaces: number | null): Promise<void> {
    const producer = await this.ports.allocateProducer();
    await this.ports.group({ type: "SetDeadLetterProducer", group, ...producer, replaces });
  }

  #failed(group: string, error: unknown): void {
    if (this.#closed) return;
    const before = this.#delaysMs.get(group) ?? 0;
    const delayMs = Math.min(Math.max(RETRY_FIRST_MS, before * 2), RETRY_LAST_MS);
    this.#delaysMs.set(group, delayMs);
    const message = `dead letters of group ${group} could not be written yet`;
    this.ports.report({ level: "warning", message, error });
    const cancel = this.ports.timers.after(delayMs, () => {
      this.#waiting.delete(group);
      this.wake(group);
    });
    this.#waiting.set(group, cancel);
  }
}

function expectedSequence(error: unknown): number | null {
  const { code, details } = asBrokerError(error);
  const expected = details.expectedSequence;
  return code === "OUT_OF_ORDER_SEQUENCE" && typeof expected === "number" ? expected : null;
}

/** Those of `sequences`, ascending but for the wrap, that come before the one that is expected next. */
function writtenBefore(sequences: readonly number[], expected: number): number[] {
  const ahead = (expected - sequences[0]! + SEQUENCES) % SEQUENCES;
  if (ahead > SEQUENCES / 2) return [];
  return sequences.slice(0, ahead);
}

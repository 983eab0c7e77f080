// Owns the appends of open transactions: the partition is made known first, sequences are counted, ends wait for them.
// Refuses to own whether a transaction is open (the decider) and durability (the partition).
// Invariant: no append of a transaction is under way once `close` has resolved, so that its markers come after all of it.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { AppendReceipt, TopicPartition } from "../broker.ts";
import { mayActOn, type Owner } from "../ownership.ts";
import { KeyedTurns } from "../runtime/keyed_turns.ts";
import type { TransactionLogs } from "./ports.ts";
import { stampBatches } from "./stamping.ts";
import { transactionIdOf, unknownTransaction } from "./transaction_id.ts";
import type { AskedBy, TransactionIdentity, TransactionPartition } from "./types.ts";

interface Writer {
  /** Whose the transaction is; null: anyone's, or it has taken nothing in yet. */
  owner: Owner | null;
  /** `topicId/partition` of those that the journal names. */
  readonly added: Set<string>;
  /** `topic/partition` of those in which the broker has counted sequences, for want of the caller's own. */
  readonly counted: Set<string>;
  underWay: number;
  closed: boolean;
  onIdle: (() => void)[];
}

export interface TransactionWritersOptions {
  readonly logs: TransactionLogs;
  readonly crc32c: Crc32c;
  /** Makes the partition known to the journal; rejects when the transaction is not open, or another's. Whose it is. */
  readonly addPartition: (
    of: TransactionIdentity & AskedBy,
    at: TransactionPartition,
  ) => Promise<Owner | null>;
}

export class TransactionWriters {
  /** By transaction id; bounded by the transactions that are open. */
  readonly #writers = new Map<string, Writer>();
  /** By transaction and partition: sequences are counted one append after the other. */
  readonly #turns = new KeyedTurns();

  constructor(private readonly options: TransactionWritersOptions) {}

  /**
   * Errors: of `addPartition`, of an append, INVALID_TRANSACTION_STATE while it is being ended, INVALID_REQUEST for a
   * sequence of the caller's where the broker has counted: what it names may be another message, and would be lost as a
   * repeat of that.
   */
  async append(
    of: TransactionIdentity & AskedBy,
    { at, batches, sequence }: {
      at: TopicPartition;
      batches: readonly Uint8Array[];
      sequence?: number | undefined;
    },
  ): Promise<AppendReceipt> {
    const { logs, crc32c } = this.options;
    const transactionId = transactionIdOf(of);
    const writer = this.#writerOf(transactionId);
    if (!mayActOn(writer.owner, of.asker)) throw unknownTransaction(transactionId);
    if (writer.closed) throw beingEnded(transactionId);
    writer.underWay++;
    try {
      await this.#add(of, writer, at);
      const { producerId, producerEpoch } = of;
      return await this.#turns.run(`${transactionId}/${at.topic}/${at.partition}`, async () => {
        const place = `${at.topic}/${at.partition}`;
        if (sequence === undefined) writer.counted.add(place);
        else if (writer.counted.has(place)) throw countedHere(transactionId, at);
        const next = sequence ?? await logs.nextSequence(at, of);
        stampBatches(batches, { producerId, producerEpoch, sequence: next }, crc32c);
        return await logs.append(at, batches);
      });
    } finally {
      writer.underWay--;
      if (writer.underWay === 0) this.#idle(transactionId, writer);
    }
  }

  /** Takes no more appends; resolves when none is under way. */
  async close(of: TransactionIdentity): Promise<void> {
    const writer = this.#writerOf(transactionIdOf(of));
    writer.closed = true;
    if (writer.underWay > 0) await new Promise<void>((resolve) => writer.onIdle.push(resolve));
  }

  /** The end did not come about: appends go on. */
  reopen(of: TransactionIdentity): void {
    const writer = this.#writers.get(transactionIdOf(of));
    if (writer !== undefined) writer.closed = false;
  }

  /** The transaction has ended. */
  forget(of: TransactionIdentity): void {
    this.#writers.delete(transactionIdOf(of));
  }

  async #add(
    of: TransactionIdentity & AskedBy,
    writer: Writer,
    at: TopicPartition,
  ): Promise<void> {
    const { topic, partition } = at;
    const topicId = this.options.logs.topicIdOf(at);
    const key = `${topicId}/${partition}`;
    if (writer.added.has(key)) return;
    writer.owner = await this.options.addPartition(of, { topic, partition, topicId });
    writer.added.add(key);
  }

  #writerOf(transactionId: string): Writer {
    let writer = this.#writers.get(transactionId);
    if (writer === undefined) {
      writer = {
        owner: null,
        added: new Set(),
        counted: new Set(),
        underWay: 0,
        closed: false,
        onIdle: [],
      };
      this.#writers.set(transactionId, writer);
    }
    return writer;
  }

  #idle(transactionId: string, writer: Writer): void {
    for (const resolve of writer.onIdle.splice(0)) resolve();
    // A transaction that took nothing in may not exist at all: only those of the journal are kept.
    if (writer.added.size === 0 && !writer.closed) this.#writers.delete(transactionId);
  }
}

function countedHere(transactionId: string, { topic, partition }: TopicPartition): BrokerError {
  return new BrokerError(
    "INVALID_REQUEST",
    `sequence: this transaction has published to partition ${partition} of ${topic} without one, ` +
      "so that they count no further there",
    { transactionId, topic, partition },
  );
}

function beingEnded(transactionId: string): BrokerError {
  return new BrokerError(
    "INVALID_TRANSACTION_STATE",
    `transaction ${transactionId} is being ended`,
    { transactionId },
  );
}

// Owns one idempotent producer: it numbers what it sends to each partition, and sends it again until it is acknowledged.
// Refuses to judge what is stored (ledgers/partition_ledger.ts): its values rise, so whatever is stored twice shows.
// Invariant: one send a partition at a time, each with the same bytes and numbers until an answer settles it.
import { crc32c } from "@node-rs/crc32";
import type { AppendReceipt, Topic } from "../../../actors/broker.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { encodeBatch } from "../../../storage/format/encode.ts";
import { seededRandomness } from "../../support/seeded_randomness.ts";
import { DEFAULT_WALL_START_MS } from "../../support/virtual_time.ts";
import { ConnectionLost } from "../incarnation.ts";
import type { ClientScene, MessageBroker } from "../client_scene.ts";
import { WEAK_TOPIC } from "../simulation.ts";

const SEND_EVERY_MS = 300;
const RETRY_MS = 60;
const MAX_BATCHES = 8;
const MAX_RECORDS = 3;
/** One in so many acknowledged sends is sent once more. */
const REPEAT_ONE_IN = 3;
/** A broker that was cut off hears within this, once it is not, that another leads. */
const STALE_LEADER_MS = 30_000;
/** Of one producer: partitions of all topics that a run ever has. */
const MAX_STREAMS = 1_000;
/** The topic is gone, and with it everything that was sent there. */
const GONE = new Set(["UNKNOWN_TOPIC", "UNKNOWN_PARTITION"]);
/** What a sound broker never answers to a producer that makes no mistake. */
const MISTAKES = new Set(["OUT_OF_ORDER_SEQUENCE", "PRODUCER_FENCED", "INVALID_TRANSACTION_STATE"]);

/** What goes to one partition of one topic. */
interface Stream {
  readonly name: string;
  readonly producerId: number;
  sequence: number;
  isSending: boolean;
}

interface Sent {
  readonly values: readonly (readonly string[])[];
  readonly sequence: number;
  readonly timestamp: number;
}

export class IdempotentProducer {
  /** By topic id and partition. */
  readonly #streams = new Map<string, Stream>();
  /** Of its own, so that what others draw does not depend on it. */
  readonly #chance;

  constructor(
    private readonly simulation: ClientScene<MessageBroker>,
    private readonly name: string,
    /** Among the producers of a run: each has ids of its own. */
    private readonly number = 0,
  ) {
    this.#chance = seededRandomness(simulation.world.seed + 1_000_003 + number);
  }

  /** Streams of which a send has no answer yet. */
  get unsettled(): readonly string[] {
    return [...this.#streams.values()].flatMap(({ isSending, name }) => isSending ? [name] : []);
  }

  async run(): Promise<void> {
    const { world, machine, topicNames } = this.simulation;
    const names = topicNames.filter((name) => name !== WEAK_TOPIC);
    while (world.phase === "faults" || world.phase === "calm") {
      await world.sleep(SEND_EVERY_MS * this.#chance.fraction());
      const topic = machine.broker?.topic(this.#chance.pick(names)) ?? null;
      if (topic === null) continue;
      const partition = this.#chance.integer(topic.partitionCount);
      const stream = this.#stream(topic, partition);
      if (stream.isSending) continue;
      world.start(this.name, () => this.#deliver(topic, partition, stream));
    }
  }

  #stream(topic: Topic, partition: number): Stream {
    const key = `${topic.topicId}/${partition}`;
    const known = this.#streams.get(key);
    if (known !== undefined) return known;
    const producerId = this.number * MAX_STREAMS + this.#streams.size;
    const name = `${this.name}s${producerId}`;
    const stream = { name, producerId, sequence: 0, isSending: false };
    this.#streams.set(key, stream);
    return stream;
  }

  async #deliver(topic: Topic, partition: number, stream: Stream): Promise<void> {
    const { world, messages } = this.simulation;
    const ledger = messages.of(topic, partition);
    let next = stream.sequence;
    const values = Array.from(
      { length: 1 + this.#chance.integer(MAX_BATCHES) },
      () =>
        Array.from(
          { length: 1 + this.#chance.integer(MAX_RECORDS) },
          () => `${stream.name}:${next++}`,
        ),
    );
    for (const value of values.flat()) ledger.sent(value);
    const timestamp = Math.floor(DEFAULT_WALL_START_MS + world.time.monotonic());
    const sent: Sent = { values, sequence: stream.sequence, timestamp };
    stream.isSending = true;
    const receipt = await this.#untilAcknowledged(topic, partition, { stream, sent });
    if (receipt === null) return;
    ledger.acknowledged(values, receipt);
    if (this.#chance.integer(REPEAT_ONE_IN) === 0) {
      const again = await this.#untilAcknowledged(topic, partition, { stream, sent });
      const offsets = (of: AppendReceipt) => of.baseOffsets.join();
      if (
        again !== null && (offsets(again) !== offsets(receipt) || again.duplicates.includes(false))
      ) {
        world.violation(`I4: ${ledger.name} took a repeat of ${values.flat()} for new`);
      }
    }
    stream.sequence = next;
    stream.isSending = false;
  }

  /** Null when the topic is gone, or the run is over. */
  async #untilAcknowledged(
    topic: Topic,
    partition: number,
    { stream, sent }: { stream: Stream; sent: Sent },
  ): Promise<AppendReceipt | null> {
    const { world, machine } = this.simulation;
    const sentAt = world.time.monotonic();
    while (world.phase !== "ended") {
      // A topic of that name that was made anew is none of the stream's.
      const now = machine.broker?.topic(topic.name) ?? null;
      if (machine.broker !== null && now?.topicId !== topic.topicId) return null;
      try {
        return await machine.ask(
          this.name,
          (broker) =>
            broker.append({ topic: topic.name, partition }, encode(stream, sent), { acks: "all" }),
        );
      } catch (error) {
        if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
        const code = error instanceof BrokerError ? error.code : "lost";
        world.note(this.name, `${stream.name} ${sent.sequence} ${code}`);
        if (GONE.has(code)) return null;
        if (
          this.#isMistake(code, sentAt) &&
          machine.broker?.topic(topic.name)?.topicId === topic.topicId
        ) {
          world.violation(`I4: ${topic.name}/${partition}: ${error.message}`);
        }
      }
      await world.sleep(RETRY_MS);
    }
    return null;
  }

  /** A leader that does not know yet that it is none may judge by what it has. */
  #isMistake(code: string, sentAt: number): boolean {
    const { world, mayBeLate = false } = this.simulation;
    const judgedMs = world.time.monotonic() - sentAt;
    return MISTAKES.has(code) && (!mayBeLate || judgedMs > STALE_LEADER_MS);
  }
}

/** Anew each time: the broker takes the bytes over. */
function encode(stream: Stream, { values, sequence, timestamp }: Sent): Uint8Array[] {
  let baseSequence = sequence;
  return values.map((batch) => {
    const records = batch.map((value) => ({ key: null, value, headers: [], timestamp }));
    const { producerId } = stream;
    const bytes = encodeBatch(records, { crc32c, producerId, producerEpoch: 0, baseSequence });
    baseSequence += batch.length;
    return bytes;
  });
}

// Owns one application that copies a topic to another, each step in a transaction with the offset of what it read.
// Refuses to own other clients' topics: nobody else writes to its two, and none comes or goes.
// Invariant: what read_committed shows of the copy is, at every moment, the beginning of what it is copied from.
import { crc32c } from "@node-rs/crc32";
import type { Broker, TopicConfig } from "../../../actors/broker.ts";
import { RecordReader } from "../../../api/record_reader.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { encodeBatch } from "../../../storage/format/encode.ts";
import { TOPIC_CONFIG } from "../../support/memory_broker.ts";
import { type SeededRandomness, seededRandomness } from "../../support/seeded_randomness.ts";
import { ConnectionLost } from "../incarnation.ts";
import { describeError } from "../world.ts";
import type { ClientScene } from "../client_scene.ts";

const SOURCE = "source";
const COPY = "copy";
const GROUP = "copier";
const TRANSACTIONAL_ID = "copier-0";
const CONFIG: TopicConfig = { ...TOPIC_CONFIG, retentionHours: 0, segmentBytes: 4_096 };
const STEP_EVERY_MS = 150;
const MAX_SENT = 5;
const MAX_COPIED = 8;
/** Values in all: enough for a run, little enough to be read whole each time. */
const MAX_VALUES = 400;
const TIMEOUT_MS = 5_000;
const FETCH_BYTES = 1_048_576;
/** One in so many transactions is aborted, left open for whoever begins next, or watched from outside. */
const ABORT_ONE_IN = 6;
const FORGET_ONE_IN = 6;
const LOOK_ONE_IN = 3;

export class Transformer {
  readonly #chance: SeededRandomness;
  #config: TopicConfig = CONFIG;
  #sent = 0;
  /** Every value that the copy has ever shown. */
  #shown = 0;

  constructor(
    private readonly simulation: Pick<ClientScene, "world" | "machine" | "mayBeLate">,
    private readonly name: string,
  ) {
    // Of its own, so that what others draw does not depend on it.
    this.#chance = seededRandomness(simulation.world.seed + 2_000_003);
  }

  /** Makes the topics where they are not there yet. */
  async prepare(config: Partial<TopicConfig>): Promise<void> {
    this.#config = { ...this.#config, ...config };
    await this.#topicsExist();
  }

  async run(): Promise<void> {
    const { world } = this.simulation;
    while (world.phase !== "ended") {
      await world.sleep(STEP_EVERY_MS * this.#chance.fraction());
      try {
        await this.#step();
      } catch (error) {
        if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
        world.note(this.name, describeError(error));
      }
    }
  }

  /** What is still to be copied, once nothing more is sent; empty when all is. */
  async remaining(): Promise<string[]> {
    const source = await this.#values(SOURCE, 0, MAX_VALUES);
    const copy = await this.#look(true);
    return source.values.slice(copy.length);
  }

  async #step(): Promise<void> {
    const { world } = this.simulation;
    if (!await this.#topicsExist()) return;
    const isBusy = world.phase === "faults" || world.phase === "calm";
    if (isBusy && this.#sent < MAX_VALUES - MAX_SENT) await this.#send();
    await this.#copy(isBusy);
    if (this.#oneIn(LOOK_ONE_IN)) await this.#look();
  }

  async #topicsExist(): Promise<boolean> {
    for (const name of [SOURCE, COPY]) {
      if (this.simulation.machine.broker?.topic(name) !== null) continue;
      await this.#ask((broker) =>
        broker.createTopic({ name, partitions: 1, config: this.#config })
      );
    }
    return this.simulation.machine.broker !== null;
  }

  /** An append without an answer may be stored or not: what is stored is what has to be copied. */
  async #send(): Promise<void> {
    const values = Array.from({ length: 1 + this.#chance.integer(MAX_SENT) }, () => this.#sent++);
    const at = { topic: SOURCE, partition: 0 };
    await this.#ask((broker) => broker.append(at, [batchOf(values.map(String))], { acks: "all" }));
  }

  async #copy(isBusy: boolean): Promise<void> {
    const { world } = this.simulation;
    const offset = await this.#committed();
    if (offset === null) return;
    const most = 1 + this.#chance.integer(MAX_COPIED);
    const { values, nextOffset } = await this.#values(SOURCE, offset, most);
    if (values.length === 0) return;
    const { transactionId } = await this.#ask((broker) =>
      broker.transactions.begin({
        transactionalId: TRANSACTIONAL_ID,
        timeoutMs: TIMEOUT_MS,
        principal: this.name,
      })
    );
    const middle = this.#chance.integer(values.length + 1);
    for (const part of [values.slice(0, middle), values.slice(middle)]) {
      if (part.length === 0) continue;
      const at = { topic: COPY, partition: 0 };
      const batches = [batchOf(part)];
      await this.#ask((broker) => broker.transactions.append(at, batches, { transactionId }));
    }
    if (isBusy && this.#oneIn(FORGET_ONE_IN)) return;
    if (isBusy && this.#oneIn(ABORT_ONE_IN)) {
      await this.#ask((broker) => broker.transactions.abort(transactionId));
      return;
    }
    const offsets = [{ groupId: GROUP, topic: SOURCE, partition: 0, offset: nextOffset }];
    const commit = { offsets, principal: this.name };
    const { state } = await this.#ask((broker) =>
      broker.transactions.commit(transactionId, commit)
    );
    world.note(this.name, `${state} ${offset} to ${nextOffset}`);
  }

  /** The offset to go on from; null while a transaction is about to change it. */
  async #committed(): Promise<number | null> {
    try {
      const group = await this.#ask((broker) => broker.group({ type: "Describe", group: GROUP }));
      if (group.staged.length > 0) return null;
      return group.offsets.find(({ topic }) => topic === SOURCE)?.offset ?? 0;
    } catch (error) {
      if (error instanceof BrokerError && error.code === "UNKNOWN_GROUP") return 0;
      throw error;
    }
  }

  /** All that the copy shows, which must be the beginning of the source and no less than before. */
  async #look(isFinal = false): Promise<string[]> {
    const { world } = this.simulation;
    const shownBefore = this.#shown;
    const copy = await this.#values(COPY, 0, MAX_VALUES);
    const source = await this.#values(SOURCE, 0, MAX_VALUES);
    // A leader that has just begun shows what it knows to be everywhere: less than the one before it, for a moment.
    const { mayBeLate = false } = this.simulation;
    if (
      mayBeLate && (copy.values.length < shownBefore || source.values.length < copy.values.length)
    ) {
      world.note(this.name, `sees ${copy.values.length} of ${source.values.length}`);
      if (!isFinal) return copy.values;
    }
    const wrong = copy.values.findIndex((value, index) => value !== source.values[index]);
    if (wrong >= 0) {
      world.violation(
        `I3: the copy shows ${copy.values[wrong]} at ${wrong}, the source ${source.values[wrong]}`,
      );
    }
    if (copy.values.length < shownBefore) {
      world.violation(`I1: the copy shows ${copy.values.length} values, it had ${shownBefore}`);
    }
    this.#shown = Math.max(this.#shown, copy.values.length);
    return copy.values;
  }

  async #values(topic: string, offset: number, maxMessages: number) {
    const maxDecompressedBytes = FETCH_BYTES;
    const reader = new RecordReader({
      offset,
      maxMessages,
      maxBytes: Infinity,
      maxDecompressedBytes,
    });
    const values: string[] = [];
    const at = { topic, partition: 0 };
    for (;;) {
      const from = reader.nextOffset;
      const options = { maxBytes: FETCH_BYTES, isolation: "read_committed" as const };
      const fetched = await this.#ask((broker) => broker.fetch(at, from, options));
      for (const { value } of reader.records(fetched)) {
        values.push(new TextDecoder().decode(value!));
      }
      if (reader.full || reader.nextOffset === from) break;
    }
    return { values, nextOffset: reader.nextOffset };
  }

  #ask<T>(run: (broker: Broker) => Promise<T>): Promise<T> {
    return this.simulation.machine.ask(this.name, run);
  }

  #oneIn(count: number): boolean {
    return this.#chance.integer(count) === 0;
  }
}

function batchOf(values: readonly string[]): Uint8Array {
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  return encodeBatch(records, { crc32c });
}

// Owns one client that publishes with keys, as the HTTP edge does for it, and sends each request until it is answered.
// Refuses to judge what is stored: it keeps where it was told that each message is.
// Invariant: one request at a time, each with the same messages and keys until it is answered.
import { crc32c } from "@node-rs/crc32";
import type { Broker } from "../../../actors/broker.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../../actors/message_keys/types.ts";
import { appendKeyed } from "../../../api/keyed_append.ts";
import { carryOutOnce, type OnceAppend } from "../../../api/request_once.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { encodeBatch } from "../../../storage/format/encode.ts";
import { seededRandomness } from "../../support/seeded_randomness.ts";
import { ConnectionLost } from "../incarnation.ts";
import type { Simulation } from "../simulation.ts";
import { describeError } from "../world.ts";

const SEND_EVERY_MS = 150;
const RETRY_MS = 40;
/** Of the topic. */
const PARTITIONS = 3;
const MAX_BATCHES = 3;
const MAX_RECORDS = 3;
const MAX_DECOMPRESSED_BYTES = 1_048_576;
/** One in so many answered requests is sent once more. */
const REPEAT_ONE_IN = 3;

/** By value: where it is, `partition/offset`. */
type Places = Map<string, string>;

/** Values by batch, by partition. */
type Sent = ReadonlyMap<number, readonly (readonly string[])[]>;

export class KeyPublisher {
  readonly places: Places = new Map();
  /** Requests answered after an attempt that was not. */
  retried = 0;
  #number = 0;
  #isDone = false;
  readonly #chance;

  constructor(
    private readonly simulation: Simulation,
    private readonly topic: string,
    private readonly options: { readonly name: string; readonly kind: "request" | "messages" },
  ) {
    const own = [...options.name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7);
    this.#chance = seededRandomness(simulation.world.seed + own);
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  async run(): Promise<void> {
    const { world } = this.simulation;
    while (world.phase === "faults") {
      await world.sleep(2 * SEND_EVERY_MS * this.#chance.fraction());
      const key = `${this.options.name}-${this.#number++}`;
      const sent = this.#draw(key);
      const places = await this.#untilAnswered(key, sent);
      for (const [value, place] of places) this.places.set(value, place);
      if (this.#chance.integer(REPEAT_ONE_IN) > 0) continue;
      for (const [value, place] of await this.#untilAnswered(key, sent)) {
        if (this.places.get(value) === place) continue;
        world.violation(`I4: ${value} was at ${this.places.get(value)}, a repeat is at ${place}`);
      }
    }
    this.#isDone = true;
  }

  #draw(key: string): Sent {
    const first = this.#chance.integer(PARTITIONS);
    const sent = new Map<number, string[][]>();
    for (let index = 0; index <= this.#chance.integer(PARTITIONS); index++) {
      const partition = (first + index) % PARTITIONS;
      let number = 0;
      sent.set(
        partition,
        Array.from(
          { length: 1 + this.#chance.integer(MAX_BATCHES) },
          () =>
            Array.from(
              { length: 1 + this.#chance.integer(MAX_RECORDS) },
              () => `${key}/${partition}/${number++}`,
            ),
        ),
      );
    }
    return sent;
  }

  async #untilAnswered(key: string, sent: Sent): Promise<Places> {
    const { world, machine } = this.simulation;
    for (let attempt = 0;; attempt++) {
      try {
        const places = await machine.ask(key, (broker) => this.#publish(broker, key, sent));
        if (places !== null) {
          if (attempt > 0) this.retried++;
          return places;
        }
      } catch (error) {
        if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
        world.note(this.options.name, `${key} ${describeError(error)}`);
        if (error instanceof BrokerError && error.code === "IDEMPOTENCY_KEY_REUSED") {
          world.violation(`I4: ${key}: ${error.message}`);
        }
      }
      if (world.phase === "ended") return new Map();
      await world.sleep(RETRY_MS);
    }
  }

  /** Null when some of it failed. */
  async #publish(broker: Broker, key: string, sent: Sent): Promise<Places | null> {
    return this.options.kind === "messages"
      ? await this.#publishMessages(broker, sent)
      : await this.#publishRequest(broker, key, sent);
  }

  async #publishMessages(broker: Broker, sent: Sent): Promise<Places | null> {
    const places: Places = new Map();
    const limits = { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES };
    const failures = await Promise.all([...sent].map(async ([partition, batches]) => {
      let next = 0;
      const keyed = batches.map((keys) => ({
        bytes: batchOf(keys, true),
        numbers: keys.map(() => next++),
        keys,
      }));
      const at = { topic: this.topic, partition };
      const { placed, error } = await appendKeyed({ broker, crc32c, limits }, at, keyed);
      batches.flat().forEach((value, number) => {
        const place = placed.get(number);
        if (place !== undefined) places.set(value, `${place.partition}/${place.offset}`);
      });
      return error;
    }));
    const failure = failures.find((error) => error !== undefined);
    if (failure !== undefined) throw failure;
    return places;
  }

  async #publishRequest(broker: Broker, key: string, sent: Sent): Promise<Places | null> {
    const named = { principal: "sim", tenant: "default", key, bodyHash: key };
    const run = async (append: OnceAppend) => {
      const settled = await Promise.allSettled([...sent].map(async ([partition, batches]) => {
        const at = { topic: this.topic, partition };
        const { baseOffsets } = await append(at, batches.map((values) => batchOf(values, false)));
        return batches.flatMap((values, batch) =>
          values.map((value, at) => [value, `${partition}/${baseOffsets[batch]! + at}`])
        );
      }));
      const failed = settled.find((one) => one.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      const data = settled.flatMap((one) => one.status === "fulfilled" ? one.value : []);
      return { status: 200, isWhole: true, data };
    };
    const { topic } = this;
    const plan = { topic, partitionCount: PARTITIONS, partitions: [...sent.keys()], run };
    const reply = await carryOutOnce(broker, named, () => Promise.resolve(plan));
    return new Map(reply.data as [string, string][]);
  }
}

/** Anew each time: the broker takes the bytes over. */
function batchOf(values: readonly string[], keyed: boolean): Uint8Array {
  const records = values.map((value) => ({
    key: null,
    value,
    headers: keyed ? [[IDEMPOTENCY_KEY_HEADER, value] as const] : [],
    timestamp: 0,
  }));
  return encodeBatch(records, { crc32c });
}

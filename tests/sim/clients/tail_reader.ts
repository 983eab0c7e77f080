// Owns one reader without a group: it goes on where it was, on every partition there is, and remembers it over restarts.
// Refuses to judge what it is shown (ledgers/partition_ledger.ts).
// Invariant: it only ever asks for an offset that it was told to be readable.
import type { Topic } from "../../../actors/broker.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { ConnectionLost } from "../incarnation.ts";
import { onGrid } from "../world.ts";
import type { PartitionLedger } from "../ledgers/partition_ledger.ts";
import type { ClientScene, MessageBroker } from "../client_scene.ts";

const MAX_PAUSE_MS = 60;
const MAX_WAIT_MS = 3_000;
/** A wait has ended this long after its time. */
const LATE_MS = 10;
/** One in so many reads starts over from the log start. */
const REWIND_ONE_IN = 30;

export class TailReader {
  readonly #positions = new Map<string, number>();

  constructor(private readonly simulation: ClientScene<MessageBroker>, readonly name: string) {}

  async run(): Promise<void> {
    const { world, machine, topicNames } = this.simulation;
    while (world.phase !== "ended") {
      await world.sleep(world.between(0, MAX_PAUSE_MS));
      const topic = machine.broker?.topic(world.chance.pick(topicNames)) ?? null;
      if (topic === null) continue;
      try {
        await this.#read(topic, world.chance.integer(topic.partitionCount));
      } catch (error) {
        if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
      }
    }
  }

  async #read(topic: Topic, partition: number): Promise<void> {
    const { world, machine, messages } = this.simulation;
    const key = `${topic.topicId}/${partition}`;
    const at = { topic: topic.name, partition };
    const ledger = messages.of(topic, partition);
    if (world.oneIn(REWIND_ONE_IN)) this.#positions.set(key, ledger.logStartOffset);
    const offset = this.#positions.get(key) ?? ledger.logStartOffset;
    const maxBytes = world.chance.pick([1, 500, 5_000, 1_048_576]);
    const floor = ledger.floor();
    const { losses } = ledger;
    try {
      const result = await machine.ask(
        this.name,
        (broker) => broker.fetch(at, offset, { maxBytes }),
      );
      const next = ledger.shown(offset, result, floor);
      world.note(this.name, `${ledger.name} ${offset} to ${next}`);
      this.#positions.set(key, next);
      if (next === result.highWatermark && world.oneIn(4)) await this.#wait(topic, partition, next);
    } catch (error) {
      if (error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE") {
        const isLost = ledger.losses > losses || offset > ledger.highWatermark;
        this.#positions.set(key, this.#outOfRange(ledger, { error, offset, isLost }));
      } else throw error;
    }
  }

  async #wait(topic: Topic, partition: number, offset: number): Promise<void> {
    const { world, machine } = this.simulation;
    const at = { topic: topic.name, partition };
    const timeoutMs = world.between(0, MAX_WAIT_MS);
    const controller = new AbortController();
    const { signal } = controller;
    if (world.oneIn(3)) world.time.after(onGrid(timeoutMs / 2), () => controller.abort());
    const answer = machine.ask(
      this.name,
      (broker) => broker.waitForData(at, offset, { timeoutMs, signal }),
    ).then(() => "answered");
    const late = world.sleep(timeoutMs + LATE_MS).then(() => "late");
    if (await Promise.race([answer, late]) === "answered" || this.simulation.mayBeLate) return;
    world.violation(`${this.name} waits at ${topic.name}/${partition} for over ${timeoutMs} ms`);
  }

  /** Only retention may take a place away, and only from the front; or a power cut, where nothing was promised. */
  #outOfRange(
    { name, topic }: PartitionLedger,
    refused: { error: BrokerError; offset: number; isLost: boolean },
  ): number {
    const { error, offset, isLost } = refused;
    const { logStartOffset, highWatermark } = error.details;
    if (typeof logStartOffset === "number" && logStartOffset > offset) return logStartOffset;
    if (isLost && topic.config.durability === "os" && typeof highWatermark === "number") {
      return highWatermark;
    }
    if (this.simulation.mayBeLate) return offset;
    this.simulation.world.violation(`${name}: ${offset} could be read before: ${error.message}`);
    return offset;
  }
}

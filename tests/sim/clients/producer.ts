// Owns one producer: it sends numbered messages to one partition, each once, whatever the answer.
// Refuses to judge what becomes of them (ledgers/partition_ledger.ts).
// Invariant: numbers rise in the order of sending, so any repetition or reordering is the broker's.
import { crc32c } from "@node-rs/crc32";
import type { Topic } from "../../../actors/broker.ts";
import { MAX_OPENING_WAIT_MS } from "../../../actors/partition/opening_waits.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { encodeBatch } from "../../../storage/format/encode.ts";
import { DEFAULT_WALL_START_MS } from "../../support/virtual_time.ts";
import { ConnectionLost } from "../incarnation.ts";
import type { Simulation } from "../simulation.ts";
import type { PublishMeter } from "./publish_meter.ts";

const MAX_BATCHES = 3;
const MAX_RECORDS = 3;
/** One in so many is sent without waiting for an acknowledgement. */
const UNACKED_ONE_IN = 20;
/** Sends under way at once, in order. */
const MAX_IN_FLIGHT = 5;
/** An append to a partition whose files sync as they should is acknowledged within this. */
const MAX_ACK_MS = 2_000;
/** Without faults a producer sends so many times less often: little is left to find. */
const CALM_FACTOR = 5;
/** A batch of one message takes at most this much more than its key. */
const MAX_OVERHEAD_BYTES = 120;

export class Producer {
  #sent = 0;
  #inFlight = 0;

  constructor(
    private readonly simulation: Simulation,
    private readonly meter: PublishMeter,
    readonly name: string,
  ) {}

  async run(): Promise<void> {
    const { world } = this.simulation;
    const { sendEveryMs } = world.plan;
    while (world.phase === "faults" || world.phase === "calm") {
      const everyMs = world.phase === "calm" ? sendEveryMs * CALM_FACTOR : sendEveryMs;
      await world.sleep(world.between(0, 2 * everyMs));
      if (this.#inFlight < MAX_IN_FLIGHT) this.#send();
    }
  }

  #send(): void {
    const { machine, topicNames, world } = this.simulation;
    const topic = machine.broker?.topic(world.chance.pick(topicNames)) ?? null;
    if (topic === null) return;
    const partition = world.chance.integer(topic.partitionCount);
    const acks = world.oneIn(UNACKED_ONE_IN) ? "none" : "all";
    world.start(this.name, async () => void await this.publish(topic, partition, acks));
  }

  /** Sends a few messages to a topic as it is now; resolves, in any case, to whether they were acknowledged. */
  async publish(topic: Topic, partition: number, acks: "all" | "none"): Promise<boolean> {
    const values = this.#numbered();
    const { world } = this.simulation;
    const batches = values.map((batch) =>
      this.#encode(batch, () => world.chance.integer(world.plan.maxValueBytes + 1))
    );
    return await this.#append({ topic, partition }, { values, batches, acks });
  }

  /** Sends one message that takes as many bytes as it can without taking more than `bytes`. */
  async publishBytes(topic: Topic, partition: number, bytes: number): Promise<boolean> {
    const values = [[`${this.name}:${this.#sent++}`]];
    const batch = this.#encode(values[0]!, () => bytes - MAX_OVERHEAD_BYTES);
    return await this.#append({ topic, partition }, { values, batches: [batch], acks: "all" });
  }

  async #append(
    { topic, partition }: { topic: Topic; partition: number },
    sent: { values: string[][]; batches: Uint8Array[]; acks: "all" | "none" },
  ): Promise<boolean> {
    const { world, machine, messages } = this.simulation;
    const { values, batches, acks } = sent;
    const ledger = messages.of(topic, partition);
    for (const value of values.flat()) ledger.sent(value);
    const shown = `${ledger.name} ${values.flat().join(" ")} acks=${acks}`;
    const done = this.meter.sending(batches.reduce((sum, batch) => sum + batch.length, 0));
    this.#inFlight++;
    const sentAt = world.time.monotonic();
    // Asked now, looked at only if the answer is late.
    const described = machine.broker?.describeTopic(topic.name).catch(() => null) ?? null;
    try {
      const receipt = await machine.ask(
        this.name,
        (broker) => broker.append({ topic: topic.name, partition }, batches, { acks }),
      );
      world.note(this.name, `${shown} at ${receipt.baseOffsets}`);
      ledger.acknowledged(values, receipt);
      if (this.#isLate(partition, sentAt)) {
        // A new topic is served when all its partitions are open, whichever of them the slow disk is under.
        const wasOpen = (await described)?.partitions.some((one) => one.partition === partition);
        const tookMs = world.time.monotonic() - sentAt;
        if (wasOpen || tookMs > MAX_OPENING_WAIT_MS + MAX_ACK_MS) this.#tellLate(shown, tookMs);
      }
      return acks === "all";
    } catch (error) {
      if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
      world.note(this.name, `${shown} ${error instanceof BrokerError ? error.code : "lost"}`);
      return false;
    } finally {
      this.#inFlight--;
      done();
    }
  }

  /** A slow disk below one partition is none of the others' business. */
  #isLate(partition: number, sentAt: number): boolean {
    const { world, machine } = this.simulation;
    const slowUntilMs = machine.conditions.slowUntilMs.get(String(partition)) ?? -Infinity;
    return world.time.monotonic() - sentAt > MAX_ACK_MS && slowUntilMs <= sentAt;
  }

  #tellLate(shown: string, tookMs: number): void {
    this.simulation.world.violation(
      `${shown} was acknowledged after ${tookMs} ms, though nothing below it was slow`,
    );
  }

  #numbered(): string[][] {
    const { world } = this.simulation;
    return Array.from(
      { length: world.integer(1, MAX_BATCHES) },
      () =>
        Array.from({ length: world.integer(1, MAX_RECORDS) }, () => `${this.name}:${this.#sent++}`),
    );
  }

  /** The time is the true one, so that retention can be judged while the broker's clock jumps. */
  #encode(values: readonly string[], keyBytes: () => number): Uint8Array {
    const { world } = this.simulation;
    const timestamp = Math.floor(DEFAULT_WALL_START_MS + world.time.monotonic());
    const records = values.map((value) => {
      const key = new Uint8Array(keyBytes());
      return { key, value, headers: [], timestamp };
    });
    return encodeBatch(records, { crc32c });
  }
}

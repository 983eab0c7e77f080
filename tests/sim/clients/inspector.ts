// Owns looking: at every partition's place again and again, and at all of its messages after each start.
// Refuses to judge (ledgers/). Invariant: it changes nothing.
import type { Topic } from "../../../actors/broker.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import type { Seen } from "../../../ops/drills/ack_checker.ts";
import { ConnectionLost } from "../incarnation.ts";
import { valuesIn } from "../ledgers/partition_ledger.ts";
import type { Simulation } from "../simulation.ts";

const LOOK_EVERY_MS = 150;
const LOOK_AGAIN_MS = 5;
const READ_BYTES = 65_536;

export class Inspector {
  /** Offset that was last asked for. */
  #reading = 0;

  constructor(private readonly simulation: Simulation) {}

  /** Looks at every partition's offsets, at virtual intervals. */
  async run(): Promise<void> {
    const { world, machine } = this.simulation;
    while (world.phase !== "ended") {
      await world.sleep(LOOK_EVERY_MS);
      if (machine.broker === null) continue;
      this.simulation.topics.check(machine.broker);
      for (const name of machine.broker.topicNames()) {
        await ignoringRefusals(() => this.#look(name));
      }
    }
  }

  /** Reads every partition whole; a refusal leaves that one out. */
  async readAll(): Promise<void> {
    const { topicNames, machine } = this.simulation;
    for (const name of topicNames) {
      const topic = machine.broker?.topic(name) ?? null;
      for (let partition = 0; partition < (topic?.partitionCount ?? 0); partition++) {
        await ignoringRefusals(() => this.readWhole(topic!, partition));
      }
    }
  }

  /** Reads a partition from its start to the high watermark it has now; rejects when it is refused. */
  async readWhole(topic: Topic, partition: number): Promise<void> {
    for (;;) {
      try {
        return await this.#readWhole(topic, partition);
      } catch (error) {
        // Retention took the start away in between.
        if (!(error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE")) throw error;
        if (!(Number(error.details.logStartOffset) > this.#reading)) throw error;
        await this.simulation.world.sleep(LOOK_AGAIN_MS);
      }
    }
  }

  async #readWhole(topic: Topic, partition: number): Promise<void> {
    const { machine, messages, world } = this.simulation;
    const at = { topic: topic.name, partition };
    const ledger = messages.of(topic, partition);
    const { ackedEnd } = ledger;
    const info = await machine.ask("inspector", (broker) => broker.partitionInfo(at));
    if (info.state === "offline") return;
    const { logStartOffset: from, highWatermark: to } = info;
    if (to < ackedEnd) {
      world.violation(`${ledger.name}: I1: acknowledged to ${ackedEnd}, ends at ${to}`);
    }
    const read: Seen[] = [];
    for (let offset = from; offset < to;) {
      const floor = ledger.floor();
      this.#reading = offset;
      const result = await machine.ask(
        "inspector",
        (broker) => broker.fetch(at, offset, { maxBytes: READ_BYTES }),
      );
      const next = ledger.shown(offset, result, floor);
      read.push(...valuesIn(result.batches));
      if (next === offset) {
        world.violation(`${ledger.name}: a fetch at ${offset}, below ${to}, shows nothing`);
        return;
      }
      offset = next;
    }
    world.note("inspector", `${ledger.name} holds ${from} to ${to}`);
    ledger.checkAll(from, read, to);
  }

  async #look(name: string): Promise<void> {
    const { machine, messages } = this.simulation;
    const topic = machine.broker?.topic(name) ?? null;
    if (topic === null) return;
    const floors = Array.from(
      { length: topic.partitionCount },
      (_, partition) => messages.of(topic, partition).floor(),
    );
    const described = await machine.ask("inspector", (broker) => broker.describeTopic(name));
    for (const info of described.partitions) {
      messages.of(topic, info.partition).sawInfo(info, floors[info.partition]!);
    }
  }
}

async function ignoringRefusals(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
  }
}

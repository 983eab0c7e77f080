// Owns how the actors of this process serve the writer of dead letters.
// Refuses to own any of them. Invariant: every refusal is a rejection, as it would be from afar.
import type { Crc32c, Timers } from "../../../storage/ports.ts";
import type { Broker, TopicConfig } from "../../broker.ts";
import type { PartitionSet } from "../../partition/partition_set.ts";
import type { Producers } from "../../partition/types.ts";
import type { GroupCoordinator } from "../coordinator.ts";
import { type DeadLetterPorts, DeadLetterWriter } from "./dead_letter_writer.ts";

export interface LocalDeadLetters {
  readonly topic: Broker["topic"];
  readonly changes: {
    create(spec: { name: string; partitions: number; config: TopicConfig }): Promise<unknown>;
    update(name: string, change: { partitions: number }): Promise<unknown>;
  };
  readonly partitions: PartitionSet;
  readonly groups: GroupCoordinator;
  readonly ownIds: Pick<Producers, "allocate">;
  readonly defaultConfig: TopicConfig;
  readonly ports: {
    readonly timers: Timers;
    readonly crc32c: Crc32c;
    report: DeadLetterPorts["report"];
  };
}

/** The writer of the dead letters of all groups of this process; it writes until it is closed. */
export function localDeadLetters(parts: LocalDeadLetters): DeadLetterWriter {
  const { topic, changes, partitions, groups, ownIds, defaultConfig, ports } = parts;
  const writer = new DeadLetterWriter({
    timers: ports.timers,
    crc32c: ports.crc32c,
    report: (event) => ports.report(event),
    topic,
    defaultConfig,
    ensureTopic: async (name, wanted) => {
      if (topic(name) === null) await changes.create({ name, ...wanted });
      else await changes.update(name, { partitions: wanted.partitions });
    },
    fetch: async (at, offset, options) => (await partitions.opened(at)).fetch(offset, options),
    append: async (at, batch) => (await partitions.opened(at)).append([batch], { acks: "all" }),
    allocateProducer: () => ownIds.allocate(),
    group: (command) => groups.execute(command) as never,
  });
  groups.onDeadLetters((group) => writer.wake(group));
  return writer;
}

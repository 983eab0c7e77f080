// Owns how the actors of this process serve the writer of dead letters.
// Refuses to own any of them. Invariant: every refusal is a rejection, as it would be from afar.
import type { Crc32c, Timers } from "../../../storage/ports.ts";
import type { Broker, TopicConfig } from "../../broker.ts";
import type { Producers } from "../../partition/types.ts";
import type { Reach } from "../../reach.ts";
import type { GroupCoordinator } from "../coordinator.ts";
import { type DeadLetterPorts, DeadLetterWriter } from "./dead_letter_writer.ts";

export interface LocalDeadLetters {
  readonly topic: Broker["topic"];
  readonly changes: {
    create(spec: { name: string; partitions: number; config: TopicConfig }): Promise<unknown>;
    update(name: string, change: { partitions: number }): Promise<unknown>;
  };
  readonly reach: Reach;
  /** Those of this process: whose letters are written here. */
  readonly groups: Pick<GroupCoordinator, "onDeadLetters">;
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
  const { topic, changes, reach, groups, ownIds, defaultConfig, ports } = parts;
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
    fetch: (at, offset, options) => reach.fetch(at, offset, options),
    append: (at, batch) => reach.append(at, [batch]),
    allocateProducer: () => ownIds.allocate(),
    group: (command) => reach.group(command) as never,
  });
  groups.onDeadLetters((group) => writer.wake(group));
  return writer;
}

// Owns one administrator of groups: it looks at them, rewinds offsets with a reason, pauses, rolls back and resumes.
// Refuses to judge (ledgers/). Invariant: what it pauses it resumes, and a rewind never goes forward.
import type { TopicPartition } from "../../../actors/broker.ts";
import type { GroupDescription } from "../../../actors/group/types.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { ConnectionLost } from "../incarnation.ts";
import { type PlacedOffset, placeOf } from "../ledgers/commit_ledger.ts";
import type { GroupLedgers } from "../client_scene.ts";
import type { Simulation } from "../simulation.ts";

const LOOK_EVERY_MS = 700;
const MAX_PAUSE_MS = 1_500;
const NAME = "groupadmin";

export class GroupAdmin {
  constructor(private readonly simulation: Simulation) {}

  async run(): Promise<void> {
    const { world, groups } = this.simulation;
    if (groups.length === 0) return;
    while (world.phase !== "ended") {
      await world.sleep(world.between(0, 2 * LOOK_EVERY_MS));
      const ledgers = world.chance.pick(groups);
      await ignoringRefusals(() => this.look(ledgers));
      if (world.phase !== "faults") continue;
      if (world.oneIn(6)) await ignoringRefusals(() => this.#rewind(ledgers));
      if (world.oneIn(10)) await ignoringRefusals(() => this.#pause(ledgers));
    }
  }

  /** Checks what the group says of itself. */
  async look({ group, commits, owners }: GroupLedgers): Promise<void> {
    const { machine } = this.simulation;
    const topicIdOf = (topic: string) => machine.broker?.topic(topic)?.topicId;
    const topicIds = new Map((machine.broker?.topicNames() ?? []).map((topic) => [
      topic,
      topicIdOf(topic)!,
    ]));
    const floors = commits.floors();
    const described = await machine.ask(
      NAME,
      (broker) => broker.group({ type: "Describe", group }),
    );
    owners.described(described);
    const found = new Set<string>();
    for (const { topic, partition, offset } of described.offsets) {
      const topicId = topicIds.get(topic);
      // A topic that came or went meanwhile: the answer may speak of either.
      if (topicId === undefined || topicIdOf(topic) !== topicId) continue;
      const at = { topicId, topic, partition };
      found.add(placeOf(at));
      commits.found(at, offset, floors.get(placeOf(at)) ?? -1);
    }
    for (const [place, floor] of floors) {
      if (!found.has(place)) commits.missing(place, floor);
    }
  }

  async resumeAll(): Promise<void> {
    const { machine, groups } = this.simulation;
    for (const { group } of groups) {
      await ignoringRefusals(async () => {
        await machine.ask(
          NAME,
          (broker) => broker.group({ type: "Resume", group, principal: NAME }),
        );
      });
    }
  }

  async #rewind({ group, commits }: GroupLedgers): Promise<void> {
    const { machine, world } = this.simulation;
    const described = await machine.ask(
      NAME,
      (broker) => broker.group({ type: "Describe", group }),
    );
    if (described.offsets.length === 0) return;
    const { topic, partition, offset: from } = world.chance.pick(described.offsets);
    const topicId = machine.broker?.topic(topic)?.topicId;
    if (topicId === undefined) return;
    const offset = world.integer(Math.floor(from / 2), from);
    const at: PlacedOffset = { topicId, topic, partition, offset };
    const settle = commits.committing([at], true);
    try {
      const reply = await machine.ask(NAME, (broker) =>
        broker.group({
          type: "CommitOffsets",
          group,
          offsets: [{ topic, partition, offset, endOffset: from }],
          allowRewind: true,
          reason: "a test of rewinding",
          principal: NAME,
        }));
      world.note(NAME, `rewound ${group} ${topic}/${partition} to ${offset}`);
      settle(reply);
    } catch (error) {
      settle(null);
      throw error;
    }
  }

  /** Moves an offset of a paused group back: until it is resumed, no member may move it on. */
  async #rollBack({ group, commits }: GroupLedgers): Promise<void> {
    const { machine, world } = this.simulation;
    const describe = () => machine.ask(NAME, (broker) => broker.group({ type: "Describe", group }));
    const described = await describe();
    if (described.offsets.length === 0) return;
    const { topic, partition, offset: from } = world.chance.pick(described.offsets);
    const topicId = machine.broker?.topic(topic)?.topicId;
    if (topicId === undefined) return;
    const offset = world.integer(Math.floor(from / 2), from);
    const settle = commits.committing([{ topicId, topic, partition, offset }], true);
    const to = { kind: "offset" as const, offset };
    const why = { cause: "chance", reason: "a test of rollbacks", principal: NAME, dryRun: false };
    try {
      await machine.ask(NAME, (broker) =>
        broker.group({
          type: "MoveOffsets",
          group,
          action: "rollback",
          targets: [{ topic, partition, to, logStartOffset: 0, endOffset: from }],
          ...why,
        }));
    } finally {
      settle(null);
    }
    world.note(NAME, `rolled ${group} back to ${offset} in ${topic}/${partition}`);
    await world.sleep(world.between(0, MAX_PAUSE_MS));
    const found = offsetWhilePaused(await describe(), { topic, partition });
    if (found === undefined || machine.broker?.topic(topic)?.topicId !== topicId) return;
    if (found === offset) return;
    world.violation(`${group} is at ${found} in ${topic}/${partition}, it was put to ${offset}`);
  }

  async #pause(ledgers: GroupLedgers): Promise<void> {
    const { group } = ledgers;
    const { machine, world } = this.simulation;
    const principal = NAME;
    await machine.ask(
      NAME,
      (broker) => broker.group({ type: "Pause", group, reason: "a test of pausing", principal }),
    );
    world.note(NAME, `paused ${group}`);
    await ignoringRefusals(() => this.#rollBack(ledgers));
    await world.sleep(world.between(0, MAX_PAUSE_MS));
    await machine.ask(NAME, (broker) => broker.group({ type: "Resume", group, principal }));
  }
}

/** Where a paused group has `at`; undefined when it is not paused any more, or has no offset there. */
function offsetWhilePaused(described: GroupDescription, at: TopicPartition): number | undefined {
  if (described.paused === null) return undefined;
  return described.offsets.find(({ topic, partition }) =>
    topic === at.topic && partition === at.partition
  )?.offset;
}

async function ignoringRefusals(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
  }
}

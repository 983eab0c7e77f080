// Owns what must be true some time after the last fault: everything serves, every group is settled, nothing is left over.
// Refuses to own what must be true all along (ledgers/).
// Invariant: it looks through the Broker port alone, as a user would.
import type { Broker } from "../../actors/broker.ts";
import type { GroupDescription } from "../../actors/group/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { GroupAdmin } from "./clients/group_admin.ts";
import type { Member } from "./clients/member.ts";
import type { Producer } from "./clients/producer.ts";
import type { Transformer } from "./clients/transformer.ts";
import { ConnectionLost } from "./incarnation.ts";
import { keyOf } from "./ledgers/commit_ledger.ts";
import { historyProblems } from "./offset_history.ts";
import type { GroupLedgers } from "./client_scene.ts";
import type { Simulation } from "./simulation.ts";

/** I6: after the last fault all is well within this virtual time. */
export const CONVERGE_LIMIT_MS = 60_000;
/** Then, once nothing more is published, every group has read and committed all within this. */
export const DRAIN_LIMIT_MS = 30_000;
const BUDGET_LIMIT_MS = 10_000;
const HISTORY_LIMIT_MS = 10_000;
const LOOK_EVERY_MS = 500;
/** A call that has waited for longer than this, without any fault, hangs. */
const OVERDUE_MS = 20_000;

export interface Clients {
  readonly members: ReadonlyMap<GroupLedgers, readonly Member[]>;
  readonly groupAdmin: GroupAdmin;
  readonly prober: Producer;
  readonly transformer: Transformer | null;
}

export class Convergence {
  constructor(private readonly simulation: Simulation, private readonly clients: Clients) {}

  /** Waits until everything serves; a violation when it does not in time. */
  async settle(): Promise<void> {
    const from = this.simulation.world.time.monotonic();
    await this.#until(CONVERGE_LIMIT_MS, "I6", async (broker) => {
      const problems = [...broker.health().problems];
      if (problems.length > 0) return problems;
      for (const { group } of this.simulation.groups) {
        problems.push(...await this.#groupProblems(broker, group));
      }
      if (problems.length === 0) problems.push(...await this.#unpublishable(broker, from));
      return problems;
    });
  }

  /** Waits until every group has committed all that there is; a violation when it does not in time. */
  async drain(): Promise<void> {
    await this.#until(DRAIN_LIMIT_MS, "draining", (broker) => this.#lagging(broker));
    await this.#until(DRAIN_LIMIT_MS, "transactions", () => this.#uncopied());
    await this.#until(HISTORY_LIMIT_MS, "offset history", (broker) => this.#untold(broker));
    const { machine, world } = this.simulation;
    for (const { who, sinceMs } of machine.overdue(OVERDUE_MS)) {
      world.violation(`${who} has waited for an answer since ${sinceMs.toFixed()}`);
    }
    if (world.violations.length === 0) await this.#fillBudget();
  }

  /** All the memory that publishes may take is free again: one that needs all of it is taken. */
  async #fillBudget(): Promise<void> {
    const { machine, world, topicNames } = this.simulation;
    const bytes = world.plan.maxPendingPublishBytes;
    await this.#until(BUDGET_LIMIT_MS, "memory of publishes", async () => {
      const topic = machine.broker?.topic(topicNames[0]!) ?? null;
      const isTaken = topic !== null && await this.clients.prober.publishBytes(topic, 0, bytes);
      return isTaken ? [] : [`a publish of ${bytes} bytes is refused`];
    });
  }

  async #until(
    limitMs: number,
    what: string,
    look: (broker: Broker) => Promise<string[]>,
  ): Promise<void> {
    const { world, machine } = this.simulation;
    const from = world.time.monotonic();
    for (;;) {
      await world.sleep(LOOK_EVERY_MS);
      if (world.violations.length > 0) return;
      const { broker } = machine;
      const problems = broker === null ? ["no broker runs"] : await this.#patiently(broker, look);
      const tookMs = world.time.monotonic() - from;
      if (problems.length === 0) {
        return world.note("converged", `${what} after ${tookMs.toFixed()}`);
      }
      if (tookMs < limitMs) continue;
      world.violation(`${what}: after ${limitMs} ms without a fault: ${problems.join("; ")}`);
      return;
    }
  }

  async #patiently(
    broker: Broker,
    look: (broker: Broker) => Promise<string[]>,
  ): Promise<string[]> {
    try {
      return await look(broker);
    } catch (error) {
      if (error instanceof BrokerError || error instanceof ConnectionLost) return [error.message];
      throw error;
    }
  }

  /** A group is settled when its members are those that live, and each partition is one's, who knows it. */
  async #groupProblems(broker: Broker, group: string): Promise<string[]> {
    const { machine } = this.simulation;
    const members = [...this.clients.members].find(([ledgers]) => ledgers.group === group)![1];
    const sessions = members.flatMap(({ session }) => session === null ? [] : [session]);
    if (sessions.length < members.length) return [`members of ${group} are away`];
    const described = await machine.ask(
      "converging",
      (asked) => asked.group({ type: "Describe", group }),
    );
    if (described.paused !== null) await this.clients.groupAdmin.resumeAll();
    if (described.state !== "stable") return [`${group} is ${described.state}`];
    const ids = described.members.map(({ memberId }) => memberId).sort();
    const alive = sessions.map(({ memberId }) => memberId).sort();
    if (ids.join() !== alive.join()) return [`${group} has members ${ids}, alive are ${alive}`];
    const wanted = members.flatMap(({ spec }) => spec.topics);
    const problems = assignmentProblems(broker, described, new Set(wanted));
    for (const session of sessions) {
      const of = described.members.find(({ memberId }) => memberId === session.memberId)!;
      const told = of.assignment.map(keyOf).sort().join();
      if (told !== session.view().join()) {
        problems.push(`${session.spec.name} believes in ${session.view()}, ${group} in ${told}`);
      }
    }
    return problems;
  }

  /** Partitions that took no message since the last fault, neither from a producer nor now. */
  async #unpublishable(broker: Broker, from: number): Promise<string[]> {
    const problems: string[] = [];
    for (const name of this.simulation.topicNames) {
      const topic = broker.topic(name);
      for (let partition = 0; partition < (topic?.partitionCount ?? 0); partition++) {
        if (this.simulation.messages.of(topic!, partition).lastAckedAt >= from) continue;
        if (await this.clients.prober.publish(topic!, partition, "all")) continue;
        problems.push(`${name}/${partition} takes no message`);
      }
    }
    return problems;
  }

  /** Every message is transformed, once. */
  async #uncopied(): Promise<string[]> {
    const remaining = await this.clients.transformer?.remaining() ?? [];
    return remaining.length === 0 ? [] : [`${remaining.length} messages are not transformed`];
  }

  /** The ledger tells every change of offsets that all the faults have let happen. */
  async #untold(broker: Broker): Promise<string[]> {
    const found = this.simulation.groups.map(({ group }) => historyProblems(broker, group));
    return (await Promise.all(found)).flat();
  }

  async #lagging(broker: Broker): Promise<string[]> {
    const { machine, groups } = this.simulation;
    const problems: string[] = [];
    for (const { group } of groups) {
      const { offsets, members } = await machine.ask(
        "draining",
        (asked) => asked.group({ type: "Describe", group }),
      );
      const committed = new Map(offsets.map((at) => [keyOf(at), at.offset]));
      for (const at of offsets) {
        const count = broker.topic(at.topic)?.partitionCount ?? 0;
        if (at.partition >= count) problems.push(`${group} has an offset for ${keyOf(at)}, gone`);
      }
      for (const at of members.flatMap(({ assignment }) => assignment)) {
        const { highWatermark } = await machine.ask("draining", (asked) => asked.partitionInfo(at));
        const offset = committed.get(keyOf(at)) ?? 0;
        if (offset !== highWatermark) {
          problems.push(`${group} is at ${offset} of ${highWatermark} in ${keyOf(at)}`);
        }
      }
    }
    return problems;
  }
}

function assignmentProblems(
  broker: Broker,
  described: GroupDescription,
  topics: ReadonlySet<string>,
): string[] {
  const problems: string[] = [];
  const owners = new Map<string, number>();
  for (const { memberId, assignment, revoking } of described.members) {
    if (revoking.length > 0) problems.push(`${memberId} still gives up ${revoking.map(keyOf)}`);
    for (const at of assignment) owners.set(keyOf(at), (owners.get(keyOf(at)) ?? 0) + 1);
  }
  for (const name of topics) {
    const count = broker.topic(name)?.partitionCount ?? 0;
    for (let partition = 0; partition < count; partition++) {
      const key = keyOf({ topic: name, partition });
      const times = owners.get(key) ?? 0;
      if (times !== 1) problems.push(`${described.groupId} has ${key} assigned ${times} times`);
      owners.delete(key);
    }
  }
  for (const key of owners.keys()) {
    problems.push(`${described.groupId} has ${key} assigned, which is not there`);
  }
  return problems;
}
